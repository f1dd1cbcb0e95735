"""What any network has to be better than: scores of active speakers that nothing was learned for.

- `always_speaking`: everybody, always: about the share of faces that are heard.
- `loudness`: whoever is on screen speaks when it is loud: the level of the sound around each face's time.
- `motion_x_energy`: whose mouth moves as the sound changes speaks when it is loud. Within a third of a second around
  each moment the motion of the mouth is correlated with how fast the sound's level changes, either way: lips move
  between loud and soft, and the level itself goes with their motion no better than chance. What is said so about a
  second is added to the level, a correlation of 1 as 64 dB.

That form, its windows and its weight are the best of about a hundred that were tried on the two-talker scenes on which
figures are given, so that the figures of this baseline are rather too good than too bad (average precision 0.68 to 0.72
there, as faces are cut out; correlation with the level itself gave 0.50, other windows and weights up to 0.69).
Everything is counted in seconds, on a common line of 25 moments a second, so that another frame rate changes little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from scipy.ndimage import gaussian_filter1d

Array = np.ndarray[Any, Any]

SOUND_STEP_S = 0.01  # between two frames of sound; those of a face have its time in their middle
MOMENT_S = 0.04  # between two moments that are compared
LEVEL_S = 0.1  # of smoothing (standard deviation), about 0.2 s in all
SOFT_DB = 40.0  # below the loudest moment of a track it is silent
CHANGE_S = 0.05  # of smoothing before the level's change is taken, and SETTLE_S after
SETTLE_S = 0.02
NEAR_S = 0.32  # standard deviation of the window of a correlation
POOL_S = 1.0  # of what is said about a face by its neighbours in time
WEIGHT_DB = 64.0  # of a correlation of 1
RIDGE = 0.01  # on signals of variance 1: where nothing moves, nothing is said
SILENCE = -50.0  # ln of an energy; below it all is the same
MARGIN = 2  # pixels of a look that are not the mouth's


class Faces(Protocol):
    """A track: n faces in the order of their times."""

    @property
    def times(self) -> Array:
        """(n,) s."""
        ...

    @property
    def seen(self) -> Array:
        """(n,) bool: is there a picture? Where there is none, the sound is none either."""
        ...

    @property
    def log_mel(self) -> Array:
        """(n, steps, mels) ln of mel energies of frames SOUND_STEP_S apart, the face's time in their middle."""
        ...

    def looks(self) -> Array:
        """(n, side, side) uint8, the lower middle of each face; the side is even."""
        ...


def always_speaking(track: Faces) -> Array:
    """(n,) the same for all."""
    return np.ones(len(track.times))


def loudness(track: Faces) -> Array:
    """(n,) dB: the level of the sound around each face's time, smoothed."""
    if not track.seen.any():
        return np.zeros(len(track.times))
    at, level = _level(track)
    return np.interp(track.times, at, _smooth(level, LEVEL_S / SOUND_STEP_S))


def motion_x_energy(track: Faces) -> Array:
    """(n,) dB: the level below the track's loudest, and how well the mouth's motion goes with the change of sound."""
    known = np.flatnonzero(track.seen)
    if not len(known):
        return np.zeros(len(track.times))
    at, level = _level(track)
    smooth = _smooth(level, LEVEL_S / SOUND_STEP_S)
    loud = np.interp(track.times, at, np.maximum(smooth - smooth.max(), -SOFT_DB))
    moved_at, moved = _motion(track, known)
    if len(moved) < 2:
        return loud
    moments = np.arange(moved_at[0], moved_at[-1] + MOMENT_S / 2, MOMENT_S)
    change = _smooth(np.abs(np.gradient(_smooth(level, CHANGE_S / SOUND_STEP_S))), SETTLE_S / SOUND_STEP_S)
    together = _correlation(
        _standard(np.interp(moments, moved_at, moved)), _standard(np.interp(moments, at, change)), NEAR_S / MOMENT_S
    )
    return loud + WEIGHT_DB * np.interp(track.times, moments, _smooth(together, POOL_S / MOMENT_S))


BASELINES: Mapping[str, Callable[[Faces], Array]] = {
    "always_speaking": always_speaking,
    "loudness": loudness,
    "motion_x_energy": motion_x_energy,
}


def _level(track: Faces) -> tuple[Array, Array]:
    """The sound's level, dB, along a line of steps: (n_steps,) times, (n_steps,) levels."""
    energies = np.maximum(track.log_mel[track.seen].astype(np.float64), SILENCE)
    top = energies.max(axis=2, keepdims=True)
    levels = 10 / np.log(10) * (top[..., 0] + np.log(np.exp(energies - top).sum(axis=2)))
    steps = levels.shape[1]
    offsets = (np.arange(steps) - (steps - 1) / 2) * SOUND_STEP_S
    times, first = np.unique((track.times[track.seen][:, None] + offsets).ravel(), return_index=True)
    line = np.arange(times[0], times[-1] + SOUND_STEP_S / 2, SOUND_STEP_S)
    return line, np.interp(line, times, levels.ravel()[first])


def _motion(track: Faces, known: Array) -> tuple[Array, Array]:
    """How much the mouth moves, as a logarithm: (m,) times between two faces, (m,) values.

    Compared are faces MOMENT_S apart, or the next ones where there are fewer: at twice the frame rate neighbours differ
    half as much, but no less by their noise.
    """
    times = track.times[known]
    looks = track.looks()[known].astype(np.float32)
    n, side = len(looks), looks.shape[1]
    mouths = looks.reshape(n, side // 2, 2, side // 2, 2).mean(axis=(2, 4))
    mouths = mouths[:, MARGIN // 2 : -MARGIN // 2, MARGIN // 2 : -MARGIN // 2]
    later = np.searchsorted(times, times + MOMENT_S - SOUND_STEP_S / 2)
    first = np.flatnonzero(later < n)
    apart = times[later[first]] - times[first]
    moved = np.abs(mouths[later[first]] - mouths[first]).mean(axis=(1, 2)) * MOMENT_S / apart
    return times[first] + apart / 2, np.log(moved + 1e-3)


def _correlation(a: Array, b: Array, width: float) -> Array:
    """(n,) correlation of two signals within a Gaussian window around each moment."""
    mean_a, mean_b = _smooth(a, width), _smooth(b, width)
    variances = (_smooth(a * a, width) - mean_a**2) * (_smooth(b * b, width) - mean_b**2)
    found: Array = (_smooth(a * b, width) - mean_a * mean_b) / np.sqrt(np.maximum(variances, 0) + RIDGE)
    return found


def _standard(signal: Array) -> Array:
    spread = signal.std()
    return (signal - signal.mean()) / (spread if spread > 0 else 1.0)


def _smooth(signal: Array, width: float) -> Array:
    smoothed: Array = gaussian_filter1d(signal, width, mode="nearest")
    return smoothed
