"""What a clip looks and sounds like at a glance, from its standard form: a thumbnail and a waveform."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np

from avlake.media.clip import Clip

if TYPE_CHECKING:
    from collections.abc import Iterable

COLUMNS = 240  # of a waveform
HEIGHT = 40
JPEG_QUALITY = 80
LEAST_PEAK = 0.02  # a quieter clip is drawn quiet


@dataclass(frozen=True)
class Wave:
    """A waveform as the path of an SVG of 240 x 40, scaled to its peak, and where speech was found in it."""

    path: str
    speech: list[tuple[float, float]]  # left and width, of 240
    duration_s: float


def thumbnail(mp4: bytes) -> bytes:
    """JPEG of the middle frame.

    Raises:
        av.FFmpegError, ValueError, IndexError: if these bytes hold no picture.
    """
    from PIL import Image

    with av.open(io.BytesIO(mp4), mode="r") as container:
        stream = container.streams.video[0]
        middle = (stream.start_time or 0) + (stream.duration or 0) // 2
        container.seek(middle, stream=stream)
        raw = None
        for raw in container.decode(stream):
            if raw.pts is not None and raw.pts >= middle:
                break
        if raw is None:
            raise ValueError("no frame")
        picture = Image.fromarray(raw.to_ndarray(format="rgb24"))
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return jpeg.getvalue()


def waveform(wav: bytes, speech_s: Iterable[tuple[float, float]]) -> Wave:
    """The least and the greatest sample in each of 240 columns.

    Args:
        speech_s: start and end of each segment of speech.

    Raises:
        Quarantined: if these bytes hold no sound.
    """
    audio = Clip(wav).audio
    edges = np.linspace(0, len(audio.samples), COLUMNS + 1).astype(int)
    scale = HEIGHT / 2 / max(float(np.abs(audio.samples).max()), LEAST_PEAK)
    strokes = []
    for x, (first, last) in enumerate(itertools.pairwise(edges)):
        column = audio.samples[first : max(last, first + 1)]
        top, bottom = (HEIGHT / 2 - scale * float(v) for v in (column.max(), column.min()))
        strokes.append(f"M{x + 0.5} {top:.1f}V{max(bottom, top + 0.5):.1f}")
    across = COLUMNS / audio.duration_s
    speech = [(start * across, (end - start) * across) for start, end in speech_s]
    return Wave("".join(strokes), speech, audio.duration_s)
