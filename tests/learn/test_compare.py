"""The comparison is honest: what knows only the speaker scores like a coin, however well a random split scores it."""

from __future__ import annotations

import numpy as np
import pytest

from avlake.learn.base import silent
from avlake.learn.candidates import CANDIDATES
from avlake.learn.compare import Comparison, Selection, Tuned, choose, compare, leaky, tune
from avlake.learn.frame import Frame
from avlake.learn.metrics import Scored, at_level, predicted

FAST = CANDIDATES[:2]
SELECTION = Selection(n_features=6, step=4)


def frame(*, speakers: int = 24, windows: int = 6, telling: float = 0.0, features: int = 10, seed: int = 0) -> Frame:
    """Speakers that are easy to tell apart; `telling` deviations lie between the classes in the first feature."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(speakers), windows)
    y = speaker % 2
    X = rng.normal(scale=2.0, size=(speakers, features))[speaker] + rng.normal(scale=0.1, size=(len(speaker), features))
    X[:, 0] += telling * 2.0 * y
    group = np.char.add("s", speaker.astype(str))
    item = np.char.add(group, np.char.add("-", (np.arange(len(speaker)) % windows // 2).astype(str)))
    window = np.arange(len(speaker)) % 2
    split = np.full(len(speaker), "train")
    drop = np.full(len(speaker), "d/2026-09-01")
    return Frame(X.astype(np.float32), tuple(f"f{i}" for i in range(features)), y, group, item, window, split, drop)


def accuracy(scored: Scored) -> float:
    files = at_level(scored, "file")
    return float((predicted(files.p) == files.y).mean())


def test_knowing_the_speaker_is_worth_nothing_to_an_unheard_one() -> None:
    data = frame()
    found = compare(data, FAST, SELECTION, n_classes=2, progress=silent)
    assert accuracy(found.scored(data, "svm", "cv")) < 0.7
    assert accuracy(leaky(data, FAST[1], Tuned("all", {"C": 3.0}), SELECTION)) > 0.95


def test_a_real_difference_is_found_in_unheard_speakers() -> None:
    data = frame(telling=4.0)
    found = compare(data, FAST, SELECTION, n_classes=2, progress=silent)
    assert found.scheme == "cv"
    assert accuracy(found.scored(data, "logistic_regression", "cv")) > 0.9
    assert all(0 in fold.prepared["logistic_regression"].kept for fold in found.folds)


def test_groups_enough_in_every_split_make_a_test_split() -> None:
    data = frame(speakers=36, telling=4.0)
    number = np.array([int(name[1:]) for name in data.group])
    data.split[:] = np.select([number < 20, number < 28], ["train", "valid"], "test")
    split = np.where(data.split == "valid", "validation", data.split.astype("U10"))
    data = Frame(data.X, data.features, data.y, data.group, data.item, data.window, split, data.drop)
    found = compare(data, FAST, SELECTION, n_classes=2, progress=silent)
    assert (found.scheme, found.judged_on) == ("test", "validation")
    assert set(found.scored(data, "svm", "test").group) == {f"s{i}" for i in range(28, 36)}
    assert set(found.scored(data, "svm", "validation").group) == {f"s{i}" for i in range(20, 28)}


def test_tuning_prefers_the_offer_that_generalises() -> None:
    data = frame(telling=4.0, features=40, seed=2)
    selection = Selection(offers=(("rest", ("f1", "f2", "f3")), ("all", ("",))), n_features=40)
    assert tune(data, FAST[:1], selection)["logistic_regression"].offer == "all"


def predictions(data: Frame, certainty: dict[str, float]) -> Comparison:
    rows = np.arange(len(data))
    right = {name: np.where(data.y == 1, c, 1 - c) for name, c in certainty.items()}
    return Comparison("cv", "cv", [], {(name, "cv"): (rows, p) for name, p in right.items()})


@pytest.mark.parametrize(
    ("certainty", "chosen"),
    [
        ({"logistic_regression": 0.9, "svm": 0.9}, "logistic_regression"),  # no worse, and simpler
        ({"logistic_regression": 0.6, "svm": 0.9}, "svm"),  # clearly worse for every speaker
        ({"logistic_regression": 0.9, "svm": 0.6}, "logistic_regression"),
    ],
)
def test_the_simplest_not_clearly_worse_is_chosen(certainty: dict[str, float], chosen: str) -> None:
    data = frame()
    assert choose(predictions(data, certainty), data, FAST) == chosen
