"""Sounds made on the spot, and files of them."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from scipy.signal import lfilter

from avlake.media.clip import SAMPLE_RATE


def voice(seconds: float, f0_hz: float, seed: int, noise: float = 0.002) -> np.ndarray:
    """Pulses at a gliding F0 through three formants, in syllables, over a noise floor."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = np.cumsum(f0_hz * (1 + 0.15 * np.sin(2 * np.pi * 0.4 * t + seed))) / SAMPLE_RATE
    sound = np.diff(np.floor(phase), prepend=0)
    for formant_hz, width_hz in ((500 + 40 * seed, 80), (1500, 120), (2600, 200)):
        radius = np.exp(-np.pi * width_hz / SAMPLE_RATE)
        sound = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant_hz / SAMPLE_RATE), radius**2], sound)
    syllables = np.clip(np.sin(2 * np.pi * 1.7 * t), 0, 1) ** 0.5
    return 0.3 * sound / np.abs(sound).max() * syllables + noise * rng.standard_normal(len(t))


def wav(samples: np.ndarray, rate: int = SAMPLE_RATE, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()
