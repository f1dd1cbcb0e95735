"""A clip: one recording opened for measuring. It decodes at most once, whoever asks."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import soxr

from avlake.errors import Quarantined

SAMPLE_RATE = 16_000
T = TypeVar("T")


@dataclass(frozen=True)
class Audio:
    """Decoded audio, as every extractor sees it, with what was true of it before resampling."""

    samples: np.ndarray[Any, np.dtype[np.float32]]  # (n_samples,) mono at 16 kHz; full scale is ±1
    native_rate_hz: int
    native_channels: int
    native_samples: int  # per channel
    native_peak: float  # largest absolute sample over all channels
    native_clipped: int  # samples at full scale or beyond, over all channels
    codec: str

    @property
    def duration_s(self) -> float:
        return self.native_samples / self.native_rate_hz


class Clip:
    """One recording, from its bytes or a path on this machine."""

    def __init__(self, source: bytes | Path) -> None:
        self._source = source
        self._memo: dict[str, Any] = {}

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """`compute()`, kept for the next extractor that asks for the same name (a shared spectrogram, say)."""
        if name not in self._memo:
            self._memo[name] = compute()
        return self._memo[name]

    @cached_property
    def audio(self) -> Audio:
        """The first audio stream, channels averaged, resampled to 16 kHz as `librosa.load(sr=16000)` does.

        Raises:
            Quarantined: `empty`, `not_media`, `no_audio`, `decode_error` or `not_finite`.
        """
        return _decode_audio(self._source)


def _decode_audio(source: bytes | Path) -> Audio:
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise Quarantined("empty", "the file has no bytes")
    try:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), mode="r")
    except (av.FFmpegError, ValueError, OSError) as error:
        raise Quarantined("not_media", f"no known audio or video format ({_reason(error)})") from None
    with container:
        if not container.streams.audio:
            raise Quarantined("no_audio", "the file has no audio stream")
        stream = container.streams.audio[0]
        try:
            return _collect(container.decode(stream), codec=stream.codec_context.name)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise Quarantined(
                "decode_error", f"decoding {stream.codec_context.name} failed: {_reason(error)}"
            ) from None


def _collect(frames: Iterator[Any], *, codec: str) -> Audio:
    """Decode frame by frame; memory holds the 16 kHz result and one frame."""
    resampler: soxr.ResampleStream | None = None
    pieces: list[np.ndarray[Any, Any]] = []
    rate = channels = count = clipped = 0
    peak = 0.0
    for frame in frames:
        block, full_scale = _as_float(frame)  # (channels, n)
        if not rate:
            rate, channels = frame.sample_rate, block.shape[0]
            if rate != SAMPLE_RATE:
                resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        if (frame.sample_rate, block.shape[0]) != (rate, channels):
            raise Quarantined("decode_error", "sample rate or channel count changes inside the file")
        magnitude = np.abs(block)
        count += block.shape[1]
        peak = max(peak, float(magnitude.max(initial=0.0)))
        clipped += int((magnitude >= full_scale).sum())
        mono = block[0] if channels == 1 else block.mean(axis=0, dtype=np.float32)
        pieces.append(resampler.resample_chunk(mono) if resampler else mono)
    if not count:
        raise Quarantined("empty", "the audio stream has no samples")
    if resampler:
        pieces.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    samples = np.concatenate(pieces)
    if not np.isfinite(samples).all():
        raise Quarantined("not_finite", "the audio holds NaN or infinite samples")
    return Audio(samples, rate, channels, count, peak, clipped, codec)


def _as_float(frame: Any) -> tuple[np.ndarray[Any, np.dtype[np.float32]], float]:
    """One decoded frame as (channels, n) float32 with full scale ±1, and the magnitude that counts as clipped."""
    data = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    if data.dtype.kind == "f":
        return np.ascontiguousarray(data, np.float32), 1.0
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - 128.0) / 128.0, 127.0 / 128.0
    scale = float(1 << (8 * data.dtype.itemsize - 1))
    step = 256.0 if data.dtype.itemsize == 4 else 1.0  # 24 bits arrive as the upper ones of 32
    return data.astype(np.float32) / np.float32(scale), (scale - step) / scale


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
