"""Fundamental frequency: YIN (de Cheveigné & Kawahara, 2002), all frames at once.

The values are `librosa.yin`'s (0.11, `frame_length=1280, hop_length=500, center=False`): its autocorrelation by FFT,
its difference function and its parabolic refinement. A frame is voiced where a trough of the normalised difference lies
below the threshold, that is, where less than that share of the frame's power is aperiodic.
"""

from __future__ import annotations

import numpy as np

from avlake.extractors.spectrum import TINY, Floats, chunks, frames
from avlake.media.clip import SAMPLE_RATE

FRAME = 1280
F0_MIN_HZ = 60.0
F0_MAX_HZ = 500.0
THRESHOLD = 0.3  # librosa's 0.1 leaves an eighth of short real windows without a voiced frame, this none
SHORTEST = int(SAMPLE_RATE // F0_MAX_HZ)  # periods in samples
LONGEST = int(np.ceil(SAMPLE_RATE / F0_MIN_HZ))


def yin(x: Floats) -> Floats:
    """F0 in Hz of each frame, NaN where it is unvoiced: (n_frames,); `x` holds at least FRAME samples."""
    return np.concatenate([_yin(framed) for framed in chunks(frames(x, FRAME))])


def _yin(framed: Floats) -> Floats:
    difference = _normalised_difference(framed)
    trough = difference < THRESHOLD
    trough[:, 1:] &= difference[:, 1:] < difference[:, :-1]
    trough[:, 1:-1] &= difference[:, 1:-1] <= difference[:, 2:]
    trough[:, 0] &= difference[:, 0] < difference[:, 1]
    first = trough.argmax(axis=1)
    rows = np.arange(len(difference))
    voiced = trough[rows, first]
    rows, first = rows[voiced], first[voiced]
    f0 = np.full(len(difference), np.nan, np.float32)
    f0[voiced] = SAMPLE_RATE / (SHORTEST + first + _refine(difference, rows, first))
    return f0


def _normalised_difference(framed: Floats) -> Floats:
    """Cumulative mean normalised difference (n_frames, periods) at SHORTEST to LONGEST: 0 for a perfect repeat."""
    from scipy.fft import irfft, next_fast_len, rfft

    n = next_fast_len(FRAME + LONGEST, real=True)  # long enough for no period wanted to wrap around
    spectrum = rfft(framed, n, axis=-1)
    correlation = irfft(np.square(np.abs(spectrum)), n, axis=-1)[:, : LONGEST + 1]
    lost = np.cumsum(np.square(framed[:, :LONGEST]), axis=1)  # the power that has no partner at each lag
    difference = 2 * (correlation[:, :1] - correlation[:, 1:]) - lost
    mean = np.cumsum(difference, axis=1) / np.arange(1, LONGEST + 1, dtype=np.float32)
    normalised: Floats = difference[:, SHORTEST - 1 :] / (mean[:, SHORTEST - 1 :] + TINY)
    return normalised


def _refine(difference: Floats, rows: np.ndarray, at: np.ndarray) -> Floats:
    """Where the parabola through each trough and its neighbours is lowest, in samples from the trough."""
    inner = (at > 0) & (at < difference.shape[1] - 1)
    centre = np.clip(at, 1, difference.shape[1] - 2)
    before, here, after = (difference[rows, centre + step] for step in (-1, 0, 1))
    curve, slope = after + before - 2 * here, (after - before) / 2
    usable = inner & (np.abs(slope) < np.abs(curve))
    return np.where(usable, -slope / np.where(usable, curve, 1), np.float32(0))
