"""Where the sound is, and how it is cut into windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avlake.errors import Quarantined
from avlake.extractors.spectrum import Floats

if TYPE_CHECKING:
    from avlake.media.clip import Clip

BLOCK = 512
FRAME_BLOCKS = 4  # librosa's frame of 2048 samples, hop 512
AMIN = 1e-10
MAX_PEAK = 1e6  # times full scale: float32 squares and fourth powers hold up to here


def block_power(clip: Clip) -> Floats:
    """Mean square of every 512 samples of the whole clip, the last block filled up with zeros: (n_blocks,).

    Raises:
        Quarantined: `out_of_range` when samples exceed a million times full scale: a broken float file.
    """
    return clip.once("block_power", lambda: _block_power(clip.audio.samples))


def frame_db(clip: Clip) -> Floats:
    """Level of frames of 2048 samples centred on multiples of 512, in dB re the loudest: (1 + n_samples // 512,)."""
    blocks = np.zeros(len(clip.audio.samples) // BLOCK + FRAME_BLOCKS, np.float32)
    power = block_power(clip)
    half = FRAME_BLOCKS // 2
    blocks[half : half + len(power)] = power
    framed = np.lib.stride_tricks.sliding_window_view(blocks, FRAME_BLOCKS).mean(axis=1)
    decibels: Floats = 10 * np.log10(np.maximum(framed, AMIN) / max(float(framed.max()), AMIN))
    return decibels


def trim(clip: Clip, top_db: float) -> tuple[int, int]:
    """First and end sample of what is left without leading and trailing silence: `librosa.effects.trim(top_db=...)`.

    Raises:
        Quarantined: `silent` when every sample is the same, or `out_of_range`.
    """
    samples = clip.audio.samples
    if samples.min() == samples.max():
        raise Quarantined("silent", f"all {len(samples)} samples are {samples[0]:g}: nothing was recorded")
    loud = np.flatnonzero(frame_db(clip) > -top_db)
    return int(loud[0]) * BLOCK, min(len(samples), (int(loud[-1]) + 1) * BLOCK)


def bounds(n_samples: int, *, window: int, hop: int, shortest: int, shortest_partial: int) -> list[tuple[int, int]]:
    """First and end sample of each window, in order; all arguments are in samples.

    Windows of `window` start every `hop` for as long as they fit. Sound left over after the last one makes one partial
    window, which starts a hop later and ends with the sound, if that is at least `shortest_partial`. Sound shorter than
    a window is one window of its own length, down to `shortest`, below which there is none.
    """
    if n_samples < window:
        return [(0, n_samples)] if n_samples >= shortest else []
    full = [(start, start + window) for start in range(0, n_samples - window + 1, hop)]
    start, covered = full[-1][0] + hop, full[-1][1]
    if covered < n_samples and n_samples - start >= shortest_partial:
        full.append((start, n_samples))
    return full


def _block_power(samples: Floats) -> Floats:
    peak = float(np.abs(samples).max())
    if peak > MAX_PEAK:
        raise Quarantined("out_of_range", f"samples reach {peak:g} times full scale: broken, or not scaled to 1")
    whole = len(samples) // BLOCK * BLOCK
    blocks = samples[:whole].reshape(-1, BLOCK)
    power = np.einsum("bs,bs->b", blocks, blocks)
    if whole < len(samples):
        power = np.append(power, np.square(samples[whole:]).sum())
    result: Floats = (power / np.float32(BLOCK)).astype(np.float32)
    return result
