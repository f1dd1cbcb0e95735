"""Where someone speaks: segments from Silero VAD, one row per clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class Speech(base.Extractor):
    """Times are seconds of the decoded audio."""

    table = silver(
        "speech",
        "when speech sounds, and the share of time that it does",
        columns={
            "duration_s": pa.float64(),  # of the audio
            "speech_s": pa.float64(),
            "speech_ratio": pa.float32(),  # speech_s over duration_s
            "segments": pa.int32(),
            "segment_start_s": pa.list_(pa.float32()),
            "segment_end_s": pa.list_(pa.float32()),
        },
    )
    version = 1
    reads = ("audio",)

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = Speech
