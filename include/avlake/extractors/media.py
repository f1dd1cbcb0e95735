"""What the file is: codecs, rates, size and duration, as delivered and before anything is resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import TEXT, silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class Media(base.Extractor):
    """The first audio and the first video stream's own facts; NULL for a stream that is not there."""

    table = silver(
        "media",
        "the format of a recording as delivered",
        columns={
            "codec": TEXT,  # of the audio, as are the next two
            "native_rate_hz": pa.int32(),
            "channels": pa.int32(),
            "duration_s": pa.float64(),  # of the audio as decoded; without audio, of the video
            "video_codec": TEXT,
            "width_px": pa.int32(),
            "height_px": pa.int32(),
            "frame_rate_hz": pa.float32(),  # average
            "video_duration_s": pa.float64(),  # as its header says
        },
    )
    version = 2
    reads = ()

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        audio = clip.audio if "audio" in clip.streams else None
        video = clip.video if "video" in clip.streams else None
        row = {
            "codec": audio and audio.codec,
            "native_rate_hz": audio and audio.native_rate_hz,
            "channels": audio and audio.native_channels,
            "duration_s": audio.duration_s if audio else video and video.duration_s,
            "video_codec": video and video.codec,
            "width_px": video and video.width_px,
            "height_px": video and video.height_px,
            "frame_rate_hz": video and video.frame_rate_hz,
            "video_duration_s": video and video.duration_s,
        }
        return {name: np.array([value], object) for name, value in row.items()}


EXTRACTOR = Media
