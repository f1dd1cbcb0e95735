"""The clip as models want it: 224 x 224 at 25 fps in H.264, 16 kHz mono sound; kept as objects, one row per clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import TEXT, silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class Standardised(base.Extractor):
    """What a clip lacks, audio or video, its standard form lacks too."""

    table = silver(
        "standardised",
        "a clip in standard form: where its bytes are, and what they hold",
        columns={
            "video": TEXT,  # sha256 of the object, an mp4; NULL without video
            "audio": TEXT,  # sha256 of the object, a wav; NULL without audio
            "frames": pa.int32(),  # at 25 per second
            "duplicated_frames": pa.int32(),  # shown more than once to keep 25 per second
            "dropped_frames": pa.int32(),  # of the clip, not shown
            "duration_s": pa.float64(),
            "side_px": pa.int32(),
            "video_bytes": pa.int64(),
            "audio_bytes": pa.int64(),
        },
    )
    version = 1
    reads = ()
    objects = ("video", "audio")

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = Standardised
