"""Faces found and followed through a video of which nobody said where they are.

BlazeFace looks at every `stride`-th frame. A face goes on with the track whose last box overlaps its own most, by an
IoU of at least 0.5 (Bochinski et al. 2017, "High-speed tracking-by-detection without using image information"), if that
was seen at most 0.2 s ago, in a shot and with a face that look the same; the frames between get boxes by linear
interpolation. A flash is no end, for what comes after it looks again like what was before. Tracks of one detection are
dropped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from avlake.extractors import crops, video_quality
from avlake.extractors.face_boxes import REACH, Array, Boxes, steady_box
from avlake.extractors.faces import faces

if TYPE_CHECKING:
    from avlake.media.video import Frame

MIN_IOU = 0.5
MAX_GAP_S = 0.2
MIN_LIKENESS = 0.5  # correlation of 8 x 8 cells of a face with those before: of one mostly above 0.9
SLACK = 1.5  # a video of few frames a second has longer gaps between two of them
SIDE_PX = 1280  # frames wait no larger: the detector sees no face below a tenth of that, which is a crop's size


class Waiting(NamedTuple):
    """A frame that may yet be cut: what comes after it steadies its boxes and bridges its gaps."""

    time_s: float
    luma: Array | None  # none where no face can be


class Look(NamedTuple):
    """What a shot and a face in it look like, roughly."""

    cells: Array  # of the whole picture
    face: Array  # (64,) gray, of mean 0 and length 1

    def is_of(self, other: Look) -> bool:
        """Is it the same face in the same shot?"""
        return not video_quality.jumps(self.cells, other.cells) and float(self.face @ other.face) >= MIN_LIKENESS


@dataclass
class Track:
    """One face."""

    times_s: list[float] = field(default_factory=list)
    edges: list[Array] = field(default_factory=list)
    crops: list[bytes] = field(default_factory=list)  # of the first of these
    detections: int = 0
    look: Look | None = None  # where it was seen last


class Seeker:
    """A viewer that finds and follows faces, and keeps their pictures; of frames it keeps those of 0.4 s."""

    def __init__(self, quality: int, smooth_s: float, stride: int) -> None:
        self.size_px = (0, 0)  # of the first frame
        self._quality, self._smooth_s, self._stride = quality, smooth_s, stride
        self._tracks: list[Track] = []  # all with at least two detections, once over
        self._live: list[Track] = []  # may go on, or wait to be cut
        self._line: deque[Waiting] = deque()
        self._last_s = -1.0

    def see(self, frame: Frame) -> None:
        if self._last_s < 0:
            self.size_px = frame.size_px
        if frame.time_s <= self._last_s:
            return  # a damaged file may show two frames at once; a track has one
        self._last_s = frame.time_s
        gap_s = max(MAX_GAP_S, SLACK * self._stride * frame.lasts_s)
        if frame.index % self._stride == 0:
            self._follow(frame, gap_s)
        self._line.append(Waiting(frame.time_s, _small(frame.luma) if self._live else None))
        self._settle(frame.time_s - max(gap_s, REACH * self._smooth_s))

    def finish(self) -> tuple[Boxes, list[bytes], list[str | None]]:
        """Once all frames were seen: the boxes, in the order of tracks, a crop of each, and no problems."""
        self._settle(np.inf)
        self._tracks.sort(key=lambda track: (track.times_s[0], track.edges[0][0]))
        sizes = [len(track.times_s) for track in self._tracks]
        names = [f"face_{number:04}" for number in range(1, len(sizes) + 1)]
        boxes = Boxes(
            tracks=[name for name, size in zip(names, sizes, strict=True) for _ in range(size)],
            times_s=np.array([time_s for track in self._tracks for time_s in track.times_s], np.float64),
            edges=np.array([edges for track in self._tracks for edges in track.edges]).reshape(-1, 4),
            labels=[None] * sum(sizes),
        )
        return boxes, [crop for track in self._tracks for crop in track.crops], [None] * sum(sizes)

    def _follow(self, frame: Frame, gap_s: float) -> None:
        """Give the faces of a frame to the tracks, or let new ones begin."""
        found = _boxes(frame)
        looks = _looks(frame, found)
        going = [track for track in self._live if frame.time_s - track.times_s[-1] <= gap_s + 1e-6]
        pairs = [(overlap(track.edges[-1], box), i, k) for i, track in enumerate(going) for k, box in enumerate(found)]
        taken: dict[int, int] = {}  # face: track
        for iou, i, k in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
            look = going[i].look
            if iou >= MIN_IOU and k not in taken and i not in taken.values() and look and looks[k].is_of(look):
                taken[k] = i
        for k, box in enumerate(found):
            track = going[taken[k]] if k in taken else Track()
            if k not in taken:
                self._live.append(track)
            self._go_on(track, frame.time_s, box)
            track.look = looks[k]

    def _go_on(self, track: Track, time_s: float, box: Array) -> None:
        if track.times_s:
            from_s, from_box = track.times_s[-1], track.edges[-1]
            for waiting in self._line:
                if waiting.time_s > from_s:
                    share = (waiting.time_s - from_s) / (time_s - from_s)
                    track.times_s.append(waiting.time_s)
                    track.edges.append(from_box + share * (box - from_box))
        track.times_s.append(time_s)
        track.edges.append(box)
        track.detections += 1

    def _settle(self, until_s: float) -> None:
        """Cut what waits and was shown by then."""
        while self._line and self._line[0].time_s <= until_s:
            time_s, luma = self._line.popleft()
            for track in self._live:
                at = len(track.crops)
                if track.times_s[at] == time_s:
                    assert luma is not None  # a track is live from its first box to its last picture
                    box = steady_box(track.times_s, track.edges, at, self._smooth_s)
                    track.crops.append(crops.packed(crops.cut(luma, box), self._quality))
            over = [track for track in self._live if len(track.crops) == len(track.times_s)]
            self._live = [track for track in self._live if len(track.crops) < len(track.times_s)]
            self._tracks += [track for track in over if track.detections > 1]


def overlap(one: Array, other: Array) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2 of positive area, 0 to 1."""
    shared = np.prod(np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None))
    return float(shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared))


def _boxes(frame: Frame) -> list[Array]:
    """The faces of a frame as shares of its width and height, the largest first."""
    left, top, width, height = frame.box_px
    found = []
    for face in faces(frame):
        edges = np.array([face.left, face.top, face.left + face.width, face.top + face.height], np.float64)
        edges = np.clip((edges - (left, top, left, top)) / (width, height, width, height), 0, 1)
        if (edges[2:] > edges[:2]).all():
            found.append(edges)
    return found


def _looks(frame: Frame, boxes: list[Array]) -> list[Look]:
    """Of each face of a frame."""
    if not boxes:
        return []
    import cv2

    left, top, width, height = frame.box_px
    cells = video_quality.grid(frame.letterboxed[top : top + height, left : left + width])
    gray, found = frame.gray[top : top + height, left : left + width], []
    for box in boxes:
        face = cv2.resize(crops.cut(gray, box), (video_quality.CELLS,) * 2, interpolation=cv2.INTER_AREA)
        flat = face.ravel().astype(np.float64)
        flat -= flat.mean()
        found.append(Look(cells, flat / max(float(np.linalg.norm(flat)), 1e-9)))
    return found


def _small(luma: crops.Pixels) -> crops.Pixels:
    import cv2

    height, width = luma.shape
    scale = SIDE_PX / max(height, width)
    if scale >= 1:
        return luma
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
