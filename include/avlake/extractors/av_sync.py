"""Whether lips and sound go together: an estimated offset and how sure it is, one row per clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class AvSync(base.Extractor):
    """NULL where no face or no sound allows an estimate."""

    table = silver(
        "av_sync",
        "offset between lips and sound",
        columns={
            "av_offset_s": pa.float32(),  # positive: the sound comes after the lips
            "av_sync_confidence": pa.float32(),  # 0 none, higher is surer
            "frames_measured": pa.int32(),  # with a face
        },
    )
    version = 1
    reads = ("audio", "video")
    models = ("blaze_face_short_range.tflite",)

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = AvSync
