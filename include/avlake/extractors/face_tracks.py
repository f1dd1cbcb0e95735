"""Faces through time, and the sound that goes with each: one row per track, or per part of a long one.

Boxes come from the drop's annotation (`clip.annotation`, see `datasets.ava`); a video without one is searched by the
face detector and its faces tracked, see `face_tracking`. Every box is told, also one that no picture has, with the
reason. A box's picture is the one shown nearest to its time; it is cut out by the boxes of its track, steadied over
time, for otherwise the frame's trembling drowns the lips' motion: average precision on talkers that a network never saw
was 0.965 with it and 0.940 without. A video without sound, or with sound that does not decode, is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from avlake.errors import AvlakeError, Quarantined
from avlake.extractors import base, faces, speech_frames
from avlake.extractors.crops import SIDE_PX
from avlake.extractors.face_boxes import Boxes, parsed
from avlake.extractors.face_cutting import Cutter
from avlake.extractors.face_tracking import Seeker
from avlake.extractors.speech_frames import COEFFICIENTS, MELS, STEPS, SpeechFrames
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip

__all__ = ["COEFFICIENTS", "EXTRACTOR", "MELS", "MOST_FACES", "SIDE_PX", "STEPS", "FaceTracks", "Params"]

MOST_FACES = 1500  # of one row


class Params(base.Params):
    """What a track is."""

    jpeg_quality: int = Field(90, ge=50, le=100, title="JPEG quality", description="of the stored crops")
    smooth_s: float = Field(
        0.12,
        ge=0,
        le=1,
        title="Smoothing of boxes",
        description="standard deviation in seconds of the Gaussian that steadies a crop's box; 0: cut as annotated",
    )
    stride: int = Field(
        1, ge=1, le=25, title="Stride", description="look for faces in every n-th frame of a video without annotation"
    )


class FaceTracks(base.Extractor):
    table = silver(
        "face_tracks",
        "faces through time, with their pictures and the sound that goes with them: one row per part of a track",
        key=("track_id", "part"),
        columns={
            "track_id": pa.string(),  # entity_id of the annotation; `face_0001` where the detector found it
            "part": pa.int32(),  # from 0; a part has at most 1,500 faces
            "source": pa.string(),  # annotation | detector
            "start_s": pa.float64(),  # of its first and last face
            "end_s": pa.float64(),
            "faces": pa.int32(),  # n, the length of each list
            "frame_timestamp": pa.list_(pa.float64()),  # s, as annotated, else of the video's frame
            "x1": pa.list_(pa.float32()),  # edges of the box as told: shares of the frame's size, at most 1000
            "y1": pa.list_(pa.float32()),
            "x2": pa.list_(pa.float32()),
            "y2": pa.list_(pa.float32()),
            "label": pa.list_(pa.string()),  # SPEAKING_AUDIBLE | SPEAKING_NOT_AUDIBLE | NOT_SPEAKING; NULL: not said
            "problem": pa.list_(pa.string()),  # NULL: fine; bad_box | outside_frame | past_end | no_frame
            "width_px": pa.int32(),  # of the video's frames as shown
            "height_px": pa.int32(),
            "crops": pa.binary(),  # n JPEGs of 112 x 112 gray, one after the other; nothing for a face with a problem
            "crop_bytes": pa.list_(pa.int32()),  # the length of each
            "log_mel": pa.binary(),  # (n, 4, 40) float16, little-endian: see `speech_frames`
            "mfcc": pa.binary(),  # (n, 4, 13) float16
        },
    )
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("video",)
    samples: ClassVar[bool] = False
    annotated: ClassVar[bool] = True
    seeks: ClassVar[tuple[str, ...]] = (faces.MODEL,)
    Params: ClassVar[type[base.Params]] = Params

    def watch(self, clip: Clip) -> Cutter | Seeker:
        assert isinstance(self.params, Params)
        how = self.params.jpeg_quality, self.params.smooth_s
        return Seeker(*how, self.params.stride) if clip.annotation is None else Cutter(parsed(clip.annotation), *how)

    def listen(self) -> Mapping[str, Callable[[], SpeechFrames]]:
        return {speech_frames.NAME: SpeechFrames}

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        """Raises:
        Quarantined: `no_usable_box` where no box of the annotation has a picture; `no_face_detector` where faces are
            to be found and cannot be here, which is no reason to keep those that are annotated waiting; as `clip.seen`
            does.
        """
        try:
            viewer: Cutter | Seeker = clip.seen(self.name)
        except Quarantined:
            raise
        except AvlakeError as error:
            wrong = f"no annotation says where its faces are, and {error}"
            raise Quarantined(
                "no_face_detector", f"{wrong}; then `avlake quarantine --requeue`, and run again"
            ) from None
        boxes, crops, problems = viewer.finish()
        if boxes.tracks and not any(crops):
            raise Quarantined("no_usable_box", f"none of {len(boxes.tracks)} boxes has a picture: {_counted(problems)}")
        log_mel, start = _sound(clip, boxes.times_s), 0
        log_mel[[problem is not None for problem in problems]] = 0
        mfcc, rows = speech_frames.mfcc(log_mel), []
        source = "detector" if clip.annotation is None else "annotation"
        for track, same in groupby(boxes.tracks):
            stop = start + len(list(same))
            for part, first in enumerate(range(start, stop, MOST_FACES)):
                at = slice(first, min(first + MOST_FACES, stop))
                told = {"track_id": track, "part": part, "source": source}
                size = {"width_px": viewer.size_px[0], "height_px": viewer.size_px[1]}
                rows.append(told | size | _row(boxes, problems, crops, log_mel, mfcc, at))
            start = stop
        return _columns(rows)


EXTRACTOR = FaceTracks


def _sound(clip: Clip, times_s: np.ndarray[Any, Any]) -> speech_frames.Halves:
    """What is heard around each time; silence where the video has no sound, or none that decodes."""
    if "audio" not in clip.streams:
        return speech_frames.silence(len(times_s))
    try:
        heard: SpeechFrames = clip.heard(speech_frames.NAME)
        return heard.around(times_s - clip.sound.start_s)
    except Quarantined:
        return speech_frames.silence(len(times_s))


def _row(
    boxes: Boxes,
    problems: Sequence[str | None],
    crops: Sequence[bytes],
    log_mel: speech_frames.Halves,
    mfcc: speech_frames.Halves,
    at: slice,
) -> dict[str, Any]:
    """Of the faces from one place in the video's boxes to before another."""
    times_s = boxes.times_s[at].tolist()
    return {
        "start_s": times_s[0],
        "end_s": times_s[-1],
        "faces": len(times_s),
        "frame_timestamp": times_s,
        **{name: boxes.edges[at, k].tolist() for k, name in enumerate(("x1", "y1", "x2", "y2"))},
        "label": boxes.labels[at],
        "problem": problems[at],
        "crops": b"".join(crops[at]),
        "crop_bytes": [len(crop) for crop in crops[at]],
        "log_mel": log_mel[at].astype("<f2").tobytes(),
        "mfcc": mfcc[at].astype("<f2").tobytes(),
    }


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    names = [field.name for field in FaceTracks.table.schema if field.name not in base.ADDED]
    columns = {name: np.empty(len(rows), object) for name in names}
    for name, column in columns.items():
        column[:] = [row[name] for row in rows]
    return columns


def _counted(problems: Sequence[str | None]) -> str:
    kinds = sorted({problem for problem in problems if problem})
    return ", ".join(f"{problems.count(kind)} {kind}" for kind in kinds)
