"""Small video files for tests, drawn and sounded here: pictures by a function of time, sound as samples."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
TICKS = 90_000  # a second, in the time base of the pictures


def moving_bar(width: int = 160, height: int = 120, period_s: float = 2.0) -> Callable[[float], Pixels]:
    """A white bar over a gray ramp, crossing the picture once in `period_s`."""
    ramp = np.repeat(np.linspace(40, 160, width, dtype=np.uint8)[None, :, None], height, axis=0)

    def draw(time_s: float) -> Pixels:
        picture = np.repeat(ramp, 3, axis=2)
        left = int(time_s % period_s / period_s * (width - 8))
        picture[:, left : left + 8] = 255
        return picture

    return draw


def noise_pictures(seed: int, width: int = 160, height: int = 120, every_s: float = 0.5) -> Callable[[float], Pixels]:
    """Blurred random pictures, another one every `every_s`: unlike those of any other seed."""

    def draw(time_s: float) -> Pixels:
        rng = np.random.default_rng([seed, int(time_s / every_s)])
        blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        return np.ascontiguousarray(np.kron(blocks, np.ones((height // 6, width // 8, 1), np.uint8)))

    return draw


def make_clip(
    draw: Callable[[float], Pixels] | None,
    samples: np.ndarray[Any, Any] | None = None,
    *,
    times_s: Sequence[float] | None = None,
    seconds: float = 2.0,
    rate_hz: float = 25.0,
    sample_rate: int = 16_000,
    audio_start_s: float = 0.0,
    container: str = "mp4",
    codec: str = "libx264",
    crf: int = 18,
    pix_fmt: str = "yuv420p",
    pixel_aspect: float = 1.0,
    matrix: Sequence[int] | None = None,
) -> bytes:
    """A video file: `draw(t)` at every one of `times_s` (by default `rate_hz` a second), and mono `samples` (±1).

    `matrix` (9 integers) says how a player is to turn the pictures, as a phone's does.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="matroska" if container == "mkv" else container) as out:
        video = audio = None
        if draw is not None:
            times_s = np.arange(round(seconds * rate_hz)) / rate_hz if times_s is None else times_s
            first = draw(times_s[0])
            video = out.add_stream(codec, rate=Fraction(rate_hz).limit_denominator(1001))
            video.width, video.height, video.pix_fmt = first.shape[1], first.shape[0], pix_fmt
            video.codec_context.time_base = Fraction(1, TICKS)
            video.codec_context.sample_aspect_ratio = Fraction(pixel_aspect).limit_denominator(1000)
            video.set_display_matrix(matrix)
            if codec == "libx264":
                video.options = {"crf": str(crf), "preset": "ultrafast", "threads": "1"}
        if samples is not None:
            audio = out.add_stream("aac", rate=sample_rate, layout="mono")
        if video is not None:
            for time_s in times_s:
                frame = av.VideoFrame.from_ndarray(draw(time_s), format="rgb24")
                frame.pts, frame.time_base = round(time_s * TICKS), Fraction(1, TICKS)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        if audio is not None:
            block = audio.codec_context.frame_size or 1024
            for start in range(0, len(samples), block):
                piece = np.asarray(samples[start : start + block], np.float32)[None]
                sound = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                sound.sample_rate, sound.time_base = sample_rate, Fraction(1, sample_rate)
                sound.pts = start + round(audio_start_s * sample_rate)
                out.mux(audio.encode(sound))
            out.mux(audio.encode(None))
    return file.getvalue()
