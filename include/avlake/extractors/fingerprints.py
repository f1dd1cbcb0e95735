"""What a clip sounds and looks like, in a few bits: for finding near duplicates; one row per clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class Fingerprints(base.Extractor):
    """NULL for a stream that is not there."""

    table = silver(
        "fingerprints",
        "perceptual hashes of sound and picture, for finding near duplicates",
        columns={
            "audio_hashes": pa.list_(pa.uint32()),
            "frame_hashes": pa.list_(pa.uint64()),
        },
        in_warehouse=False,
    )
    version = 1
    reads = ()

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = Fingerprints
