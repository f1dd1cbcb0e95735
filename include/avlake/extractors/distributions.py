"""Statistics of samples, spectra and F0 tracks, one row per window.

Where R's seewave defines a statistic (`specprop`, `sfm`, `sh`; Sueur et al., 2008; used by warbleR and by the
voice-gender data set of K. Becker, 2016), its formula is used. Kurtosis is Pearson's: 3 for a normal distribution.
Nothing here is ever NaN: each function says what it gives where a statistic is undefined.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from avlake.extractors.spectrum import BINS_HZ, Floats

AMPLITUDE = (
    *("mean", "median", "mode", "std", "var", "min", "max", "range", "q25", "q75", "iqr"),
    *("skewness", "kurtosis", "entropy"),
)
FREQUENCY = (
    *("khz_mean", "khz_std", "khz_median", "khz_mode", "khz_peak", "khz_q25", "khz_q75", "khz_iqr"),
    *("skewness", "kurtosis", "entropy", "flatness"),
)
F0 = (
    *("voiced_ratio", "hz_mean", "hz_median", "hz_std", "hz_min", "hz_max", "hz_q05", "hz_q25", "hz_q75", "hz_q95"),
    *("hz_iqr", "semitones_std", "semitones_iqr"),
)

UNIT = np.linspace(0, 1, 257, dtype=np.float32)  # the edges of a histogram from minimum to maximum
ROUNDED_OFF = 1e-6  # a spread below this share of the mean is rounding, not variation

Doubles = np.ndarray[Any, np.dtype[np.float64]]


def amplitude(windows: Floats) -> Floats:
    """Statistics of the samples of each window: (n_windows, n_samples) → (n_windows, len(AMPLITUDE)).

    `mode` is the centre of the fullest of 256 equal bins between minimum and maximum, `entropy` that histogram's
    Shannon entropy over log(256). Constant samples have skewness, kurtosis and entropy 0.
    """
    rows, shares = zip(*map(_amplitude, windows), strict=True)  # one at a time: a window fits a core's cache
    return np.column_stack((np.array(rows), _entropy(np.array(shares)))).astype(np.float32)


def _amplitude(samples: Floats) -> tuple[tuple[Any, ...], Doubles]:
    """All of AMPLITUDE but the last, and the histogram as shares of 1."""
    n = len(samples)
    ordered = np.sort(samples)
    low, high = ordered[0], ordered[-1]
    position = np.array((0.25, 0.5, 0.75)) * (n - 1)
    below = position.astype(np.intp)
    q25, median, q75 = ordered[below] + (ordered[below + 1] - ordered[below]) * (position - below)
    mean = samples.mean()
    z = samples - mean
    std = np.sqrt(np.einsum("s,s->", z, z) / n)
    skewness = kurtosis = 0.0
    if std > ROUNDED_OFF * abs(mean):
        z /= np.float32(std)
        square = z * z
        skewness, kurtosis = np.einsum("s,s->", square, z) / n, np.einsum("s,s->", square, square) / n
    edges = low + (high - low) * UNIT
    share = np.diff(np.append(np.searchsorted(ordered, edges[:-1]), n)) / n
    fullest = int(share.argmax())
    mode = (edges[fullest] + edges[fullest + 1]) / 2
    spread = (low, high, high - low, q25, q75, q75 - q25)
    return (mean, median, mode, std, std * std, *spread, skewness, kurtosis), share


def frequency(spectra: Floats, loudest: Floats, bins: slice) -> Floats:
    """Statistics of each window's mean spectrum within `bins`: (n_windows, len(FREQUENCY)).

    Parameters:
        spectra: magnitudes summed over a window's frames (n_windows, 1 + N_FFT / 2).
        loudest: the largest magnitude of any frame (n_windows, 1 + N_FFT / 2); its maximum is the peak frequency.

    The spectrum, scaled to sum to 1, is read as a distribution of frequency: mean, std, median, mode, quartiles, in
    kHz. As in seewave, skewness and kurtosis are those of the spectrum's values (how peaked it is), entropy is
    Shannon's over log(n_bins), flatness the geometric over the arithmetic mean. Without any power all of them are 0.
    """
    khz = BINS_HZ[bins].astype(np.float64) / 1000
    magnitude = spectra[:, bins].astype(np.float64)
    total = magnitude.sum(axis=1, keepdims=True)
    sounds = total[:, 0] > 0
    share = magnitude / np.where(total > 0, total, 1)
    mean = share @ khz
    cumulative = np.cumsum(share, axis=1)
    q25, median, q75 = (khz[np.minimum((cumulative <= q).sum(axis=1), len(khz) - 1)] for q in (0.25, 0.5, 0.75))
    std = np.sqrt((share * np.square(khz - mean[:, None])).sum(axis=1))
    z = share - share.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.square(z).sum(axis=1) / (len(khz) - 1))
    z /= np.where(spread > ROUNDED_OFF / len(khz), spread, np.inf)[:, None]
    square = z * z
    statistics = (
        *(mean, std, median, khz[share.argmax(axis=1)], khz[loudest[:, bins].argmax(axis=1)], q25, q75, q75 - q25),
        *((square * z).sum(axis=1) / (len(khz) - 1), (square * square).sum(axis=1) / (len(khz) - 1)),
        _entropy(share),
        np.exp(np.log(np.maximum(share, 1e-20)).mean(axis=1)) * len(khz),
    )
    return np.where(sounds, statistics, 0).T.astype(np.float32)


def f0(tracks: Floats) -> Floats:
    """Statistics of F0 tracks, NaN where unvoiced: (n_windows, n_frames) → (n_windows, len(F0)).

    Spread is given in Hz and in semitones, which say the same of a low and of a high voice; the 5 and 95 % quantiles
    outlast octave errors. A window without a voiced frame has `voiced_ratio` 0 and 0 in all others.
    """
    ordered = np.sort(tracks, axis=1)  # NaN last
    voiced = np.isfinite(ordered)
    count = voiced.sum(axis=1)
    speaks = count > 0
    low, q05, q25, median, q75, q95, high = (_quantiles(ordered, count, q) for q in (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1))
    mean, std = _moments(ordered, voiced)
    _, semitones_std = _moments(12 * np.log2(np.where(voiced, ordered, 1)), voiced)
    semitones_iqr = 12 * np.log2(np.where(speaks, q75, 1) / np.where(speaks, q25, 1))
    statistics = (
        *(count / tracks.shape[1], mean, median, std, low, high, q05, q25, q75, q95),
        *(q75 - q25, semitones_std, semitones_iqr),
    )
    return np.where(speaks, statistics, 0).T.astype(np.float32)


def _quantiles(ordered: Floats, count: np.ndarray, q: float) -> Floats:
    """Linear interpolation between the first `count` sorted values of each row, as `np.quantile` does: (n_rows,)."""
    last = np.maximum(count - 1, 0)
    below = (q * last).astype(np.intp)
    rows = np.arange(len(ordered))
    lower, upper = ordered[rows, below], ordered[rows, np.minimum(below + 1, last)]
    result: Floats = lower + (upper - lower) * (q * last - below).astype(np.float32)
    return result


def _moments(values: Floats, mask: np.ndarray) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each row where `mask` holds; 0 where it never does."""
    count = np.maximum(mask.sum(axis=1), 1)
    mean = np.where(mask, values, 0).sum(axis=1) / count
    deviation = np.where(mask, values - mean[:, None], 0)
    return mean, np.sqrt(np.square(deviation).sum(axis=1) / count)


def _entropy(share: Doubles) -> Doubles:
    """Shannon entropy of each row over that of a uniform one: 0 to 1."""
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    entropy: Doubles = np.maximum(-(share * logs).sum(axis=1), 0) / np.log(share.shape[1])
    return entropy
