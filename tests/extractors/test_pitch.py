from __future__ import annotations

import librosa
import numpy as np
import pytest

from avlake.extractors.pitch import yin
from avlake.media.clip import SAMPLE_RATE, Clip

LIKE_OURS = {"sr": SAMPLE_RATE, "fmin": 60, "fmax": 500, "frame_length": 1280, "hop_length": 500, "center": False}


def compare(samples: np.ndarray) -> float:
    """Assert equality to librosa where voiced; returns the share of voiced frames."""
    ours, theirs = yin(samples), librosa.yin(samples, trough_threshold=0.3, **LIKE_OURS)
    assert ours.shape == theirs.shape
    voiced = np.isfinite(ours)
    np.testing.assert_allclose(ours[voiced], theirs[voiced], rtol=1e-3)
    return float(voiced.mean())


def test_equal_to_librosa_where_voiced(signals):
    voiced = {name: compare(samples.astype(np.float32)) for name, samples in signals.items()}
    assert voiced["tone"] == 1
    assert voiced["white noise"] == 0
    assert 0.2 < voiced["man"] < 0.8  # syllables and pauses


def test_equal_to_librosa_on_real_recordings(recordings):
    voiced = [compare(Clip(content).audio.samples) for content in recordings]
    assert np.median(voiced) > 0.2


@pytest.mark.parametrize("f0_hz", [65, 110.3, 207.7, 330, 490])
def test_tones_between_the_limits(f0_hz):
    tone = np.sin(2 * np.pi * f0_hz * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    np.testing.assert_allclose(yin(tone), f0_hz, rtol=0.01)


def test_silence_is_unvoiced():
    assert np.isnan(yin(np.zeros(4_000, np.float32))).all()
