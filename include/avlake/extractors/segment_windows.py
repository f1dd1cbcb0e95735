"""The same features, finer: windows of 2 s, a second apart, for finding where something begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class SegmentWindows(base.Extractor):
    """Features of every window."""

    table = silver(
        "segment_windows",
        "features of short windows of an episode",
        key=("window_index",),
        columns={
            "window_index": pa.int32(),
            "start_s": pa.float64(),
            "end_s": pa.float64(),
        },
    )
    version = 1
    samples = False

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = SegmentWindows
