"""What segments of an episode sound like, cut from its end to its start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class SegmentFeatures(base.Extractor):
    """Features of every segment."""

    table = silver(
        "segment_features",
        "features of segments of 10 s, counted from the end",
        key=("segment_index",),
        columns={
            "segment_index": pa.int32(),  # in order of time
            "start_s": pa.float64(),
            "end_s": pa.float64(),
            "is_short": pa.bool_(),  # the rest, at the other end, that is no whole segment
        },
    )
    version = 1
    samples = False

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = SegmentFeatures
