"""Decoded audio: one frame at a time in, 16 kHz mono and what was true of it before resampling out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from avlake.errors import Quarantined

SAMPLE_RATE = 16_000


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
    start_s: float = 0.0  # when the first sample sounds, from the recording's start

    @property
    def duration_s(self) -> float:
        return self.native_samples / self.native_rate_hz


class AudioCollector:
    """Takes decoded frames; memory holds the 16 kHz result and one frame."""

    def __init__(self, codec: str, origin_s: float) -> None:
        self._codec, self._origin_s, self._start_s = codec, origin_s, 0.0
        self._resampler: soxr.ResampleStream | None = None
        self._pieces: list[np.ndarray[Any, Any]] = []
        self._rate = self._channels = self._count = self._clipped = 0
        self._peak = 0.0

    def add(self, frame: Any) -> None:
        """Raises:
        Quarantined: `decode_error` when the format changes midway.
        """
        block, full_scale = _as_float(frame)  # (channels, n)
        if not self._rate:
            self._rate, self._channels = frame.sample_rate, block.shape[0]
            self._start_s = max(0.0, frame.time - self._origin_s) if frame.pts is not None else 0.0
            if self._rate != SAMPLE_RATE:
                self._resampler = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        if (frame.sample_rate, block.shape[0]) != (self._rate, self._channels):
            raise Quarantined("decode_error", "sample rate or channel count changes inside the file")
        magnitude = np.abs(block)
        self._count += block.shape[1]
        self._peak = max(self._peak, float(magnitude.max(initial=0.0)))
        self._clipped += int((magnitude >= full_scale).sum())
        mono = block[0] if self._channels == 1 else block.mean(axis=0, dtype=np.float32)
        self._pieces.append(self._resampler.resample_chunk(mono) if self._resampler else mono)

    def finish(self) -> Audio:
        """Raises:
        Quarantined: `empty` or `not_finite`.
        """
        if not self._count:
            raise Quarantined("empty", "the audio stream has no samples")
        if self._resampler:
            self._pieces.append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        samples = np.concatenate(self._pieces)
        if not np.isfinite(samples).all():
            raise Quarantined("not_finite", "the audio holds NaN or infinite samples")
        return Audio(
            samples,
            self._rate,
            self._channels,
            self._count,
            self._peak,
            self._clipped,
            self._codec,
            self._start_s,
        )


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
