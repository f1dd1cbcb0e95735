from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from avlake.errors import Quarantined
from avlake.extractors import base
from avlake.extractors.voice_features import FEATURES, Params, VoiceFeatures
from avlake.media.clip import SAMPLE_RATE, Clip


def features(clip: Clip, **params: float) -> np.ndarray:
    """(n_windows, len(FEATURES))"""
    columns = VoiceFeatures(Params(**params)).measure(clip)
    return np.stack([columns[name] for name in FEATURES], axis=1)


def compare_with_reference(clips: dict[str, Clip]) -> None:
    measured, expected, windows = [], [], []
    for name, clip in clips.items():
        columns = VoiceFeatures().measure(clip)
        measured.append(features(clip))
        for start, end in zip(columns["window_start_s"], columns["window_end_s"], strict=True):
            y = clip.audio.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
            values = reference.voice_features(y)
            assert set(values) == set(FEATURES)
            expected.append([values[feature] for feature in FEATURES])
            windows.append(f"{name} {start:.2f}-{end:.2f} s")
    a, b = np.concatenate(measured), np.array(expected)
    allowed = 1e-3 * np.abs(b) + 1e-3 * b.std(axis=0)
    wrong = [
        f"{windows[row]}: {FEATURES[column]} {a[row, column]:.6g}, expected {b[row, column]:.6g}"
        for row, column in np.argwhere(~(np.abs(a - b) <= allowed))
    ]
    assert not wrong, f"{len(wrong)} of {a.size} values differ:\n" + "\n".join(wrong[:20])


def test_equal_to_librosa_and_scipy_on_synthetic_sounds(signals, clip_of):
    compare_with_reference({name: clip_of(samples) for name, samples in signals.items()})


def test_equal_to_librosa_and_scipy_on_real_recordings(recordings):
    compare_with_reference({f"recording {k}": Clip(content) for k, content in enumerate(recordings)})


def test_the_table_is_what_is_measured(signals, clip_of):
    columns = VoiceFeatures().measure(clip_of(signals["man"]))
    schema = VoiceFeatures.table.schema
    assert set(columns) | set(base.ADDED) == set(schema.names)
    for name, values in columns.items():
        assert values.dtype == schema.field(name).type.to_pandas_dtype(), name
    assert VoiceFeatures.table.key == ("file_id", "window_index")


def test_times_are_those_of_the_original_recording(signals, clip_of):
    silence = np.zeros(2 * SAMPLE_RATE)
    clip = clip_of(np.concatenate((silence, signals["tone"], silence)))
    columns = VoiceFeatures().measure(clip)
    assert columns["window_index"].tolist() == [0, 1, 2, 3]
    assert columns["window_start_s"][0] == pytest.approx(2, abs=0.1)  # to the trimming's frame
    assert columns["window_end_s"][-1] == pytest.approx(7, abs=0.1)
    np.testing.assert_allclose(np.diff(columns["window_start_s"]), 1)


def test_resampled_recordings_measure_alike(signals, clip_of):
    """A voice delivered at 48 kHz gives what it gives at 16 kHz."""
    import soxr

    native, delivered = (
        VoiceFeatures().measure(clip_of(samples, rate=rate))
        for samples, rate in ((signals["woman"], 16_000), (soxr.resample(signals["woman"], 16_000, 48_000), 48_000))
    )
    for name in ("f0_hz_median", "low_frequency_khz_mean", "rms_mean"):
        np.testing.assert_allclose(native[name], delivered[name], rtol=0.02)


@pytest.mark.parametrize(("name", "f0_hz"), [("man", 110), ("woman", 210)])
def test_f0_of_a_known_voice(signals, clip_of, name, f0_hz):
    columns = VoiceFeatures().measure(clip_of(signals[name]))
    np.testing.assert_allclose(columns["f0_hz_median"], f0_hz, rtol=0.15)  # it glides by 15 %
    assert columns["f0_voiced_ratio"].min() > 0.2


def test_noise_has_no_f0(signals, clip_of):
    columns = VoiceFeatures().measure(clip_of(signals["white noise"]))
    f0 = {name: values for name, values in columns.items() if name.startswith("f0_")}
    assert all((values == 0).all() for values in f0.values())


@pytest.mark.parametrize("seconds", [0.1, 0.3])
def test_too_short_after_trimming(signals, clip_of, seconds):
    sound = signals["tone"][: round(seconds * SAMPLE_RATE)]
    with pytest.raises(Quarantined) as caught:
        VoiceFeatures().measure(clip_of(np.concatenate((np.zeros(SAMPLE_RATE), sound, np.zeros(SAMPLE_RATE)))))
    assert caught.value.error_class == "too_short"


def hostile() -> dict[str, np.ndarray]:
    n = 4 * SAMPLE_RATE
    impulse = np.zeros(n)
    impulse[n // 2] = 1
    step = np.where(np.arange(n) < n // 2, -1.0, 1.0)
    noise = np.random.default_rng(0).standard_normal(n)
    return {
        "impulse": impulse,
        "step": step,
        "square": np.sign(np.sin(np.arange(n) / 7)),
        "one different sample": np.where(np.arange(n) == 9_000, 0.5 + 1e-7, 0.5),
        "nearly nothing": 1e-30 * noise,
        "not scaled to 1": 32_768 * noise,
        "a million": 1e6 * np.sign(noise),
    }


@pytest.mark.parametrize("name", hostile())
def test_never_nan_whatever_the_sound(clip_of, name):
    assert np.isfinite(features(clip_of(hostile()[name], subtype="FLOAT"), top_db=120, min_window_s=0.2)).all()


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_never_nan_on_any_samples(clip_of, data):
    n = data.draw(st.integers(3_200, 50_000))
    pattern = data.draw(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=50))
    samples = np.resize(np.array(pattern, np.float32), n)
    if samples.min() == samples.max():
        samples[0] = 0.75 if samples[0] != 0.75 else 0.5
    try:
        values = features(clip_of(samples, subtype="FLOAT"), min_window_s=0.2)
    except Quarantined as error:
        assert error.error_class == "too_short"  # trimming can leave little
    else:
        assert np.isfinite(values).all()


def test_same_bits_whatever_came_before(signals, clip_of):
    first = {name: features(clip_of(samples)).tobytes() for name, samples in signals.items()}
    for order in itertools.islice(itertools.permutations(signals), 0, 1_000_000, 400_000):
        assert {name: features(clip_of(signals[name])).tobytes() for name in order} == first


def test_long_recordings_are_measured_in_batches_alike(signals, clip_of):
    """Windows of a recording longer than one batch equal those of its parts."""
    seconds = np.tile(signals["man"][: 2 * SAMPLE_RATE], 25)
    columns = features(clip_of(seconds))
    assert len(columns) == 48
    np.testing.assert_allclose(columns[40], columns[2], rtol=1e-4, atol=1e-4)  # same sound, another batch


def test_other_windows(signals, clip_of):
    columns = VoiceFeatures(Params(window_s=1.0, hop_s=0.25, min_partial_s=0.5)).measure(clip_of(signals["tone"]))
    np.testing.assert_allclose(np.diff(columns["window_start_s"]), 0.25)
    assert (columns["window_end_s"] - columns["window_start_s"]).max() == 1.0
    np.testing.assert_allclose(columns["frequency_khz_peak"], 0.44, atol=0.004)


@pytest.mark.parametrize("wrong", [{"hop_s": 4}, {"hop_s": 0.3}, {"min_window_s": 0.05}, {"min_partial_s": 5}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        Params(**wrong)
