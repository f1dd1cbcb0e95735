"""Signals to measure: synthetic ones made here, and real recordings where ../shared/data lies beside the repository."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter
from sounds import voice, wav

from avlake.media.clip import SAMPLE_RATE, Clip

VOXFORGE = Path(__file__).parents[2].parent / "shared/data/landing/voxforge"


@pytest.fixture(scope="session")
def signals() -> dict[str, np.ndarray]:
    """Sounds of 0.7 to 7.3 s at 16 kHz, none of them silent."""
    t = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(7).standard_normal(len(t))
    hiss = 1e-3 * noise  # a recorder's; without any, the holes of a spectrum hold float32 rounding
    gap = voice(7.3, 150, 3)
    gap[2 * SAMPLE_RATE : 6 * SAMPLE_RATE] = 0  # digital silence, longer than a window
    return {
        "man": voice(6.4, 110, 1),
        "woman": voice(5.0, 210, 2),
        "noisy voice": voice(4.2, 180, 4, noise=0.03),
        "short": voice(0.7, 240, 5),
        "gap": gap,
        "white noise": 0.1 * noise,
        "brown noise": 0.02 * lfilter([1], [1, -0.99], noise),
        "tone": 0.1 * np.sin(2 * np.pi * 440 * t) + hiss,
        "sweep": 0.1 * np.sin(2 * np.pi * (50 * t + 700 * t**2)) + hiss,
        "offset": 0.2 + 0.05 * np.sin(2 * np.pi * 200 * t) + 0.001 * noise,
    }


@pytest.fixture(scope="session")
def clip_of() -> Callable[..., Clip]:
    """Samples → a clip of a WAV file that holds them."""
    return lambda samples, **options: Clip(wav(samples, **options))


@pytest.fixture(scope="session")
def recordings() -> list[bytes]:
    """Real speech: the first recording of each VoxForge archive of one drop."""
    archives = sorted(VOXFORGE.glob("2026-09-02/*.tgz"))
    if not archives:
        pytest.skip(f"no real recordings in {VOXFORGE}")
    return [found for archive in archives if (found := _first_recording(archive))]


def _first_recording(archive: Path) -> bytes | None:
    with tarfile.open(archive) as members:
        for member in members:
            if member.name.endswith((".wav", ".flac")) and member.size > 50_000:
                return members.extractfile(member).read()
    return None
