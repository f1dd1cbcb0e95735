"""Comparing kinds of model honestly: nothing a fold is scored on has touched its scaling, oversampling, selection or tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.model_selection import StratifiedKFold

from avlake.learn.base import Progress
from avlake.learn.candidates import Candidate
from avlake.learn.frame import Frame
from avlake.learn.metrics import Scored, at_level, standard_error
from avlake.learn.preparation import Prepared, prepare
from avlake.learn.splits import TEST, TRAIN, VALIDATION, Fold, group_folds, splits_suffice

Array = np.ndarray[Any, Any]
TUNING_FOLDS = 3


@dataclass(frozen=True)
class Selection:
    """How features are selected, and from which random numbers."""

    n_features: int = 60
    step: int = 5
    seed: int = 0

    def prepare(self, frame: Frame) -> Prepared:
        return prepare(frame.X, frame.y, n_features=self.n_features, step=self.step, seed=self.seed)


@dataclass(frozen=True)
class FoldModels:
    """What one fold learned from its training side, and the rows it is scored on."""

    held_out: Array  # row indices
    prepared: Prepared
    fitted: dict[str, ClassifierMixin]  # by candidate


@dataclass(frozen=True)
class Comparison:
    """Held-out predictions of every candidate.

    `scheme` is `test` when the splits hold enough groups, else `cv`; `judged_on` names the rows that chose the model.
    """

    scheme: str
    judged_on: str
    folds: list[FoldModels]
    predictions: dict[tuple[str, str], tuple[Array, Array]] = field(default_factory=dict)  # (candidate, split): rows, p

    def scored(self, frame: Frame, candidate: str, split: str) -> Scored:
        """The held-out predictions of a candidate on a split, with the truth."""
        rows, p = self.predictions[candidate, split]
        return Scored(p, frame.y[rows], frame.group[rows], frame.item[rows])

    def splits(self) -> list[str]:
        return sorted({split for _, split in self.predictions})


def compare(
    frame: Frame, candidates: Sequence[Candidate], selection: Selection, *, n_classes: int, progress: Progress
) -> Comparison:
    """Fit every candidate on training groups and predict groups it has not seen.

    With enough groups in every split, the candidates learn from `train`, are chosen on `validation` and reported on `test`;
    else each group is held out once, in grouped folds.
    """
    if splits_suffice(frame.y, frame.group, frame.split, n_classes):
        learn, judge, test = (np.flatnonzero(frame.split == name) for name in (TRAIN, VALIDATION, TEST))
        comparison = Comparison(TEST, VALIDATION, list(_fit_folds(frame, [(learn, test)], candidates, selection, progress)))
        _predict(comparison, frame, {VALIDATION: [judge], TEST: [test]})
        return comparison
    folds = list(group_folds(frame.y, frame.group, seed=selection.seed))
    comparison = Comparison("cv", "cv", list(_fit_folds(frame, folds, candidates, selection, progress)))
    _predict(comparison, frame, {"cv": [held_out for _, held_out in folds]})
    return comparison


def _fit_folds(
    frame: Frame, folds: Sequence[Fold], candidates: Sequence[Candidate], selection: Selection, progress: Progress
) -> Iterator[FoldModels]:
    for i, (learn, held_out) in enumerate(folds):
        progress("compare models", i, len(folds))
        side = frame.rows(learn)
        settings = tune(side, candidates, selection)
        prepared = selection.prepare(side)
        fitted = {c.name: prepared.fit(c.build(selection.seed, **settings[c.name])) for c in candidates}
        yield FoldModels(held_out, prepared, fitted)
    progress("compare models", len(folds), len(folds))


def _predict(comparison: Comparison, frame: Frame, held_out: dict[str, list[Array]]) -> None:
    for split, parts in held_out.items():
        rows = np.concatenate(parts)
        for name in comparison.folds[0].fitted:
            p = [_probability(fold, name, frame.X[part]) for fold, part in zip(comparison.folds, parts, strict=True)]
            comparison.predictions[name, split] = rows, np.concatenate(p)


def _probability(fold: FoldModels, name: str, X: Array) -> Array:
    p: Array = fold.fitted[name].predict_proba(fold.prepared.transform(X))[:, 1]
    return p


def tune(frame: Frame, candidates: Sequence[Candidate], selection: Selection) -> dict[str, dict[str, Any]]:
    """For each candidate the settings with the smallest log loss per file over grouped folds of `frame`.

    The log loss rather than the accuracy: with few speakers most settings get the same files right. Ties go to the stronger
    regularisation.
    """
    losses: dict[str, Array] = {c.name: np.zeros(len(c.grid)) for c in candidates}
    for learn, held_out in group_folds(frame.y, frame.group, n_folds=TUNING_FOLDS, seed=selection.seed):
        prepared = selection.prepare(frame.rows(learn))
        X = prepared.transform(frame.X[held_out])
        for candidate in candidates:
            for i, settings in enumerate(candidate.grid):
                p = prepared.fit(candidate.build(selection.seed, **settings)).predict_proba(X)[:, 1]
                windows = Scored(p, frame.y[held_out], frame.group[held_out], frame.item[held_out])
                losses[candidate.name][i] += _log_loss(at_level(windows, "file")) * len(held_out)
    return {c.name: dict(c.grid[int(np.argmin(losses[c.name]))]) for c in candidates}


def _log_loss(scored: Scored) -> float:
    right = np.where(scored.y == 1, scored.p, 1 - scored.p)
    return float(-np.log(right).mean())


def choose(comparison: Comparison, frame: Frame, candidates: Sequence[Candidate], seed: int) -> str:
    """The simplest candidate within one standard error of the best, by balanced accuracy per file (Breiman et al. 1984)."""
    judged = {
        c.name: standard_error(comparison.scored(frame, c.name, comparison.judged_on), level="file", seed=seed)
        for c in candidates
    }
    best, error = max(judged.values())
    return next(c.name for c in candidates if judged[c.name][0] >= best - error)


def leaky(frame: Frame, candidate: Candidate, settings: dict[str, Any], selection: Selection) -> Scored:
    """What one would report who splits windows at random: neighbours of every test window are in training.

    It is measured only to be shown beside the honest score.
    """
    p = np.zeros(len(frame))
    folds = StratifiedKFold(5, shuffle=True, random_state=selection.seed)
    for learn, held_out in folds.split(frame.X, frame.y):
        prepared = selection.prepare(frame.rows(learn))
        p[held_out] = prepared.fit(candidate.build(selection.seed, **settings)).predict_proba(
            prepared.transform(frame.X[held_out])
        )[:, 1]
    return Scored(p, frame.y, frame.group, frame.item)
