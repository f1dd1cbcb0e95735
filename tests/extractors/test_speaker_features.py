from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import wav

from avlake.errors import Quarantined
from avlake.extractors import base
from avlake.extractors.speaker_features import BASELINE, LOUD, VOICED, Params, SpeakerFeatures
from avlake.media.clip import SAMPLE_RATE, Clip
from avlake.media.sandbox import Sandbox
from avlake.settings import Settings

VOXCELEB = Path(__file__).parents[2].parent / "shared/data/landing/voxceleb"


def measure(clip: Clip, **params: float) -> dict:
    return {name: values[0] for name, values in SpeakerFeatures(Params(**params)).measure(clip).items()}


def librosa_mfcc(y: np.ndarray) -> np.ndarray:
    """(13, n_frames) with all of librosa's defaults."""
    return librosa.feature.mfcc(y=y, sr=SAMPLE_RATE, n_mfcc=13)


def compare_with_librosa(clip: Clip) -> None:
    measured = np.array([measure(clip)[name] for name in BASELINE])
    per_frame = librosa_mfcc(clip.audio.samples)
    np.testing.assert_allclose(measured, per_frame.mean(axis=1), rtol=1e-3, atol=1e-3 * per_frame.std())


def test_the_baseline_is_librosas_on_synthetic_sounds(signals, clip_of):
    for samples in signals.values():
        compare_with_librosa(clip_of(samples))


def test_the_baseline_is_librosas_on_real_recordings(recordings):
    for content in recordings:
        compare_with_librosa(Clip(content))


@pytest.mark.parametrize("n", [2_048, 2_560, 4_097, 106 * 512, 107 * 512, 3 * 107 * 512 + 1])
def test_the_baseline_is_librosas_whatever_the_length(clip_of, n):
    """Frames are worked on 107 at a time."""
    compare_with_librosa(clip_of(0.1 * np.random.default_rng(n).standard_normal(n)))


def test_pauses_count_for_the_baseline_only(signals, clip_of):
    sound = signals["man"]
    alone = measure(clip_of(sound))
    paused = measure(clip_of(np.concatenate((np.zeros(4 * SAMPLE_RATE), sound, np.zeros(4 * SAMPLE_RATE)))))
    assert abs(paused["mfcc_1_mean"] - alone["mfcc_1_mean"]) > 50
    for name in (*LOUD, *VOICED):
        assert paused[name] == pytest.approx(alone[name], rel=0.05, abs=1.0), name


@pytest.mark.parametrize(("name", "f0_hz"), [("man", 110), ("woman", 210)])
def test_f0_of_a_known_voice(signals, clip_of, name, f0_hz):
    row = measure(clip_of(signals[name]))
    assert row["f0_hz_median"] == pytest.approx(f0_hz, rel=0.15)  # it glides by 15 %
    assert 0 < row["f0_hz_iqr"] < 0.3 * f0_hz


def test_what_is_loud_is_a_parameter(signals, clip_of):
    tone, noise = signals["tone"], 0.02 * signals["white noise"]  # 31 dB lower
    alone, usual, all_of_it = (
        measure(clip, loud_db=loud_db)["contrast_db_3_loud_mean"]
        for clip, loud_db in (
            (clip_of(tone), 20),
            (clip_of(np.concatenate((tone, noise))), 20),
            (clip_of(np.concatenate((tone, noise))), 60),
        )
    )
    assert usual == pytest.approx(alone, abs=1)
    assert all_of_it < usual - 3  # noise has less contrast than a tone


@pytest.mark.parametrize("value", [0.0, 0.5])
@pytest.mark.parametrize("n", [1, 2_000, 50_000])
def test_a_silent_clip_has_a_row_of_nulls(clip_of, value, n):
    assert set(measure(clip_of(np.full(n, value))).values()) == {None}


def test_without_pitch_its_columns_are_null(signals, clip_of):
    row = measure(clip_of(signals["white noise"]))
    assert {row[name] for name in VOICED} == {None}
    assert all(np.isfinite(row[name]) for name in (*BASELINE, *LOUD))


@given(n=st.integers(2, 6_000), pattern=st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_short_clips_give_finite_numbers_or_null(n, pattern):
    samples = np.resize(np.array(pattern, np.float32), n)
    row = measure(Clip(wav(samples, subtype="FLOAT")))
    assert all(value is None or np.isfinite(value) for value in row.values())
    assert (row["mfcc_1_mean"] is None) == (samples.min() == samples.max())


def test_absurd_samples_are_quarantined(clip_of):
    samples = np.resize(np.array([1e30, -1e30]), 9_000)
    with pytest.raises(Quarantined, match="times full scale"):
        measure(clip_of(samples, subtype="FLOAT"))


def test_in_the_sandbox(signals):
    with Sandbox(Settings()) as sandbox:
        for samples in (signals["woman"], signals["white noise"], np.zeros(800)):
            result = sandbox.measure(wav(samples), {"speaker_features": {}})["speaker_features"]
            assert result.error is None and result.batch is not None
            (inside,) = result.batch.to_pylist()
            for name, value in measure(Clip(wav(samples))).items():
                assert inside[name] == (value if value is None else pytest.approx(value, rel=1e-6))
            assert set(inside) == set(SpeakerFeatures.table.schema.names) - set(base.ADDED)


def test_tells_speakers_apart_better_than_the_baseline():
    """Six talkers, and a classifier that never heard the video it is asked about."""
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    paths = sorted(VOXCELEB.glob("*/dev/mp4/*/*/*.mpg"))
    if not paths:
        pytest.skip(f"no real recordings in {VOXCELEB}")
    rows = [measure(Clip(path)) for path in paths]
    speakers, videos = (np.array([path.parts[k] for path in paths]) for k in (-3, -2))
    classifier = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
    accuracy = {}
    for name, columns in {"baseline": BASELINE, "all": (*BASELINE, *LOUD, *VOICED)}.items():
        x = np.array([[row[column] for column in columns] for row in rows], np.float64)
        found = cross_val_predict(classifier, x, speakers, groups=videos, cv=LeaveOneGroupOut())
        accuracy[name] = (found == speakers).mean()
    assert len(rows) == 30
    assert accuracy["all"] >= 0.9 > accuracy["baseline"] >= 0.7
