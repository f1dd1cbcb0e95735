"""The official metric: by hand, against a literal slow form of it, and where it is not scikit-learn's."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from avlake.errors import RequestError
from avlake.learn.average_precision import average_precision, average_precisions, evaluate


def literal(y: list[bool], score: list[float]) -> float:
    """As the description of the script reads: row by row, in plain Python."""
    rows = sorted(zip(score, y, strict=True), key=lambda row: -row[0])  # sorted keeps the order of equals
    precision, recall, hits = [], [], 0
    for seen, (_, positive) in enumerate(rows, 1):
        hits += positive
        precision.append(hits / seen)
        recall.append(hits / sum(y))
    area, before = 0.0, 0.0
    for k, reached in enumerate(recall):
        area += (reached - before) * max(precision[k:])
        before = reached
    return area


@pytest.mark.parametrize(
    ("y", "score", "expected"),
    [
        ([1, 0, 1], [0.9, 0.8, 0.7], 1 / 2 * 1 + 1 / 2 * 2 / 3),
        ([0, 1], [0.9, 0.8], 1 / 2),
        ([1, 1, 0, 0], [4, 3, 2, 1], 1.0),
        ([0, 0, 1, 1], [4, 3, 2, 1], 1 / 2 * 2 / 4 + 1 / 2 * 2 / 4),  # 1/3 and then 2/4: made monotone
        ([0, 1, 1, 0, 1], [5, 4, 3, 2, 1], 2 / 3 * 2 / 3 + 1 / 3 * 3 / 5),
        ([1], [0.0], 1.0),
        ([1, 0], [-np.inf, np.inf], 1 / 2),
    ],
)
def test_by_hand(y: list[int], score: list[float], expected: float) -> None:
    assert average_precision(y, score) == pytest.approx(expected, abs=1e-12)


def test_equal_scores_count_in_the_order_given() -> None:
    assert average_precision([1, 0, 0, 0], [0.5] * 4) == 1
    assert average_precision([0, 0, 0, 1], [0.5] * 4) == 1 / 4
    assert average_precision([1, 0, 1, 0], [0.1, 0.5, 0.5, 0.5]) == pytest.approx(1 / 2 * 1 / 2 + 1 / 2 * 2 / 4)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=40).filter(
        lambda r: any(y for y, _ in r)
    )
)
def test_it_is_the_literal_one(rows: list[tuple[bool, int]]) -> None:
    y, score = [y for y, _ in rows], [float(s) for _, s in rows]
    assert average_precision(y, score) == pytest.approx(literal(y, score), abs=1e-12)


def test_scikit_learn_takes_equals_together_and_leaves_precision_as_it_is() -> None:
    rng = np.random.default_rng(0)
    y, score = rng.random(2000) < 0.3, rng.random(2000)
    ours, theirs = average_precision(y, score), average_precision_score(y, score)
    assert theirs < ours < theirs + 0.03
    perfect = average_precision([1, 1, 0], [3, 2, 1]), average_precision_score([1, 1, 0], [3, 2, 1])
    assert perfect == (1, 1)
    constant = np.zeros(4)
    assert average_precision_score([1, 0, 0, 0], constant) == 1 / 4 != average_precision([1, 0, 0, 0], constant)


def test_many_faces_take_no_time() -> None:
    rng = np.random.default_rng(1)
    y, score = rng.random(400_000) < 0.3, rng.random(400_000)
    began = time.perf_counter()
    assert 0.29 < average_precision(y, score) < 0.31
    assert time.perf_counter() - began < 5  # a tenth of a second on an idle machine


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-2, 2), st.integers(0, 3)), min_size=1, max_size=20).filter(
        lambda rows: any(y and w for y, _, w in rows)
    )
)
def test_a_weight_is_so_many_rows(rows: list[tuple[bool, int, int]]) -> None:
    y, score, weight = map(np.array, zip(*rows, strict=True))
    (found,) = average_precisions(y, score, weight[None, :])
    assert found == pytest.approx(literal([*np.repeat(y, weight)], [*np.repeat(score, weight)]), abs=1e-12)


def test_faces_of_a_group_have_its_weight() -> None:
    rng = np.random.default_rng(6)
    y, score, group, weights = rng.random(60) < 0.4, rng.integers(0, 9, 60), rng.integers(0, 5, 60), [[1, 0, 2, 1, 3]]
    by_group = average_precisions(y, score, weights, group)
    assert by_group.tolist() == average_precisions(y, score, np.array(weights)[:, group]).tolist()


def test_draws_are_alike_however_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    y, score, weights = rng.random(50) < 0.4, rng.random(50), rng.integers(0, 3, (30, 50))
    whole = average_precisions(y, score, weights)
    monkeypatch.setattr("avlake.learn.average_precision.AT_ONCE", 70)
    assert np.array_equal(average_precisions(y, score, weights), whole)
    assert average_precisions(y, score, np.empty((0, 50))).shape == (0,)


def test_without_positives_there_is_no_figure() -> None:
    assert np.isnan(average_precision([0, 0], [1, 2])) and np.isnan(average_precision([], []))
    assert np.isnan(average_precisions([1, 0], [1, 2], [[0, 1]])).all()


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        average_precision([1, 0], [np.nan, 1])
    with pytest.raises(ValueError, match="do not belong together"):
        average_precision([1, 0, 1], [1, 2])


# --- two files

TRUTH = [
    "v,0.00,0.1,0.1,0.5,0.9,SPEAKING_AUDIBLE,v_0:1",
    "v,0.04,0.1,0.1,0.5,0.9,NOT_SPEAKING,v_0:1",
    "v,0.00,0.6,0.1,0.9,0.9,SPEAKING_NOT_AUDIBLE,v_0:2",
    "w,0.00,0.6,0.1,0.9,0.9,SPEAKING_AUDIBLE,w_0:1",
]
SCORES = [0.9, 0.5, 0.7, 0.6]  # right, wrong at the third, then right


def predicted(rows: list[str] = TRUTH, scores: list[float] = SCORES) -> list[str]:
    lines = []
    for row, score in zip(rows, scores, strict=True):
        *box, _, entity = row.split(",")
        lines.append(",".join([*box, "SPEAKING_AUDIBLE", entity, str(score)]))
    return lines


def test_two_files_are_matched_whatever_their_order() -> None:
    found = evaluate(TRUTH, predicted()[::-1])
    assert found.average_precision == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert (found.faces, found.positives, found.missing, found.unexpected) == (4, 2, 0, 0)
    longer = [line.replace(",0.04,", ",0.040,").replace("0.1,0.1", "0.10000000001,0.1") for line in predicted()]
    assert evaluate(TRUTH, longer) == found  # a time is a number, and an edge need not be exact to the last digit


def test_missing_predictions_are_refused_or_never_found_but_not_passed_over() -> None:
    lines = predicted()
    with pytest.raises(RequestError, match=r"1 faces .* no prediction, and 0 .* such as w_0:1 at 0 s"):
        evaluate(TRUTH, lines[:3])
    never = evaluate(TRUTH, lines[:3], missing="never_found")
    assert (never.average_precision, never.positives, never.missing) == (1 / 2 * 1, 2, 1)
    only = evaluate(TRUTH, lines[:3], missing="matched_only")
    assert only.average_precision == 1  # which is why it is not the default
    assert evaluate(TRUTH, lines[1:3], missing="never_found").average_precision == 0


def test_unexpected_predictions_count_for_nothing() -> None:
    lines = [*predicted(), "x,0.00,0.1,0.1,0.5,0.9,SPEAKING_AUDIBLE,x_0:1,0.99"]
    with pytest.raises(RequestError, match="1 predictions are of none of its faces, such as x_0:1"):
        evaluate(TRUTH, lines)
    found = evaluate(TRUTH, lines, missing="never_found")
    assert (found.average_precision, found.unexpected) == (evaluate(TRUTH, predicted()).average_precision, 1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.5,0.9,SPEAKING", "0.6,0.9,SPEAKING", "boxes of v_0:1 at 0 s differ"),
        ("SPEAKING_AUDIBLE,w", "NOT_SPEAKING,w", "label 'NOT_SPEAKING' for w_0:1"),
        ("w_0:1,0.6", "w_0:1,nan", "predictions, line 4: .* no number"),
        ("w_0:1,0.6", "w_0:1,", "predictions, line 4: could not convert"),
        ("w_0:1,0.6", "w_0:1", "predictions, line 4: 8 fields, not 9"),
        ("v,0.04", "v,0.00", "predictions, line 2: v_0:1 at 0 s is there twice"),
    ],
)
def test_files_that_cannot_be_compared_are_told_of(old: str, new: str, said: str) -> None:
    lines = "\n".join(predicted()).replace(old, new).splitlines()
    with pytest.raises(RequestError, match=said):
        evaluate(TRUTH, lines)
