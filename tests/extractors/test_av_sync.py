from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter1d

from avlake.extractors import base
from avlake.extractors.av_sync import (
    COMPONENTS,
    PATCH_PX,
    RATE_HZ,
    AvSync,
    Mouth,
    Params,
    agreement,
    confidence,
    mouth_patch,
    on_time_line,
    sound_changes,
)
from avlake.extractors.faces import Face
from avlake.media.clip import SAMPLE_RATE, Clip
from avlake.media.sandbox import Sandbox
from avlake.media.video import Frame
from avlake.settings import Settings
from clips import make_clip, moving_bar

SHARED = Path(__file__).parents[2].parent / "shared"
VOXCELEB = SHARED / "data/landing/voxceleb"
SIZE_PX = 224
EYES_MOUTH = np.array([[-20, 0], [20, 0], [0, 18], [0, 40], [-40, 0], [40, 0]], np.float64)


def opening(seconds: float, seed: int) -> np.ndarray:
    """How far a mouth is open, 0 to 1, RATE_HZ a second: syllables of random strength between pauses."""
    rng = np.random.default_rng(seed)
    pulses = np.zeros(round(seconds * RATE_HZ))
    at = 0
    while (at := at + int(rng.integers(12, 45))) < len(pulses):
        pulses[at] = rng.uniform(0.4, 1)
    smooth = gaussian_filter1d(pulses, 5)
    return smooth / smooth.max()


def voice_of(opened: np.ndarray, delay_s: float, seed: int = 0) -> np.ndarray:
    """Noise as loud as the mouth was open `delay_s` before."""
    times_s = np.arange(len(opened) * SAMPLE_RATE // RATE_HZ) / SAMPLE_RATE
    loudness = np.interp(times_s - delay_s, np.arange(len(opened)) / RATE_HZ, opened)
    noise = np.random.default_rng(seed).standard_normal(len(times_s))
    return (0.1 * loudness**2 + 0.0005) * noise


def centre_px(time_s: float, *, sway_px: float) -> np.ndarray:
    """Where the drawn face's eyes meet."""
    return np.array([112 + sway_px * np.sin(2.1 * time_s), 90 + sway_px / 2 * np.sin(1.3 * time_s)])


def head(opened: np.ndarray, *, sway_px: float = 0.0) -> Callable[[float], np.ndarray]:
    """A picture of a face whose mouth opens, its middle swaying."""
    import cv2

    def draw(time_s: float) -> np.ndarray:
        x, y = centre_px(time_s, sway_px=sway_px)
        wide = opened[min(round(time_s * RATE_HZ), len(opened) - 1)]
        picture = np.full((SIZE_PX, SIZE_PX, 3), 90, np.uint8)
        fixed = {"color": (190, 160, 140), "thickness": -1, "shift": 4}
        cv2.ellipse(picture, (round(x * 16), round((y + 10) * 16)), (60 * 16, 80 * 16), 0, 0, 360, **fixed)
        dark = fixed | {"color": (60, 20, 20)}
        cv2.ellipse(
            picture, (round(x * 16), round((y + 40) * 16)), (14 * 16, round(16 * (1 + 12 * wide))), 0, 0, 360, **dark
        )
        return picture

    return draw


class DrawnMouth(Mouth):
    """Is told where the drawn face is, for no detector takes it for one."""

    def __init__(self, *, sway_px: float = 0.0, hidden_s: tuple[float, float] = (0, 0), stride: int = 1) -> None:
        super().__init__(stride)
        self._sway_px, self._hidden_s = sway_px, hidden_s

    def see(self, frame: Frame) -> None:
        points = EYES_MOUTH + centre_px(frame.time_s, sway_px=self._sway_px)
        hidden = self._hidden_s[0] <= frame.time_s < self._hidden_s[1]
        frame.once("faces", lambda: [] if hidden else [Face(0.9, 50, 20, 120, 160, points)])
        super().see(frame)


def measure_drawn(content: bytes, mouth: Mouth | None = None, **params: float) -> dict:
    clip, extractor = Clip(content), AvSync(Params(**params))
    clip.show_to(extractor.name, mouth or DrawnMouth())
    return {name: values[0] for name, values in extractor.measure(clip).items()}


@pytest.mark.parametrize("delay_s", [-0.4, -0.12, 0.0, 0.25])
def test_the_offset_of_a_drawn_mouth(delay_s):
    opened = opening(6, 1)
    row = measure_drawn(make_clip(head(opened), voice_of(opened, delay_s), seconds=6))
    assert row["av_offset_s"] == pytest.approx(delay_s, abs=0.04)
    assert row["av_sync_confidence"] > 4
    assert row["frames_measured"] == 150


def test_the_head_may_move():
    opened = opening(6, 2)
    content = make_clip(head(opened, sway_px=15), voice_of(opened, 0.2), seconds=6)
    assert measure_drawn(content, DrawnMouth(sway_px=15))["av_offset_s"] == pytest.approx(0.2, abs=0.04)


def test_times_decide_not_frame_numbers():
    """Frames come unevenly, and the sound begins later than the pictures."""
    opened = opening(6, 3)
    times_s = np.cumsum(np.random.default_rng(0).choice([0.02, 0.04, 0.08], 130))
    late = voice_of(opened, 0.1)[SAMPLE_RATE:]
    content = make_clip(head(opened), late, times_s=times_s[times_s < 6], audio_start_s=1.0, container="mkv")
    assert measure_drawn(content)["av_offset_s"] == pytest.approx(0.1, abs=0.05)


def test_a_face_that_hides_for_a_while():
    opened = opening(8, 4)
    content = make_clip(head(opened), voice_of(opened, -0.2), seconds=8)
    row = measure_drawn(content, DrawnMouth(hidden_s=(2, 5)))
    assert row["frames_measured"] == 125
    assert row["av_offset_s"] == pytest.approx(-0.2, abs=0.05)


def test_every_other_frame_gives_about_the_same():
    opened = opening(8, 5)
    content = make_clip(head(opened), voice_of(opened, 0.1), seconds=8)
    row = measure_drawn(content, DrawnMouth(stride=2))
    assert row["frames_measured"] == 100
    assert row["av_offset_s"] == pytest.approx(0.1, abs=0.06)


def test_the_largest_offset_is_a_parameter():
    opened = opening(8, 6)
    content = make_clip(head(opened), voice_of(opened, 0.8), seconds=8)
    assert measure_drawn(content, max_offset_s=1.0)["av_offset_s"] == pytest.approx(0.8, abs=0.04)
    assert abs(measure_drawn(content)["av_offset_s"]) <= 0.5


def test_confidence_falls_when_the_sound_is_anothers():
    own, others = [], []
    for seed in range(5):
        opened = opening(6, seed)
        for list_, spoken in ((own, opened), (others, opening(6, 100 + seed))):
            list_.append(measure_drawn(make_clip(head(opened), voice_of(spoken, 0.0), seconds=6))["av_sync_confidence"])
    assert min(own) > max(others)


@pytest.mark.parametrize("sound", ["silence", "a steady tone", "too short"])
def test_null_without_sound_to_go_by(sound):
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE)
    samples = {"silence": np.zeros(3 * SAMPLE_RATE), "a steady tone": tone, "too short": voice_of(opening(0.5, 0), 0.0)}
    row = measure_drawn(make_clip(head(opening(3, 0)), samples[sound], seconds=3))
    assert row == {"av_offset_s": None, "av_sync_confidence": None, "frames_measured": 75}


def test_null_where_the_lips_do_not_move():
    row = measure_drawn(make_clip(head(np.zeros(300)), voice_of(opening(3, 0), 0.0), seconds=3, crf=0))
    assert row == {"av_offset_s": None, "av_sync_confidence": None, "frames_measured": 75}


def test_null_where_the_face_shows_too_briefly():
    opened = opening(4, 0)
    content = make_clip(head(opened), voice_of(opened, 0.0), seconds=4)
    row = measure_drawn(content, DrawnMouth(hidden_s=(0.8, 4)))
    assert row == {"av_offset_s": None, "av_sync_confidence": None, "frames_measured": 20}


@given(lag=st.integers(-50, 50), seed=st.integers(0, 999), noise=st.floats(0, 0.7))
@settings(max_examples=60, deadline=None)
def test_the_lag_between_drawn_signals_is_found(lag, seed, noise):
    rng = np.random.default_rng(seed)
    both = gaussian_filter1d(rng.standard_normal((700, 1 + COMPONENTS)), 4, axis=0)
    both /= both.std(axis=0)
    lips, sound = both[100:600], both[100 - lag : 600 - lag] @ np.diag([1.0, *rng.choice([-2, 0.5, 1], COMPONENTS)])
    sound = sound + noise * gaussian_filter1d(rng.standard_normal(sound.shape), 4, axis=0) / 0.26
    scores = agreement(lips, sound, np.ones(500, bool), 50)
    assert abs(int(scores.argmax()) - 50 - lag) <= 1
    assert (scores >= 0).all()
    assert confidence(scores) > 3


def test_lips_are_unknown_in_gaps_and_outside():
    measured_s = np.concatenate((np.arange(1.005, 2, 0.04), np.arange(3.005, 4, 0.04)))
    changes = np.random.default_rng(0).standard_normal((len(measured_s), PATCH_PX**2))
    known, lips = on_time_line(np.arange(500) / RATE_HZ, measured_s, changes)
    expected = [101 <= i <= 196 or 301 <= i <= 396 for i in range(500)]
    np.testing.assert_array_equal(known, expected)
    assert lips.shape == (500, 1 + COMPONENTS) and np.isfinite(lips).all()
    assert agreement(lips, lips, known & (np.arange(500) < 150), 50) is None


def test_a_turned_larger_moved_face_gives_the_same_patch():
    import cv2

    blobs = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (224, 224), np.uint8), (0, 0), 4)
    picture = cv2.normalize(blobs, None, 0, 255, cv2.NORM_MINMAX)
    points = EYES_MOUTH + np.array([112, 80])
    patch = mouth_patch(picture, points)
    for angle_deg, scale, moved in ((0, 1, (9, -6)), (20, 1, (0, 0)), (-15, 1.3, (4, 8)), (10, 0.8, (-20, 10))):
        turn = cv2.getRotationMatrix2D((112, 112), angle_deg, scale)
        turn[:, 2] += moved
        seen = mouth_patch(cv2.warpAffine(picture, turn, (224, 224)), points @ turn[:, :2].T + turn[:, 2])
        difference = np.abs(seen.astype(int) - patch).mean()
        unaligned = mouth_patch(cv2.warpAffine(picture, turn, (224, 224)), points).astype(int)
        assert difference < 6 and difference < np.abs(unaligned - patch).mean() / 3
    assert patch.shape == (PATCH_PX, PATCH_PX) and patch.std() > 10


def test_loudness_changes_when_the_sound_does(clip_of):
    steps = 0.001 + 0.1 * (np.arange(4 * SAMPLE_RATE) // SAMPLE_RATE % 2)  # louder at 1 s and 3 s, softer at 2 s
    changes = sound_changes(clip_of(steps * np.random.default_rng(0).standard_normal(len(steps))).audio)
    assert changes.shape == (400, 5)
    for at in (100, 200, 300):
        assert abs(int(changes[at - 50 : at + 50, 0].argmax()) - 50) <= 1
        assert changes[at, 0] > 2
    assert np.sign([changes[at, 1] for at in (100, 200, 300)]).tolist() == [1, -1, 1]


@pytest.mark.parametrize("wrong", [{"stride": 0}, {"max_offset_s": 0}, {"max_offset_s": 5}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        Params(**wrong)


@pytest.fixture
def models(monkeypatch) -> Path:
    folder = SHARED / "models"
    if not folder.exists():
        pytest.skip("no shared/models beside the checkout")
    monkeypatch.setenv("AVLAKE_MODELS", str(folder))
    return folder


def test_null_without_a_face(models):
    content = make_clip(moving_bar(), voice_of(opening(2, 0), 0.0), seconds=2)
    with Sandbox(Settings(models=models)) as sandbox:
        result = sandbox.measure(content, {"av_sync": {}})["av_sync"]
    assert result.error is None and result.batch is not None
    assert result.batch.to_pylist() == [{"av_offset_s": None, "av_sync_confidence": None, "frames_measured": 0}]


def test_without_sound_there_is_no_row(models):
    with Sandbox(Settings(models=models)) as sandbox:
        result = sandbox.measure(make_clip(moving_bar(), seconds=1), {"av_sync": {}}, streams=("audio", "video"))
    assert result["av_sync"].error is None and result["av_sync"].batch.num_rows == 0


def test_real_talkers(models):
    """Sentences of 3 s: most offsets are near 0, shifted sound is found, and anothers' sound is trusted less."""
    paths = sorted(VOXCELEB.glob("2026-09-01/dev/mp4/*/*/*.mpg"))
    if not paths:
        pytest.skip(f"no real recordings in {VOXCELEB}")
    seen = []
    for path in paths:
        clip, extractor = Clip(path), AvSync()
        (able,) = base.register(clip, [extractor], streams=("audio", "video"))
        able.measure(clip)
        seen.append((clip.seen(able.name).changes(), clip.audio))

    def estimate(lips: tuple, audio: object, shift_s: float = 0.0) -> tuple[float, float]:
        shift = round(shift_s * SAMPLE_RATE)
        samples = np.pad(audio.samples, (max(shift, 0), max(-shift, 0)))[max(-shift, 0) :][: len(audio.samples)]
        sound = sound_changes(replace(audio, samples=samples))
        known, changes = on_time_line(np.arange(len(sound)) / RATE_HZ, *lips)
        scores = agreement(changes, sound, known, 50)
        return (int(scores.argmax()) - 50) / RATE_HZ, confidence(scores)

    own = [estimate(*pair) for pair in seen]
    errors = [abs(estimate(*pair, shift)[0] - shift) for pair in seen for shift in (-0.4, -0.2, 0.2, 0.4)]
    swapped = [estimate(seen[i][0], seen[i - 3 * k][1])[1] for i in range(len(seen)) for k in (1, 2, 3)]
    assert len(own) == 18
    assert np.median([abs(offset) for offset, _ in own]) <= 0.08
    assert np.median(errors) <= 0.08 and np.mean(np.array(errors) <= 0.1) >= 0.7
    assert np.median([sure for _, sure in own]) > np.median(swapped)
