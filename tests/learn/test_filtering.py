"""Figures of decisions over clips, against values worked out by hand or by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from avlake.learn.filter_scores import (
    Decided,
    Heard,
    average_precision,
    calibrated,
    compare,
    curve,
    histograms,
    plain,
)
from avlake.learn.filtering import FilteringLearner, words
from avlake.thresholds import SoundEffectsThresholds


def heard(n: int, **columns: Any) -> Heard:
    texts = ("file_ids", "paths", "sound", "human", "reasons")
    figures = ("speech_score", "music_score", "speech_ratio", "speech_s")
    made: dict[str, Any] = {name: np.array([None] * n, object) for name in texts}
    made |= {name: np.zeros(n) for name in figures} | {"kept": np.zeros(n, bool)}
    made |= {name: np.full(n, np.nan) for name in ("p_sfx", "threshold")}
    return Heard(**(made | {name: np.array(value) for name, value in columns.items()}))


@given(st.lists(st.tuples(st.sampled_from((0.0, 0.2, 0.5, 0.9)), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_scikit_learns(rows: list[tuple[float, bool]]) -> None:
    score, y = np.array([s for s, _ in rows]), np.array([label for _, label in rows])
    found = average_precision(score, y)
    assert found is None if not y.any() else found == pytest.approx(average_precision_score(y, score))


def test_what_was_not_measured_is_not_kept_and_counts_as_missed() -> None:
    clips = heard(3, human=["sfx", "sfx", "speech"], speech_score=[0.0, np.nan, 0.5])
    found = compare(plain(clips, SoundEffectsThresholds()), clips)
    assert (found["true_positive"], found["false_negative"], found["true_negative"]) == (1, 1, 1)
    assert found["precision"]["value"] == 1.0 and found["recall"]["value"] == 0.5
    assert found["f1"] == {"value": pytest.approx(2 / 3), "ci_low": None, "ci_high": None}


def test_shares_of_nothing_are_unknown() -> None:
    clips = heard(2, human=["speech", None], speech_score=[0.5, 0.0])
    found = compare(plain(clips, SoundEffectsThresholds()), clips)
    assert (found["n"], found["precision"], found["recall"], found["f1"]) == (1, None, None, None)
    assert found["average_precision"] is None and curve(plain(clips, SoundEffectsThresholds()), clips) == []


def test_the_curve_goes_through_the_decision() -> None:
    human = ["sfx", "sfx", "music", "sfx"]
    clips = heard(4, human=human, music_score=[0.0, 0.05, 0.04, 0.5])
    points = curve(plain(clips, SoundEffectsThresholds()), clips)
    assert [p["threshold"] for p in points] == sorted(p["threshold"] for p in points)
    at = next(p for p in points if p["threshold"] == pytest.approx(0.95))
    assert (at["precision"], at["recall"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_the_voice_detector_has_the_last_word() -> None:
    clips = heard(2, human=["sfx", "sfx+speech"], speech_ratio=[0.0, 0.5])
    one = plain(clips, SoundEffectsThresholds())
    assert one.kept.tolist() == [True, False] and one.score.tolist() == [1.0, 0.0]


def test_calibrated_without_probabilities_cannot_be_judged() -> None:
    one = calibrated(heard(2, human=["sfx", "music"]))
    assert isinstance(one, Decided) and one.why_not and not one.kept.any()


def test_histograms_count_labelled_clips_apart() -> None:
    found = histograms(heard(4, human=["sfx", "music", None, "sfx"], speech_score=[0.0, 1.0, 0.5, np.nan]))
    counts = {group: sum(found["speech_score"][group]) for group in ("all", "sfx", "other")}
    assert counts == {"all": 3, "sfx": 1, "other": 1} and len(found["p_sfx"]["edges"]) == 21


def test_words_say_that_figures_are_uncalibrated() -> None:
    found = {
        "calibrated": False,
        "counts": {"clips": 3, "kept": 2, "labelled": 0},
        "thresholds": SoundEffectsThresholds().model_dump(),
        "decisions": [],
        "taggers": None,
        "throughput": [],
    }
    said = " ".join(words(found))
    assert "uncalibrated" in said and "precision 0" not in said and "avlake labels import" in said
    assert not FilteringLearner().predicts
