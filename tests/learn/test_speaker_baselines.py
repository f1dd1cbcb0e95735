"""Scores that nothing was learned for, of mouths and sounds made for the test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from avlake.learn.average_precision import average_precision
from avlake.learn.speaker_baselines import BASELINES, loudness, motion_x_energy

SYLLABLE_S = 0.22


@dataclass
class Made:
    """A track whose mouth opens and closes with syllables, and the sound beside it."""

    times: np.ndarray
    seen: np.ndarray
    log_mel: np.ndarray
    mouths: np.ndarray

    def looks(self) -> np.ndarray:
        return self.mouths


def opening(times: np.ndarray, seed: int) -> np.ndarray:
    """How far a mouth is open, 0 to 1: syllables of other lengths and strengths for every seed."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.uniform(0.6, 1.6, 60) * SYLLABLE_S)
    strength = rng.choice([0.0, 0.5, 1.0], 60, p=[0.3, 0.3, 0.4])
    return sum(
        s * np.exp(-0.5 * ((times[..., None] - at) / 0.05) ** 2)[..., 0] for s, at in zip(strength, starts, strict=True)
    )


def track(mouth: int, sound: int, rate_hz: float = 25.0, length_s: float = 6.0, quiet_after_s: float = 99.0) -> Made:
    """Lips of one seed under the sound of another; the sound ends at `quiet_after_s`."""
    times = np.arange(0, length_s, 1 / rate_hz)
    steps = times[:, None] + (np.arange(4) - 1.5) * 0.01
    energy = np.where(steps < quiet_after_s, 0.03 + opening(steps, sound), 1e-4)
    shape = np.linspace(0, 1, 40)
    log_mel = np.log(energy)[..., None] - shape
    rows = np.abs(np.arange(32) - 15.5)[:, None]
    wide = 2 + 8 * opening(times, mouth)
    noise = np.random.default_rng(99).normal(0, 2, (len(times), 32, 32))
    mouths = 160 - 100 / (1 + np.exp(rows - wide[:, None, None])) + np.zeros((1, 1, 32)) + noise
    return Made(times, np.ones(len(times), bool), log_mel.astype(np.float32), mouths.clip(0, 255).astype(np.uint8))


def test_always_is_always() -> None:
    assert (BASELINES["always_speaking"](track(1, 2)) == 1).all()


def test_loudness_is_the_level_whoever_is_seen() -> None:
    ours, theirs = track(1, 2, quiet_after_s=3.0), track(5, 2, quiet_after_s=3.0)
    score = loudness(ours)
    assert np.array_equal(score, loudness(theirs))
    assert score[ours.times < 2.5].min() > score[ours.times > 3.5].max() + 10
    louder = track(1, 2, quiet_after_s=3.0)
    louder.log_mel += np.log(100)
    assert loudness(louder) == pytest.approx(score + 20, abs=1e-3)


@pytest.mark.parametrize("rate_hz", [12.5, 25.0, 29.97, 50.0])
def test_the_mouth_that_goes_with_the_sound_is_the_speakers_at_any_frame_rate(rate_hz: float) -> None:
    right = 0
    for seed in range(6):
        own = motion_x_energy(track(seed, seed, rate_hz)).mean()
        right += sum(own > motion_x_energy(track(other, seed, rate_hz)).mean() for other in (seed + 10, seed + 20))
    assert right >= 11


def test_it_tells_when_as_well_as_who() -> None:
    speaker, other = track(3, 3, quiet_after_s=4.0), track(13, 3, quiet_after_s=4.0)
    score = np.concatenate([motion_x_energy(speaker), motion_x_energy(other)])
    truth = np.concatenate([speaker.times < 4.0, np.zeros(len(other.times), bool)])
    levels = np.concatenate([loudness(speaker), loudness(other)])
    assert average_precision(truth, score) > max(0.7, average_precision(truth, levels) + 0.15)
    assert score[: len(truth) // 2][speaker.times > 4.5].max() < score[: len(truth) // 2][speaker.times < 3.5].mean()


def test_another_frame_rate_changes_little() -> None:
    slow, fast = track(4, 4, 25.0), track(4, 4, 50.0)
    for name in ("loudness", "motion_x_energy"):
        ours, theirs = BASELINES[name](slow), BASELINES[name](fast)[::2]
        assert np.abs(ours - theirs).mean() < 0.15 * np.ptp(ours) + 1


@pytest.mark.parametrize("name", BASELINES)
def test_every_face_has_a_finite_score_whatever_is_missing(name: str) -> None:
    score = BASELINES[name]
    whole = track(1, 1)
    cases = [whole.seen.copy() for _ in range(4)]
    cases[0][:] = False
    cases[1][:] = False
    cases[1][40] = True
    cases[2][20:90] = False
    cases[3][::2] = False
    for seen in cases:
        sound = np.where(seen[:, None, None], whole.log_mel, 0)
        found = score(Made(whole.times, seen, sound, np.where(seen[:, None, None], whole.mouths, 0).astype(np.uint8)))
        assert found.shape == whole.times.shape and np.isfinite(found).all()
    for n in (1, 2):
        few = Made(whole.times[:n], whole.seen[:n], whole.log_mel[:n], whole.mouths[:n])
        assert np.isfinite(score(few)).all()
    silent = Made(whole.times, whole.seen, np.full_like(whole.log_mel, -np.inf), np.zeros_like(whole.mouths))
    assert np.isfinite(score(silent)).all()


def test_pictures_that_are_missing_say_nothing() -> None:
    """A face behind a hand is black in the track, and is no motion."""
    whole, partly = track(2, 2), track(2, 2)
    partly.seen[50:60] = False
    partly.mouths[50:60] = 0
    partly.log_mel[50:60] = 0
    far = np.abs(whole.times - 2.2) > 1.5
    assert np.abs(motion_x_energy(whole) - motion_x_energy(partly))[far].max() < 12
