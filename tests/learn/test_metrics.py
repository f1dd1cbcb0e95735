"""Scores against scikit-learn's, and intervals that know windows of one speaker are not independent."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from avlake.learn.metrics import Scored, at_level, confusion, pool, predicted, scores

CLASSES = ("female", "male")


def sample(speakers: int = 20, files: int = 3, windows: int = 2, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    n = speakers * files * windows
    speaker = np.repeat(np.arange(speakers), files * windows)
    y = speaker % 2
    p = np.round(np.clip(0.5 + 0.25 * (y - 0.5) * 2 + rng.normal(scale=0.3, size=n), 0, 1), 1)  # many ties
    file = np.repeat(np.arange(speakers * files), windows)
    return Scored(p, y, np.char.add("s", speaker.astype(str)), np.char.add("f", file.astype(str)))


def by_metric(scored: Scored) -> dict[str, float]:
    return {s.metric: s.value for s in scores(scored, model="m", split="cv", classes=CLASSES)}


@pytest.mark.parametrize("level", ["window", "file", "speaker"])
def test_metrics_are_scikit_learns(level: str) -> None:
    windows = sample()
    found, at = by_metric(windows), at_level(windows, level)
    said = predicted(at.p)
    expected = {
        "balanced_accuracy": balanced_accuracy_score(at.y, said),
        "accuracy": (said == at.y).mean(),
        "macro_f1": f1_score(at.y, said, average="macro"),
        "roc_auc": roc_auc_score(at.y, at.p),
        "precision_male": precision_score(at.y, said),
        "recall_male": recall_score(at.y, said),
        "precision_female": precision_score(at.y, said, pos_label=0),
        "recall_female": recall_score(at.y, said, pos_label=0),
    }
    assert {name: found[f"{level}_{name}"] for name in expected} == pytest.approx(expected)
    assert confusion(at).sum() == len(at.y)


def test_a_level_pools_what_is_below_it() -> None:
    windows = sample(speakers=4, files=3, windows=2)
    assert len(at_level(windows, "file").y) == 12
    assert len(at_level(windows, "speaker").y) == 4


def test_one_certain_window_does_not_outvote_the_others() -> None:
    assert pool(np.array([1.0, 0.01, 0.01, 0.01])) < 0.5
    assert pool(np.array([0.8])) == pytest.approx(0.8)


def test_intervals_cover_the_value_and_repeat() -> None:
    first, second = (scores(sample(), model="m", split="cv", classes=CLASSES) for _ in range(2))
    assert first == second
    for score in first:
        assert score.ci_low is not None and score.ci_high is not None
        assert score.ci_low <= score.value <= score.ci_high


def test_more_windows_of_the_same_speakers_do_not_narrow_the_interval() -> None:
    """A speaker is right or wrong as a whole here: twenty copies of each window are no new evidence."""
    once = sample(speakers=10, files=1, windows=1, seed=3)
    copied = Scored(*(np.repeat(a, 20) for a in (once.p, once.y, once.group, once.item)))

    def width(scored: Scored) -> float:
        found = {s.metric: s for s in scores(scored, model="m", split="cv", classes=CLASSES)}["window_accuracy"]
        assert found.ci_low is not None and found.ci_high is not None
        return found.ci_high - found.ci_low

    assert width(copied) == pytest.approx(width(once))


def test_an_undefined_metric_has_no_row() -> None:
    windows = sample()
    always = Scored(np.ones(len(windows.y)), windows.y, windows.group, windows.item)
    found = by_metric(always)
    assert "file_precision_female" not in found
    assert found["file_balanced_accuracy"] == 0.5
