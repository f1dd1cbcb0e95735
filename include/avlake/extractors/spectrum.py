"""One float32 spectrogram, and everything that is read off it frame by frame.

librosa called feature by feature transforms the same samples nine times and estimates chroma's tuning each time; here
they are transformed once, without librosa or numba. The values are librosa 0.11's (McFee et al., 2015) with
`n_fft=2048, hop_length=500, center=False, window="hann"` at 16 kHz; the tests hold them equal. The hop is 500 rather
than 512 so that 1/8 s is a whole number of frames and overlapping windows share theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from avlake.media.clip import SAMPLE_RATE

N_FFT = 2048
HOP = 500
N_MELS = 128
N_CHROMA = 12
ROLLOFF_GROUP = 41  # 1025 bins are 25 groups of 41
CHUNK = 107  # frames worked on at a time, a third of 10 s: they stay in a core's cache, and memory is bounded
TOP_DB = 80.0  # decibels are floored this far below the loudest value of a window
AMIN = 1e-10  # powers below this are as good as silence: -100 dB
TINY = np.finfo(np.float32).tiny
BINS_HZ = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE).astype(np.float32)

Floats = np.ndarray[Any, np.dtype[np.float32]]


def frames(x: Floats, length: int) -> Floats:
    """The (n_frames, length) frames that lie wholly inside `x`, one every HOP samples, as a view."""
    return np.lib.stride_tricks.sliding_window_view(x, length)[::HOP]


def chunks(framed: Floats) -> Iterator[Floats]:
    """The same frames, CHUNK at a time."""
    return (framed[i : i + CHUNK] for i in range(0, len(framed), CHUNK))


def spectrogram(framed: Floats) -> Floats:
    """Magnitudes (n_frames, 1 + N_FFT / 2) of frames of N_FFT samples under a Hann window."""
    from scipy.fft import rfft

    return np.abs(rfft(framed * hann(), axis=-1))


def to_db(power: Floats) -> Floats:
    """Power in dB re 1, not below -100 dB: `librosa.power_to_db(power, top_db=None)`."""
    decibels: Floats = np.float32(10.0) * np.log10(np.maximum(power, np.float32(AMIN)))
    return decibels


def floor_db(windows: Floats) -> Floats:
    """Raise what lies more than 80 dB below its window's loudest value (n_windows, bands, frames): `top_db=80`."""
    loudest = windows.max(axis=(1, 2), keepdims=True)
    floored: Floats = np.maximum(windows, loudest - np.float32(TOP_DB))
    return floored


def centroid_and_bandwidth(magnitude: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of frequency in Hz, weighted by magnitude: two (n_frames,); 0 for a silent frame."""
    total = _or_one(magnitude.sum(axis=1))
    centroid = np.einsum("tf,f->t", magnitude, BINS_HZ) / total
    deviation = BINS_HZ - centroid[:, None]
    np.square(deviation, out=deviation)
    return centroid, np.sqrt(np.einsum("tf,tf->t", magnitude, deviation) / total)


def rolloff(magnitude: Floats, share: float = 0.85) -> Floats:
    """The frequency in Hz below which `share` of the magnitude lies: (n_frames,); 0 for a silent frame."""
    groups = magnitude.reshape(len(magnitude), -1, ROLLOFF_GROUP)
    upto = np.cumsum(groups.sum(axis=2), axis=1)  # coarse, then fine: a sum over all bins is slow
    wanted = np.float32(share) * upto[:, -1]
    rows, group = np.arange(len(magnitude)), (upto >= wanted[:, None]).argmax(axis=1)
    before = np.where(group > 0, upto[rows, group - 1], 0)
    within = before[:, None] + np.cumsum(groups[rows, group], axis=1)
    step = np.minimum((within < wanted[:, None]).sum(axis=1), ROLLOFF_GROUP - 1)
    return BINS_HZ[group * ROLLOFF_GROUP + step]


def flatness(power: Floats) -> Floats:
    """Geometric over arithmetic mean of power (Dubnov, 2004): (n_frames,), 0 for a tone, 1 for white noise."""
    power = np.maximum(power, np.float32(AMIN))
    result: Floats = np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)
    return result


def contrast_db(magnitude: Floats, quantile: float = 0.02) -> tuple[Floats, Floats]:
    """The strongest and the weakest `quantile` of each octave band in dB: two (n_frames, 7).

    Spectral contrast (Jiang et al., 2002) is their difference, once `floor_db` has been applied to each. The bands are
    0-200, 200-400, ... 6400-8000 Hz. As librosa does, dB is taken of magnitudes, and a band gives its topmost bin to
    the next one.
    """
    bands = _octaves(quantile)
    peaks, valleys = np.empty((2, len(magnitude), len(bands)), np.float32)
    for k, (start, stop, count) in enumerate(bands):
        ordered = np.sort(magnitude[:, start:stop], axis=1)
        ordered[:, :count].sum(axis=1, out=valleys[:, k])
        ordered[:, -count:].sum(axis=1, out=peaks[:, k])
    counts = np.array([count for *_, count in bands], np.float32)
    return to_db(peaks / counts), to_db(valleys / counts)


def mel(power: Floats) -> Floats:
    """Power in 128 mel bands, 0-8000 Hz: (n_frames, N_MELS)."""
    return np.concatenate([power[:, bins] @ weights for bins, weights in _mel_blocks()], axis=1)


def chroma(power: Floats) -> Floats:
    """Power by pitch class from C, A = 440 Hz, relative to the strongest class of the frame: (n_frames, 12)."""
    raw = power @ _chroma_filters()
    return raw / _or_one(raw.max(axis=1, keepdims=True))


def mfcc(mel_db: Floats, n_mfcc: int = 20) -> Floats:
    """Cepstral coefficients (..., n_mfcc, n_frames) of mel dB (..., N_MELS, n_frames): their orthonormal DCT-II."""
    return np.matmul(dct(n_mfcc), mel_db)


def zero_crossing_rate(x: Floats) -> Floats:
    """Sign changes per sample in each frame of N_FFT samples: (n_frames,). Zero counts as positive."""
    negative = x < -AMIN
    changes = np.flatnonzero(negative[1:] != negative[:-1])  # between a sample and the next
    first = np.arange(0, len(x) - N_FFT + 1, HOP)
    inside = np.searchsorted(changes, first + N_FFT - 1) - np.searchsorted(changes, first)
    return (inside / N_FFT).astype(np.float32)


def rms(framed: Floats) -> Floats:
    """Root mean square of each frame: (n_frames,)."""
    result: Floats = np.sqrt(np.einsum("ts,ts->t", framed, framed) / np.float32(framed.shape[1]))
    return result


def _or_one(norm: Floats) -> Floats:
    """Divide by this: silent frames stay zero."""
    return np.where(norm < TINY, np.float32(1), norm)


@lru_cache(maxsize=1)
def hann() -> Floats:
    """The window of every frame: (N_FFT,), periodic."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


@lru_cache(maxsize=2)
def mel_filters(n_fft: int = N_FFT, n_mels: int = N_MELS) -> Floats:
    """Slaney's triangles of equal area (Auditory Toolbox, 1998) as (n_bins, n_mels): linear to 1 kHz, then log."""
    hz_per_mel, knee_hz, log_step = 200 / 3, 1000.0, np.log(6.4) / 27
    knee = knee_hz / hz_per_mel
    top = knee + np.log(SAMPLE_RATE / 2 / knee_hz) / log_step
    mels = np.linspace(0, top, n_mels + 2)
    edges_hz = np.where(mels < knee, mels * hz_per_mel, knee_hz * np.exp(log_step * (mels - knee)))
    bins_hz = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE)[:, None]
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    return np.ascontiguousarray(np.maximum(0, triangles) * 2 / (high - low), np.float32)


@lru_cache(maxsize=1)
def _mel_blocks() -> list[tuple[slice, Floats]]:
    """The filters in eight blocks of neighbours, each with the bins it reaches: a third of the multiplications."""
    blocks = []
    for weights in np.split(mel_filters(), 8, axis=1):
        reached = np.flatnonzero(weights.any(axis=1))
        bins = slice(int(reached[0]), int(reached[-1]) + 1)
        blocks.append((bins, np.ascontiguousarray(weights[bins])))
    return blocks


@lru_cache(maxsize=1)
def _chroma_filters() -> Floats:
    """Gaussians around each pitch class as (n_bins, 12), weighted towards A5 +- 2 octaves (Ellis, 2007)."""
    bins_hz = np.arange(1, N_FFT) * SAMPLE_RATE / N_FFT
    semitones = N_CHROMA * np.log2(bins_hz / (440 / 16))
    semitones = np.concatenate(([semitones[0] - 1.5 * N_CHROMA], semitones))  # 0 Hz: 1.5 octaves below the first bin
    widths = np.concatenate((np.maximum(np.diff(semitones), 1), [1]))
    half = N_CHROMA / 2
    distance = (semitones[:, None] - np.arange(N_CHROMA) + half) % N_CHROMA - half
    weights = np.exp(-0.5 * (2 * distance / widths[:, None]) ** 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    weights *= np.exp(-0.5 * ((semitones[:, None] / N_CHROMA - 5) / 2) ** 2)
    weights = np.roll(weights, -3, axis=1)  # from A to C
    return np.ascontiguousarray(weights[: len(BINS_HZ)], np.float32)


@lru_cache(maxsize=2)
def dct(n_mfcc: int, n_mels: int = N_MELS) -> Floats:
    """The first rows of the orthonormal DCT-II of `n_mels` values: (n_mfcc, n_mels)."""
    rows, bands = np.arange(n_mfcc)[:, None], np.arange(n_mels)
    basis = np.sqrt(2 / n_mels) * np.cos(np.pi * rows * (2 * bands + 1) / (2 * n_mels))
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


@lru_cache(maxsize=1)
def _octaves(quantile: float) -> list[tuple[int, int, int]]:
    """First bin, end bin and number of bins to average, of each octave band."""
    edges_hz = [0.0, *(200.0 * 2.0**k for k in range(7))]
    bands = []
    for k, (low, high) in enumerate(pairwise(edges_hz)):
        start = int(np.searchsorted(BINS_HZ, low, "left")) - (k > 0)
        stop = int(np.searchsorted(BINS_HZ, high, "right"))
        last = stop == len(BINS_HZ)
        bands.append((start, stop if last else stop - 1, max(1, round(quantile * (stop - start)))))
    return bands
