"""What a voice sounds like over a whole clip: for telling speakers apart, one row per clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class SpeakerFeatures(base.Extractor):
    """Means and standard deviations over the frames of a clip."""

    table = silver(
        "speaker_features",
        "MFCCs and pitch over a whole clip",
        columns={
            **dict.fromkeys((f"mfcc_{i}_mean" for i in range(1, 14)), pa.float32()),
        },
    )
    version = 1
    reads = ("audio",)

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = SpeakerFeatures
