"""Log-mel energies and MFCC are librosa's of the same frames, whatever the blocks in which the sound came."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from avlake.errors import Quarantined
from avlake.extractors.speech_frames import COEFFICIENTS, MELS, SILENCE, STEPS, SpeechFrames, mfcc, silence

RATE = 16_000
HALF = 0.02  # of 16 bits at the values there are


def sound(seconds: float = 7.3) -> np.ndarray:
    """A gliding tone with pauses, over a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * (300 * t + 90 * t**2)) * (np.sin(2 * np.pi * t) > 0)
    return (0.3 * tone + 0.001 * np.random.default_rng(0).standard_normal(len(t))).astype(np.float32)


def heard(samples: np.ndarray, block: int = 160_000) -> SpeechFrames:
    listener = SpeechFrames()
    for start in range(0, len(samples), block):
        listener.hear(samples[start : start + block])
    return listener


def librosas(samples: np.ndarray) -> np.ndarray:
    """The log-mel energies of frames of 25 ms centred at 5, 15, 25 ... ms: (MELS, n)."""
    room = 200 - 80 + 56  # half a window before the first centre; librosa sets 400 samples in the middle of 512
    padded = np.pad(samples, (room, 400))
    power = librosa.feature.melspectrogram(
        y=padded, sr=RATE, n_fft=512, win_length=400, hop_length=160, center=False, n_mels=MELS
    )
    return np.log(np.maximum(power, 1e-10))


def test_the_numbers_are_librosas():
    samples = sound()
    times_s = 0.04 * np.arange(1, 170)
    wanted = librosas(samples)
    found = heard(samples).around(times_s)
    assert found.shape == (169, STEPS, MELS) and found.dtype == np.float16
    for face, time_s in enumerate(times_s):
        first = round(time_s * 100) - 2  # centred 15 ms before
        assert np.abs(found[face] - wanted[:, first : first + STEPS].T).max() < HALF
    cepstra = mfcc(found).astype(float)
    assert cepstra.shape == (169, STEPS, COEFFICIENTS)
    again = librosa.feature.mfcc(S=wanted, n_mfcc=COEFFICIENTS)[:, 2:6].T  # of the face at 0.04 s
    assert np.abs(cepstra[0] - again).max() < 4 * HALF


@pytest.mark.parametrize("block", [37, 1_600, 80_123])
def test_blocks_of_any_length_give_the_same_bits(block):
    samples, times_s = sound(), np.arange(0, 7.3, 0.033)
    assert (heard(samples, block).around(times_s) == heard(samples).around(times_s)).all()


def test_a_time_gets_the_frames_nearest_to_it():
    samples = np.zeros(RATE, np.float32)
    samples[RATE // 2 - 4 : RATE // 2 + 4] = 0.5  # at 0.5 s
    listener = heard(samples)
    for time_s in np.arange(0.47, 0.53, 0.001):
        loudness = np.exp(listener.around(np.array([time_s]))[0].astype(float)).sum(axis=1)
        centres_s = time_s + 0.01 * (np.arange(STEPS) - 1.5)
        nearest = np.abs(centres_s - 0.5)
        if nearest.min() < 0.003:
            assert nearest[loudness.argmax()] < 0.0101


def test_before_and_after_the_sound_is_silence():
    found = heard(sound(1.0)).around(np.array([-5.0, -0.02, 0.0, 1.0, 1.03, 1e8]))
    silent = np.float16(SILENCE)
    assert (found[[0, 1, 4, 5]] == silent).all()
    assert (found[2, :2] == silent).all() and (found[2, 2:] > silent).all()
    assert (found[3, :2] > silent).all() and (found[3, 2:] == silent).all()


@pytest.mark.parametrize("samples", [0, 1, 79, 400])
def test_sound_of_a_few_samples_is_no_error(samples):
    found = heard(np.full(samples, 0.1, np.float32)).around(np.array([0.0, 0.04]))
    assert found.shape == (2, STEPS, MELS)
    assert (found[1] == silence(1)).all() or samples == 400


def test_sound_that_is_no_sound_says_so():
    with pytest.raises(Quarantined, match="times full scale"):
        heard(np.full(10, 1e9, np.float32))
