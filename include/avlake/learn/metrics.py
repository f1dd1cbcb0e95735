"""Scores of a two-class model per window, per file and per speaker, with intervals that resample speakers.

Windows of one speaker are not independent, so an interval over windows would be far too narrow: the bootstrap draws
whole speakers, with replacement, within each class (Efron & Tibshirani 1993, ch. 8; percentile intervals).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LEVELS = ("window", "file", "speaker")
REPLICATES = 1000
CERTAIN = 1e-3  # one window may not outvote all others: its probability counts as at most 1 - CERTAIN

Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Score:
    """One figure of one model on one split; `ci_*` are None where no interval applies. `n` counts what was scored."""

    model: str
    split: str
    metric: str  # <level>_<metric>, such as speaker_balanced_accuracy
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int


@dataclass(frozen=True)
class Scored:
    """Predictions with the truth, one entry per window, file or speaker."""

    p: Array  # (n,) probability of class 1
    y: Array  # (n,) 0 or 1
    group: Array  # (n,) speaker
    item: Array  # (n,) file


def wilson(count: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927); n is at least 1."""
    p, z2 = count / n, Z * Z
    middle, half = p + z2 / (2 * n), Z * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))


def pool(p: Array) -> float:
    """One probability from several of the same thing: the mean of the log-odds, back as a probability."""
    p = np.clip(p, CERTAIN, 1 - CERTAIN)
    return float(1.0 / (1.0 + np.exp(-np.mean(np.log(p / (1 - p))))))


def at_level(windows: Scored, level: str) -> Scored:
    """The same predictions per window, per file, or per speaker (over files, so that a long file counts once)."""
    if level == "window":
        return windows
    files = _pooled(windows, windows.item)
    return files if level == "file" else _pooled(files, files.group)


def _pooled(scored: Scored, by: Array) -> Scored:
    _, first, code = np.unique(by, return_index=True, return_inverse=True)
    order = np.argsort(code, kind="stable")
    pieces = np.split(scored.p[order], np.cumsum(np.bincount(code))[:-1])
    return Scored(np.array([pool(p) for p in pieces]), scored.y[first], scored.group[first], scored.item[first])


def confusion(scored: Scored) -> Array:
    """(2, 2) counts, truth by prediction."""
    counts = np.zeros((2, 2), dtype=int)
    np.add.at(counts, (scored.y, predicted(scored.p)), 1)
    return counts


def predicted(p: Array) -> Array:
    """Class 1 from 0.5 upwards."""
    return (p >= 0.5).astype(int)


def scores(windows: Scored, *, model: str, split: str, classes: Sequence[str], seed: int = 0) -> list[Score]:
    """Every metric at every level with its 95 % interval.

    A metric that is undefined here (the precision of a class never predicted) has no row.
    """
    return [s for level in LEVELS for s in _level_scores(at_level(windows, level), level, model, split, classes, seed)]


def scores_of_mixed(windows: Scored, *, level: str, model: str, split: str, classes: Sequence[str]) -> list[Score]:
    """Every metric with its 95 % interval where groups hold both classes, as episodes do: all are drawn from alike."""
    strata = np.zeros(len(np.unique(windows.group)), dtype=int)
    return list(intervals(resampled(windows, with_draws(strata), classes), level, model, split, len(windows.y)))


def _level_scores(
    scored: Scored, level: str, model: str, split: str, classes: Sequence[str], seed: int
) -> Iterator[Score]:
    groups, code = np.unique(scored.group, return_inverse=True)
    truth = np.zeros(len(groups), dtype=int)
    truth[code] = scored.y
    yield from intervals(resampled(scored, with_draws(truth, seed), classes), level, model, split, len(scored.y))


def resampled(scored: Scored, weights: Array, classes: Sequence[str]) -> dict[str, Array]:
    """Every metric for each row of `weights` (n_draws, n_groups): how often each group counts, in the order of names.

    One that is undefined is NaN.
    """
    groups, code = np.unique(scored.group, return_inverse=True)
    per_group = np.zeros((len(groups), 2, 2))
    np.add.at(per_group, (code, scored.y, predicted(scored.p)), 1)
    figures = _from_confusion(np.einsum("bg,gij->bij", weights, per_group), classes)
    figures["roc_auc"] = _weighted_auc(scored, weights[:, code])
    return figures


def intervals(figures: dict[str, Array], level: str, model: str, split: str, n: int) -> Iterator[Score]:
    """A score of each metric that is defined: its first value, and the percentiles of the others."""
    for metric, values in figures.items():
        if not np.isfinite(values[0]):
            continue
        drawn = values[1:][np.isfinite(values[1:])]
        low, high = np.quantile(drawn, (0.025, 0.975)).tolist() if len(drawn) else (None, None)
        yield Score(model, split, f"{level}_{metric}", float(values[0]), low, high, n)


def with_draws(strata: Array, seed: int = 0) -> Array:
    """(1 + REPLICATES, n_groups): each group once, then how often each is drawn; each stratum keeps its size."""
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + REPLICATES, len(strata)))
    for label in np.unique(strata):
        members = np.flatnonzero(strata == label)
        shares = np.full(len(members), 1 / len(members))
        weights[1:, members] = rng.multinomial(len(members), shares, size=REPLICATES)
    return weights


def _from_confusion(c: Array, classes: Sequence[str]) -> dict[str, Array]:
    """Metrics of (n, 2, 2) confusion counts; undefined ones (a class absent, a class never predicted) are NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        hits = np.diagonal(c, axis1=1, axis2=2)
        recall, precision = hits / c.sum(axis=2), hits / c.sum(axis=1)
        f1 = 2 * hits / (c.sum(axis=2) + c.sum(axis=1))
        figures = {
            "accuracy": hits.sum(axis=1) / c.sum(axis=(1, 2)),
            "balanced_accuracy": recall.mean(axis=1),
            "macro_f1": f1.mean(axis=1),
        }
    for i, name in enumerate(classes):
        figures[f"precision_{name}"] = precision[:, i]
        figures[f"recall_{name}"] = recall[:, i]
    return figures


def _weighted_auc(scored: Scored, weights: Array) -> Array:
    """Area under the ROC for each row of `weights` (n_draws, n): P(a 1 scores above a 0), ties half (Fawcett 2006)."""
    order = np.argsort(scored.p, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scored.p[order]) > 0])
    positive = scored.y[order] == 1
    areas = np.full(len(weights), np.nan)
    for i, drawn in enumerate(weights):
        w = drawn[order]
        up = np.add.reduceat(w * positive, starts)
        down = np.add.reduceat(w * ~positive, starts)
        if up.sum() and down.sum():
            areas[i] = up @ (np.cumsum(down) - down / 2) / (up.sum() * down.sum())
    return areas
