"""Windows cut out of an audio file, while it is decoded once."""

from __future__ import annotations

import io
import wave
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from avlake.errors import WorkError

Samples = np.ndarray[Any, np.dtype[Any]]


def cut(
    file: IO[bytes], spans: Sequence[tuple[float, float]], name: str, *, mono_hz: int | None = None
) -> Iterator[bytes]:
    """Each window as a WAV file, at the file's own rate and channels; memory holds the windows that overlap.

    Samples of integer formats stay what they are (8 bits become 16); those of lossy and float ones become 16 bits.

    Args:
        spans: start and end in seconds of the recording, sorted by start.
        name: what errors call the file.
        mono_hz: one channel of 16 bits at this rate instead.

    Raises:
        WorkError: if it cannot be decoded, or ends before a window begins.
    """
    import av

    try:
        with av.open(file, mode="r") as container:
            frames = container.decode(container.streams.audio[0])
            yield from _cut(_mono(frames, mono_hz) if mono_hz else frames, spans, name)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise WorkError(f"{name}: its windows cannot be cut out, for decoding failed: {error}") from None


def _mono(frames: Iterator[Any], rate: int) -> Iterator[Any]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    for frame in frames:
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _cut(frames: Iterator[Any], spans: Sequence[tuple[float, float]], name: str) -> Iterator[bytes]:
    held: deque[Samples] = deque()  # (n, channels) each
    begins = ends = rate = 0  # first and end sample of what is held
    for start_s, end_s in spans:
        while not rate or ends < round(end_s * rate):
            frame = next(frames, None)
            if frame is None:
                break
            rate = frame.sample_rate
            held.append(_pcm(frame))
            ends += len(held[-1])
        start, end = round(start_s * rate), min(round(end_s * rate), ends)
        while held and begins + len(held[0]) <= start:
            begins += len(held.popleft())
        if start >= end:
            raise WorkError(f"{name}: it ends before its window at {start_s:g} s begins")
        yield _wav(np.concatenate(held)[start - begins : end - begins], rate)


def _pcm(frame: Any) -> Samples:
    """One decoded frame as 16- or 32-bit integers, (n, channels)."""
    data = frame.to_ndarray()
    data = data.T if frame.format.is_planar else data.reshape(-1, frame.layout.nb_channels)
    if data.dtype.kind == "f":
        return np.clip(np.round(data * 32768), -32768, 32767).astype("<i2")
    if data.dtype == np.uint8:
        return ((data.astype("<i2") - 128) * 256).astype("<i2")
    return data.astype(f"<i{data.dtype.itemsize}")


def _wav(samples: Samples, rate: int) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((samples.shape[1], samples.dtype.itemsize, rate, 0, "NONE", "not compressed"))
        file.writeframes(np.ascontiguousarray(samples).tobytes())
    return out.getvalue()
