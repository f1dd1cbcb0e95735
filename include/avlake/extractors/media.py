"""What the file is: codec, rate, channels and duration, as delivered and before anything is resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import TEXT, silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class Media(base.Extractor):
    """The first audio stream's own facts."""

    table = silver(
        "media",
        "the format of a recording as delivered",
        columns={"codec": TEXT, "native_rate_hz": pa.int32(), "channels": pa.int32(), "duration_s": pa.float64()},
    )
    version = 1

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        audio = clip.audio
        return {
            "codec": np.array([audio.codec], object),
            "native_rate_hz": np.array([audio.native_rate_hz], np.int32),
            "channels": np.array([audio.native_channels], np.int32),
            "duration_s": np.array([audio.duration_s]),
        }


EXTRACTOR = Media
