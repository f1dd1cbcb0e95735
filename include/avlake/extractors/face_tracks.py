"""Faces through time, and the sound that goes with each: one row per track, or per minute of a long one.

STUB: its contract. Boxes come from the drop's annotation (`clip.annotation`, see `datasets.ava`); a video without one
is searched by the face detector and its faces tracked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from avlake.extractors import base
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip

SIDE_PX = 112  # of a crop
STEPS = 4  # frames of sound for each face, 10 ms apart, the face's time in their middle
MELS = 40
COEFFICIENTS = 13
MOST_FACES = 1500  # of one row


class Params(base.Params):
    """What a track is."""

    jpeg_quality: int = Field(90, ge=50, le=100, title="JPEG quality", description="of the stored crops")


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
            "x1": pa.list_(pa.float32()),  # edges of the box as annotated: shares of the frame's width and height
            "y1": pa.list_(pa.float32()),
            "x2": pa.list_(pa.float32()),
            "y2": pa.list_(pa.float32()),
            "label": pa.list_(pa.string()),  # SPEAKING_AUDIBLE | SPEAKING_NOT_AUDIBLE | NOT_SPEAKING; NULL: not said
            "problem": pa.list_(pa.string()),  # NULL: fine; bad_box | outside_frame | past_end | no_frame
            "width_px": pa.int32(),  # of the video's frames as shown
            "height_px": pa.int32(),
            "crops": pa.binary(),  # n JPEGs of 112 x 112 gray, one after the other; nothing for a face with a problem
            "crop_bytes": pa.list_(pa.int32()),  # the length of each
            "log_mel": pa.binary(),  # (n, 4, 40) float16, little-endian: ln of mel energies, see `mel`
            "mfcc": pa.binary(),  # (n, 4, 13) float16
        },
    )
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("video",)
    samples: ClassVar[bool] = False
    annotated: ClassVar[bool] = True
    Params = Params

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = FaceTracks
