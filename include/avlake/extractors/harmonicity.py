"""Harmonics-to-noise ratio: how much of a frame repeats itself.

Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
sampled sound": the autocorrelation of the windowed frame over that of the window has its highest peak r at the period,
and 10 log10(r / (1 - r)) is the power that repeats over the power that does not, in dB. The frames are the
spectrogram's, so that their autocorrelation is one inverse transform of its powers; under a Hann window little of it is
what wraps around. A parabola through the peak and its neighbours is exact enough up to 20 dB (within 1 dB of a known
mixture, and of Praat), and reads 30 dB as 25.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from avlake.extractors.spectrum import AMIN, N_FFT, Floats, hann
from avlake.media.clip import SAMPLE_RATE

LOWEST_DB, HIGHEST_DB = -20.0, 40.0
F0_MIN_HZ, F0_MAX_HZ = 60.0, 500.0  # lowest and highest pitch: a peak elsewhere is none
SHORTEST, LONGEST = int(SAMPLE_RATE // F0_MAX_HZ), int(np.ceil(SAMPLE_RATE / F0_MIN_HZ))  # periods in samples
FIRST_BIN = 2  # a recorder's DC offset leaks into bins 0 and 1


def harmonics_to_noise_db(power: Floats) -> Floats:
    """Power spectra (n_frames, 1 + N_FFT / 2) under a Hann window → (n_frames,) dB between -20 and 40.

    -20 where nothing repeats: silence, or no peak at the periods of 60 to 500 Hz.
    """
    from scipy.fft import irfft

    power = power.copy()
    power[:, :FIRST_BIN] = 0
    lags = irfft(power, N_FFT, axis=-1)[:, : LONGEST + 2]
    energy = lags[:, :1]
    correlation = lags[:, SHORTEST - 1 :] / (np.maximum(energy, np.float32(AMIN)) * _of_window())
    before, here, after = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
    peaks = np.where((here >= before) & (here > after), here, np.float32(0))
    rows, at = np.arange(len(power)), peaks.argmax(axis=1)
    top = peaks[rows, at]
    slope = (after[rows, at] - before[rows, at]) / 2
    curve = 2 * here[rows, at] - before[rows, at] - after[rows, at]
    top = top + np.where((top > 0) & (curve > 0), slope**2 / (2 * np.where(curve > 0, curve, 1)), 0)
    low, high = (1 / (1 + 10 ** (-db / 10)) for db in (LOWEST_DB, HIGHEST_DB))
    share = np.clip(top.astype(np.float64), low, high)
    return (10 * np.log10(share / (1 - share))).astype(np.float32)


@lru_cache(maxsize=1)
def _of_window() -> Floats:
    """The window's own autocorrelation at the lags used, 1 at lag 0."""
    lags = np.fft.irfft(np.square(np.abs(np.fft.rfft(hann().astype(np.float64)))))
    return (lags[SHORTEST - 1 : LONGEST + 2] / lags[0]).astype(np.float32)
