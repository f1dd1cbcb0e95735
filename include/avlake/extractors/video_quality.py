"""How good a talking head's picture is: faces, sharpness, light, stillness; one row per clip.

Every measure is of the whole frame letterboxed to 224 x 224, and leaves the black bars out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from avlake.extractors import base
from avlake.extractors.faces import MODEL, Face, faces
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip
    from avlake.media.video import Frame

Array = np.ndarray[Any, Any]
BLOCK_PX = 8  # small enough that a blink changes a block's mean, large enough that coding noise does not
EQUAL_LEVELS = 0.8  # a block mean of a frame shown twice stays within this; a talker's moves more from frame to frame
STILL_LEVELS = 5.0  # a key frame of a poorly coded still moves one by this much, but no talker stays within it
STILL_S = 1.0  # for so long
CELLS = 8  # a cut is looked for in a grid of 8 x 8 cells
CELL_LEVELS = 15.0
CUT_RATIO = 0.4  # hard cuts change 0.45 of the cells and more, insets, hands and heads at most a third
FLASH_S = 0.3


class Params(base.Params):
    """Which frames are measured."""

    stride: int = Field(1, ge=1, title="Stride", description="measure every n-th frame of a video; 1 = every frame")


class VideoQuality(base.Extractor):
    """Faces are BlazeFace's with a confidence of at least 0.5; where several are seen, the largest one counts."""

    table = silver(
        "video_quality",
        "faces, sharpness, light and stillness of a clip's picture",
        columns={
            "frames_measured": pa.int32(),  # every `stride`-th of the clip's
            "frames": pa.int32(),  # of the clip
            "decode_errors": pa.int32(),  # packets that gave no picture
            "face_presence_ratio": pa.float32(),  # share of measured frames with a face
            "avg_blur_score": pa.float32(),  # mean Laplacian variance of the largest face's box; NULL without a face
            "min_blur_score": pa.float32(),  # of the blurriest frame
            "face_size_ratio": pa.float32(),  # mean area of the largest face over the picture's; NULL without a face
            "avg_faces": pa.float32(),  # mean number per measured frame
            "max_faces": pa.int32(),
            "face_confidence": pa.float32(),  # mean of the largest face's; NULL without a face
            "brightness": pa.float32(),  # mean luma of the picture, 0 to 255
            "contrast": pa.float32(),  # mean standard deviation of luma
            "face_stability": pa.float32(),  # mean IoU of its box with the measured frame's before; NULL without two
            "frozen_ratio": pa.float32(),  # share of measured frames equal to the one before; NULL without two
            "scene_cuts": pa.int32(),
        },
    )
    version = 2
    reads = ("video",)
    models = (MODEL,)
    Params: ClassVar[type[base.Params]] = Params

    def watch(self, clip: Clip) -> PictureViewer:
        assert isinstance(self.params, Params)
        return PictureViewer(self.params.stride)

    def measure(self, clip: Clip) -> dict[str, Array]:
        seen: PictureViewer = clip.seen(self.name)
        row = seen.row() | {"decode_errors": clip.decode_errors}
        return {name: np.array([value], object) for name, value in row.items()}


EXTRACTOR = VideoQuality


def laplacian_variance(gray: Array) -> float:
    """Sharpness of a (height, width) uint8 picture: the variance of its Laplacian, in squared levels; 0 if it is flat.

    The Laplacian is the 3 x 3 kernel 0 1 0, 1 -4 1, 0 1 0 with mirrored edges. Pech-Pacheco et al. 2000, "Diatom
    autofocusing in brightfield microscopy", https://doi.org/10.1109/ICPR.2000.903548.
    """
    import cv2

    return float(cv2.Laplacian(gray, cv2.CV_64F).var())


def overlap(one: Face, other: Face) -> float:
    """Intersection over union of two faces' boxes, 0 to 1."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(width, 0) * max(height, 0)
    return shared / (one.width * one.height + other.width * other.height - shared)


@dataclass
class Mean:
    """A running mean; None before the first value."""

    total: float = 0.0
    n: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.n += 1

    @property
    def value(self) -> float | None:
        return self.total / self.n if self.n else None


@dataclass
class PictureViewer:
    """Measures every `stride`-th frame, and finds faces only in those."""

    stride: int
    frames: int = 0
    measured: int = 0
    with_face: int = 0
    max_faces: int = 0
    min_blur: float | None = None
    blur: Mean = field(default_factory=Mean)
    size: Mean = field(default_factory=Mean)
    number: Mean = field(default_factory=Mean)
    confidence: Mean = field(default_factory=Mean)
    brightness: Mean = field(default_factory=Mean)
    contrast: Mean = field(default_factory=Mean)
    stability: Mean = field(default_factory=Mean)
    stillness: Stillness = field(default_factory=lambda: Stillness())
    cuts: SceneCuts = field(default_factory=lambda: SceneCuts())
    _before: list[Face] = field(default_factory=list)

    def see(self, frame: Frame) -> None:
        self.frames += 1
        if frame.index % self.stride:
            return
        self.measured += 1
        picture = frame.box_px
        self._see_faces(faces(frame), frame.gray, picture)
        gray = _crop(frame.gray, picture)
        self.brightness.add(float(gray.mean()))
        self.contrast.add(float(gray.std()))
        self.stillness.add(gray, frame.time_s)
        self.cuts.add(_crop(frame.letterboxed, picture), frame.time_s)

    def _see_faces(self, found: list[Face], gray: Array, picture: tuple[int, int, int, int]) -> None:
        self.number.add(len(found))
        self.max_faces = max(self.max_faces, len(found))
        if found:
            self.with_face += 1
            self.confidence.add(found[0].confidence)
            box = _crop(gray, _within(found[0], picture))
            self.size.add(box.size / (picture[2] * picture[3]))
            if box.size:
                blur = laplacian_variance(box)
                self.blur.add(blur)
                self.min_blur = blur if self.min_blur is None else min(self.min_blur, blur)
            if self._before:  # two talkers of one size take turns at being the largest
                self.stability.add(max(overlap(found[0], face) for face in self._before))
        self._before = found

    def row(self) -> dict[str, float | int | None]:
        """The columns of `video_quality`."""
        return {
            "frames_measured": self.measured,
            "frames": self.frames,
            "face_presence_ratio": self.with_face / self.measured,
            "avg_blur_score": self.blur.value,
            "min_blur_score": self.min_blur,
            "face_size_ratio": self.size.value,
            "avg_faces": self.number.value,
            "max_faces": self.max_faces,
            "face_confidence": self.confidence.value,
            "brightness": self.brightness.value,
            "contrast": self.contrast.value,
            "face_stability": self.stability.value,
            "frozen_ratio": self.stillness.frozen / (self.measured - 1) if self.measured > 1 else None,
            "scene_cuts": self.cuts.count,
        }


class Stillness:
    """Counts frozen frames: shown twice, or a still picture coded anew.

    Compared are the mean luma of blocks of 8 x 8 pixels and the largest change of any. A frame is frozen if no block
    differs by more than 0.8 levels from the frame before, or if it is part of a run of at least 1 s in which none is
    ever more than 5 levels off the run's first picture: key frames of a poorly coded still jump, but lead nowhere.
    """

    def __init__(self) -> None:
        self._frozen = 0  # in runs that are over
        self._run = self._equal = 0  # frames of this run after its first; those equal to the one before
        self._first: Array | None = None
        self._before: Array | None = None
        self._since_s = self._until_s = 0.0

    @property
    def frozen(self) -> int:
        return self._frozen + (self._run if self._until_s - self._since_s >= STILL_S else self._equal)

    def add(self, gray: Array, time_s: float) -> None:
        """The next picture, (height, width) uint8, always of one size."""
        import cv2

        height, width = gray.shape
        size = (max(1, width // BLOCK_PX), max(1, height // BLOCK_PX))
        blocks = cv2.resize(gray.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        equal = self._before is not None and _largest_change(blocks, self._before) <= EQUAL_LEVELS
        if self._first is not None and _largest_change(blocks, self._first) <= STILL_LEVELS:
            self._run += 1
            self._equal += equal
        else:
            self._frozen = self.frozen + equal
            self._run = self._equal = 0
            self._first, self._since_s = blocks, time_s
        self._before, self._until_s = blocks, time_s


class SceneCuts:
    """Counts hard cuts: a jump from one frame to the next that stays.

    A jump changes more than 0.4 of a grid of 8 x 8 cells by more than 15 levels of red, green or blue. It is a flash if
    within 0.3 s (or in the next frame) the picture is again like the one before the jump, and a cut if it is not. So a
    shot of under 0.3 s counts with the next one, and a jump in the last 0.3 s of a clip is not counted. With a large
    stride a camera that moves fast between measured frames passes for a cut.
    """

    def __init__(self) -> None:
        self.count = 0
        self._before: Array | None = None
        self._left: Array | None = None  # the cells before a jump that may yet be a flash
        self._since_s = 0.0

    def add(self, picture: Array, time_s: float) -> None:
        """The next picture, (height, width, 3) RGB uint8."""
        cells = grid(picture)
        if self._left is not None:
            if not jumps(self._left, cells):
                self._left = None
            elif time_s - self._since_s >= FLASH_S:
                self._left = None
                self.count += 1
        elif self._before is not None and jumps(self._before, cells):
            self._left, self._since_s = self._before, time_s
        self._before = cells


def grid(picture: Array) -> Array:
    """The mean colours of 8 x 8 cells of a (height, width, 3) picture: (8, 8, 3) int16."""
    import cv2

    return np.asarray(cv2.resize(picture, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.int16)


def jumps(cells: Array, others: Array) -> bool:
    """Do two grids belong to different shots, or is one of a flash?"""
    changed = np.abs(cells - others).max(axis=-1) > CELL_LEVELS
    return float(changed.mean()) > CUT_RATIO


def _largest_change(blocks: Array, others: Array) -> float:
    """Infinite where the size changed: the stream's picture did, too."""
    return float(np.abs(blocks - others).max()) if blocks.shape == others.shape else float("inf")


def _crop(picture: Array, box: tuple[int, int, int, int]) -> Array:
    left, top, width, height = box
    return picture[top : top + height, left : left + width]


def _within(face: Face, picture: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The part of a face's box that lies in the picture: the edge of a black bar would pass for sharpness."""
    left, top = max(face.left, picture[0]), max(face.top, picture[1])
    right = min(face.left + face.width, picture[0] + picture[2])
    bottom = min(face.top + face.height, picture[1] + picture[3])
    return left, top, max(right - left, 0), max(bottom - top, 0)
