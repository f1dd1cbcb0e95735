from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from silero_vad import load_silero_vad
from sounds import wav

from avlake.extractors import base
from avlake.extractors.speech import CALL, Params, Speech, VoiceActivity
from avlake.media.clip import SAMPLE_RATE, Clip
from avlake.media.sandbox import Sandbox
from avlake.settings import Settings

SHARED = Path(__file__).parents[2].parent / "shared/data"
VOXCELEB = SHARED / "landing/voxceleb"
TALK = VOXCELEB / "2026-09-01/dev/mp4/id00020/0607d7b335f/00000.mp4"  # 6 s with pauses
needs_recordings = pytest.mark.skipif(not SHARED.exists(), reason="no shared/data beside the checkout")


def measure(clip: Clip, **params: float) -> dict:
    extractor = Speech(Params(**params))
    base.register(clip, [extractor], streams=("audio",))
    return {name: values[0] for name, values in extractor.measure(clip).items()}


def check(row: dict, n_samples: int) -> None:
    """Segments are in order, apart, inside the clip, and add up."""
    starts, ends = (np.asarray(row[name], np.float64) for name in ("segment_start_s", "segment_end_s"))
    duration_s = n_samples / SAMPLE_RATE
    assert row["duration_s"] == duration_s
    assert len(starts) == len(ends) == row["segments"]
    if row["segments"]:
        assert starts[0] >= 0 and ends[-1] <= duration_s + 1e-4  # float32
        assert (starts < ends).all() and (ends[:-1] <= starts[1:]).all()
    assert (ends - starts).sum() == pytest.approx(row["speech_s"], abs=1e-3)
    assert row["speech_ratio"] == pytest.approx(row["speech_s"] / duration_s, abs=1e-6)


@needs_recordings
def test_ratios_are_those_measured_beforehand():
    with (SHARED / "truth/voxceleb.csv").open() as file:
        truth = {row["path"]: float(row["speech_ratio"]) for row in csv.DictReader(file) if row["speech_ratio"]}
    found = {path: measure(Clip(VOXCELEB / path))["speech_ratio"] for path in truth}
    wrong = {
        path: (found[path], expected)
        for path, expected in truth.items()
        if abs(found[path] - expected) > (0.1 if 0.1 < expected < 0.9 else 0.02)
    }
    assert len(found) == 46 and not wrong
    agree = [(found[path] >= 0.9) == (expected >= 0.9) for path, expected in truth.items()]
    assert sum(agree) >= 0.95 * len(agree)


@pytest.mark.parametrize("name", ["silence", "white noise", "brown noise", "tone", "sweep", "a constant", "a million"])
def test_what_is_no_speech(signals, clip_of, name):
    others = {
        "silence": np.zeros(3 * SAMPLE_RATE),
        "a constant": np.full(SAMPLE_RATE, 0.5),
        "a million": 1e6 * np.sign(signals["white noise"]),
    }
    row = measure(clip_of(others.get(name, signals.get(name)), subtype="FLOAT"))
    assert row["segments"] == 0 and row["speech_s"] == 0 and row["speech_ratio"] == 0
    assert len(row["segment_start_s"]) == len(row["segment_end_s"]) == 0


@pytest.mark.parametrize("n", [1, 100, 511, 513, 1_600])
def test_however_short(signals, clip_of, n):
    samples = signals["man"][3_000 : 3_000 + n]
    check(measure(clip_of(samples)), n)


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    if not TALK.exists():
        pytest.skip("no shared/data beside the checkout")
    return Clip(TALK).audio.samples


@given(
    start=st.integers(0, 60_000),
    length=st.integers(1, 90_000),
    params=st.fixed_dictionaries(
        {
            "threshold": st.floats(0.01, 0.99),
            "min_speech_ms": st.integers(0, 2_000),
            "min_silence_ms": st.integers(0, 2_000),
            "pad_ms": st.integers(0, 2_000),
        }
    ),
)
@settings(max_examples=40, deadline=None)
def test_segments_are_in_order_apart_and_inside(talk, start, length, params):
    samples = talk[start : start + length]
    check(measure(Clip(wav(samples)), **params), len(samples))


def test_times_count_from_the_first_sample(talk, clip_of):
    alone = measure(clip_of(talk))
    later = measure(clip_of(np.concatenate((np.zeros(4 * SAMPLE_RATE), talk))))
    assert alone["segments"] > 1
    assert later["segment_start_s"][0] == pytest.approx(alone["segment_start_s"][0] + 4, abs=0.1)
    assert later["segment_end_s"][-1] == pytest.approx(alone["segment_end_s"][-1] + 4, abs=0.1)


def test_long_recordings_are_measured_as_their_parts(talk, clip_of):
    """Over many calls of the model, speech is found as in one."""
    pause = np.zeros(2 * SAMPLE_RATE)
    repeats = 30  # four minutes
    one, many = (measure(clip_of(np.tile(np.concatenate((pause, talk)), n))) for n in (1, repeats))
    check(many, repeats * (len(pause) + len(talk)))
    assert many["speech_s"] == pytest.approx(repeats * one["speech_s"], rel=0.02)


@pytest.mark.parametrize("n", [CALL - 1, CALL, CALL + 1, 2 * CALL + 700])
@pytest.mark.parametrize("step", [700, 160_000])
def test_probabilities_are_those_of_hearing_all_at_once(signals, n, step):
    samples = np.resize(signals["man"], n).astype(np.float32)
    listener = VoiceActivity()
    for start in range(0, n, step):
        listener.hear(samples[start : start + step])
    np.testing.assert_array_equal(listener.probabilities(), load_silero_vad(sequence=True).audio_forward(samples))


def test_parameters_do_what_they_say(talk, clip_of):
    usual = measure(clip_of(talk))
    assert measure(clip_of(talk), pad_ms=300)["speech_s"] > usual["speech_s"]
    assert measure(clip_of(talk), min_silence_ms=5_000)["segments"] == 1 < usual["segments"]
    assert measure(clip_of(talk), min_speech_ms=10_000)["segments"] == 0
    assert measure(clip_of(talk), threshold=0.99)["speech_s"] < usual["speech_s"]


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"threshold": 1}, {"pad_ms": -1}, {"min_speech_ms": -1}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        Params(**wrong)


def test_in_the_sandbox(talk):
    inside = {}
    with Sandbox(Settings()) as sandbox:
        for name, samples in {"talk": talk, "silence": np.zeros(SAMPLE_RATE)}.items():
            result = sandbox.measure(wav(samples), {"speech": {}})["speech"]
            assert result.error is None and result.batch is not None
            (inside[name],) = result.batch.to_pylist()
    assert inside["silence"] == {
        **{"duration_s": 1.0, "speech_s": 0.0, "speech_ratio": 0.0, "segments": 0},
        **{"segment_start_s": [], "segment_end_s": []},
    }
    outside = measure(Clip(wav(talk)))
    assert inside["talk"].keys() == outside.keys() == set(Speech.table.schema.names) - set(base.ADDED)
    for name, value in outside.items():
        np.testing.assert_array_equal(inside["talk"][name], value, err_msg=name)


def test_prints_nothing(signals, clip_of, capfd):
    measure(clip_of(signals["man"]))
    assert capfd.readouterr() == ("", "")
