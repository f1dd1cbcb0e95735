"""What the file is: codecs, rates, size and duration, as delivered and before anything is resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.errors import Quarantined
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
            "duration_s": pa.float64(),  # of the audio as decoded; without, of the video
            "video_codec": TEXT,
            "width_px": pa.int32(),
            "height_px": pa.int32(),
            "frame_rate_hz": pa.float32(),  # average
            "video_duration_s": pa.float64(),  # as its header says
        },
    )
    version = 2
    reads = ()
    samples = False

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        codec, rate_hz, channels, duration_s = _sound(clip) if "audio" in clip.streams else (None,) * 4
        video = clip.video if "video" in clip.streams else None
        row = {
            "codec": codec,
            "native_rate_hz": rate_hz,
            "channels": channels,
            "duration_s": video.duration_s if duration_s is None and video else duration_s,
            "video_codec": video and video.codec,
            "width_px": video and video.width_px,
            "height_px": video and video.height_px,
            "frame_rate_hz": video and video.frame_rate_hz,
            "video_duration_s": video and video.duration_s,
        }
        return {name: np.array([value], object) for name, value in row.items()}


def _sound(clip: Clip) -> tuple[str, int, int, float | None]:
    """Codec, rate, channels and duration; what the header says, and no duration, of sound that does not decode."""
    try:
        sound = clip.sound
    except Quarantined:
        return *clip.audio_header, None
    return sound.codec, sound.native_rate_hz, sound.native_channels, sound.duration_s


EXTRACTOR = Media
