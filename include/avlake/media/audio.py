"""Decoded audio: one frame at a time in, 16 kHz mono and what was true of it before resampling out.

Who needs no more than one look at the samples listens to them, so that a recording of hours fits into memory: with
listeners alone, nothing but the block at hand is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import soxr

from avlake.errors import Quarantined

SAMPLE_RATE = 16_000
BLOCK = 10 * SAMPLE_RATE  # samples handed on at a time

Samples = np.ndarray[Any, np.dtype[np.float32]]


class Listener(Protocol):
    """Hears a clip's sound once, from beginning to end, and keeps numbers."""

    def hear(self, samples: Samples) -> None:
        """The next samples, (n,) mono at 16 kHz, full scale ±1; blocks of any length, without gaps between them."""
        ...


@dataclass(frozen=True)
class Sound:
    """What is known of decoded sound without its samples."""

    n_samples: int  # at 16 kHz
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


@dataclass(frozen=True)
class Audio(Sound):
    """Decoded audio, as every extractor sees it, with what was true of it before resampling."""

    samples: Samples = field(kw_only=True)  # (n_samples,) mono at 16 kHz; full scale is ±1


class AudioCollector:
    """Takes decoded frames, hands blocks of 16 kHz samples on, and keeps them where asked to.

    `keep`: the 16 kHz result stays in memory; else a block and a frame do.
    """

    def __init__(self, codec: str, origin_s: float, hand_on: Callable[[Samples], None], *, keep: bool) -> None:
        self._codec, self._origin_s, self._start_s = codec, origin_s, 0.0
        self._hand_on, self._keep = hand_on, keep
        self._kept: list[Samples] = []
        self._held = self._n_samples = 0
        self._resampler: soxr.ResampleStream | None = None
        self._pieces: list[Samples] = []
        self._rate = self._channels = self._count = self._clipped = 0
        self._peak = 0.0

    def add(self, frame: Any) -> None:
        """Raises:
        Quarantined: `decode_error` when the format changes midway; `not_finite`.
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
        self._take(self._resampler.resample_chunk(mono) if self._resampler else mono)

    def finish(self) -> Sound:
        """`Audio` where the samples were to be kept.

        Raises:
            Quarantined: `empty` or `not_finite`.
        """
        if not self._count:
            raise Quarantined("empty", "the audio stream has no samples")
        if self._resampler:
            self._take(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        self._flush()
        facts = (
            self._n_samples,
            self._rate,
            self._channels,
            self._count,
            self._peak,
            self._clipped,
            self._codec,
            self._start_s,
        )
        return Audio(*facts, samples=np.concatenate(self._kept)) if self._keep else Sound(*facts)

    def _take(self, piece: Samples) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held >= BLOCK:
            self._flush()

    def _flush(self) -> None:
        """Hand on what has come together."""
        block = np.concatenate([*self._pieces, np.zeros(0, np.float32)])
        self._pieces, self._held = [], 0
        if not np.isfinite(block).all():
            raise Quarantined("not_finite", "the audio holds NaN or infinite samples")
        self._n_samples += len(block)
        if self._keep:
            self._kept.append(block)
        self._hand_on(block)


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
