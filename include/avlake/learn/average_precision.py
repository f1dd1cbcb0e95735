"""The AVA-ActiveSpeaker metric: average precision of SPEAKING_AUDIBLE, as its official evaluation script counts it.

`get_ava_active_speaker_performance.py` of the ActivityNet evaluation (Roth et al. 2020, arXiv:1901.01342) does this,
and so does `evaluate`:

- A ground truth row and a prediction belong together where entity_id and frame_timestamp are the same; the edges of
  their boxes must then agree to 1e-9. Every label that is not SPEAKING_AUDIBLE is a negative.
- Predictions, best score first, are gone through one by one. After each, precision is the share of positives so far and
  recall the share of all positives that were met; neighbours of one score are not taken together.
- Precision is made monotone, as in the VOC development kit: at each recall it is the highest at that recall or beyond.
  Average precision is the sum over steps of recall of the step times that precision.

Where it differs from scikit-learn's `average_precision_score`: that one takes equal scores together, and does not make
precision monotone, so that it is never higher where no scores are equal.

What the script leaves open is decided here and said:

- Equal scores. The script sorts with pandas' default, which keeps no order beyond 16 rows, so that its answer depends
  on the version of numpy and on the processor. Here they stay in the order of the ground truth's rows, which is what
  the script does with few rows.
- Missing predictions. The script refuses files of different length, and with equal ones silently leaves out what has
  no partner. Here any missing or unexpected row is refused unless `missing="never_found"`: a positive without a
  prediction is then never met, so that recall ends below 1. (The script's answer over matched boxes is `matched_only`.)
- No positives: the script fails; here it is NaN.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from avlake.errors import RequestError

SPEAKING = "SPEAKING_AUDIBLE"
TOLERANCE = 1e-9  # of a box's edges
AT_ONCE = 1_000_000  # cells of draws x faces that are held in memory

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def average_precision(y: npt.ArrayLike, score: npt.ArrayLike, *, missing: int = 0) -> float:
    """The official average precision.

    Args:
        y: (n,) truth, is the face SPEAKING_AUDIBLE?
        score: (n,) any numbers, the higher the likelier; equal ones count in the order given.
        missing: positives that nothing was predicted for, and that are therefore never found.

    Returns:
        In [0, 1]; NaN where there are no positives.

    Raises:
        ValueError: for a score that is NaN, or arrays of different length.
    """
    truth = np.asarray(y, bool)
    found = float(average_precisions(truth, score, np.ones((1, len(truth))))[0])
    positives = int(truth.sum())
    if not positives:
        return 0.0 if missing else float("nan")
    return found * positives / (positives + missing)


def average_precisions(
    y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike, group: npt.ArrayLike | None = None
) -> Floats:
    """The same for each row of `weights`: how often each face is there.

    It is exactly that of a table in which each row stands so often, beside itself: of positives of one place, the last
    has the highest precision, so that all of them have that.

    Args:
        weights: (n_draws, n), or with `group` (n_draws, n_groups).
        group: (n,) the group of each face, whose weight is its own.

    Returns:
        (n_draws,), NaN where a draw has no positives.

    Raises:
        ValueError: for a score that is NaN, or arrays of different length.
    """
    truth, scores, drawn = np.asarray(y, bool), np.asarray(score, np.float64), np.asarray(weights, np.float64)
    column = np.arange(len(truth)) if group is None else np.asarray(group)
    wide = drawn.shape[1:] == truth.shape if group is None else drawn.ndim == 2 and column.shape == truth.shape
    if truth.shape != scores.shape or truth.ndim != 1 or not wide:
        raise ValueError(f"shapes {truth.shape}, {scores.shape} and {drawn.shape} do not belong together")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    order = np.argsort(-scores, kind="stable")
    places, column = np.flatnonzero(truth[order]), column[order]
    step = max(1, AT_ONCE // max(1, len(order)))
    found = [_of_sorted(drawn[start : start + step][:, column], places) for start in range(0, len(drawn), step)]
    return np.concatenate(found) if found else np.empty(0)


def _of_sorted(weights: Floats, places: npt.NDArray[np.int_]) -> Floats:
    """Of faces with the best first; `places` (n_positives,) are the positives', between which precision only falls."""
    hits = weights[:, places]
    met, seen = np.cumsum(hits, axis=1), np.cumsum(weights, axis=1)[:, places]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(seen > 0, met / seen, 0.0)
        monotone = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        averages: Floats = np.einsum("bi,bi->b", hits, monotone) / hits.sum(axis=1)
    return averages


@dataclass(frozen=True)
class Evaluation:
    """What two files say of each other."""

    average_precision: float
    faces: int  # rows of the ground truth
    positives: int  # of them
    missing: int  # of them without a prediction
    unexpected: int  # predictions without a row of the ground truth, which count for nothing


def evaluate(
    truth: Iterable[str],
    predictions: Iterable[str],
    *,
    missing: Literal["refuse", "never_found", "matched_only"] = "refuse",
) -> Evaluation:
    """Compare two files of the official layouts, without headers, given as their lines.

    Args:
        truth: video_id, frame_timestamp, x1, y1, x2, y2, label, entity_id.
        predictions: the same with the label SPEAKING_AUDIBLE in every row, and a score behind.
        missing: what to make of rows without a partner; see the head of this module.

    Raises:
        RequestError: for a row that is none, one that is there twice, a score that is no number, boxes that differ, a
            prediction of another label; or for a missing or unexpected row where that is refused.
    """
    wanted, given = _rows(truth, "ground truth", 8), _rows(predictions, "predictions", 9)
    absent, unexpected = [key for key in wanted if key not in given], [key for key in given if key not in wanted]
    if missing == "refuse" and (absent or unexpected):
        example = (absent or unexpected)[0]
        raise RequestError(
            f"{len(absent)} faces of the ground truth have no prediction, and {len(unexpected)} predictions are of "
            f"none of its faces, such as {example[1]} at {example[0]:g} s: predict every face"
        )
    y, scores = [], []
    for key, (edges, label, _) in wanted.items():
        if key not in given:
            continue
        predicted, said, score = given[key]
        if said != SPEAKING:
            raise RequestError(
                f"predictions have the label {said!r} for {key[1]} at {key[0]:g} s; it must be {SPEAKING}"
            )
        if max(abs(a - b) for a, b in zip(edges, predicted, strict=True)) > TOLERANCE:
            raise RequestError(f"the boxes of {key[1]} at {key[0]:g} s differ in ground truth and predictions")
        y.append(label == SPEAKING)
        scores.append(score)
    never = sum(wanted[key][1] == SPEAKING for key in absent)
    figure = average_precision(y, scores, missing=never if missing == "never_found" else 0)
    return Evaluation(figure, len(wanted), sum(y) + never, len(absent), len(unexpected))


Face = tuple[float, str]  # frame_timestamp, entity_id: what the script calls a row's uid
Row = tuple[tuple[float, ...], str, float]  # edges, label, score


def _rows(lines: Iterable[str], what: str, columns: int) -> dict[Face, Row]:
    found: dict[Face, Row] = {}
    for number, fields in enumerate(csv.reader(lines), 1):
        if not fields:
            continue
        key, row = _row(fields, f"{what}, line {number}", columns)
        if key in found:
            raise RequestError(f"{what}, line {number}: {key[1]} at {key[0]:g} s is there twice")
        found[key] = row
    return found


def _row(fields: Sequence[str], where: str, columns: int) -> tuple[Face, Row]:
    if len(fields) != columns:
        raise RequestError(f"{where}: {len(fields)} fields, not {columns}")
    try:
        at, *edges = map(float, fields[1:6])
        score = float(fields[8]) if columns > 8 else 0.0
    except ValueError as error:
        raise RequestError(f"{where}: {error}") from None
    if not np.isfinite([at, *edges]).all() or np.isnan(score):
        raise RequestError(f"{where}: a time, an edge or the score is no number")
    return (at, fields[7]), (tuple(edges), fields[6], score)
