"""Comparing kinds of model honestly.

Nothing that a fold is scored on has touched its scaling, oversampling, feature selection or tuning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.model_selection import StratifiedKFold

from avlake.errors import WorkError
from avlake.learn.base import Progress
from avlake.learn.candidates import Candidate
from avlake.learn.frame import Frame
from avlake.learn.metrics import Scored, at_level
from avlake.learn.preparation import Prepared, prepare
from avlake.learn.splits import TEST, TRAIN, VALIDATION, Fold, group_folds, splits_suffice

Array = np.ndarray[Any, Any]
TUNING_FOLDS = 3


@dataclass(frozen=True)
class Selection:
    """Which features a model may choose from, how it chooses, and from which random numbers.

    `offers` names sets of features by prefix; which of them is offered is tuned like any other setting.
    """

    offers: tuple[tuple[str, tuple[str, ...]], ...] = (("all", ("",)),)
    n_features: int = 60
    step: int = 5
    seed: int = 0

    def prepare(self, frame: Frame, offer: str) -> Prepared:
        prefixes = dict(self.offers)[offer]
        offered = np.flatnonzero([name.startswith(prefixes) for name in frame.features])
        if not len(offered):
            raise WorkError(f"no feature is called {' or '.join(prefixes)}...: gold was measured by something else")
        return prepare(frame.X, frame.y, offered=offered, n_features=self.n_features, step=self.step, seed=self.seed)


@dataclass(frozen=True)
class Tuned:
    """The settings of one candidate: the set of features offered, and the classifier's own."""

    offer: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class FoldModels:
    """What one fold learned from its training side, and the rows it is scored on."""

    held_out: Array  # row indices
    prepared: dict[str, Prepared]  # by candidate
    fitted: dict[str, ClassifierMixin]  # by candidate

    def probability(self, candidate: str, X: Array) -> Array:
        """(n, n_features) as measured -> (n,) probability of the second class."""
        p: Array = self.fitted[candidate].predict_proba(self.prepared[candidate].transform(X))[:, 1]
        return p


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

    With enough groups in every split, the candidates learn from `train`, are chosen on `validation` and reported on
    `test`; else each group is held out once, in grouped folds.
    """
    if splits_suffice(frame.y, frame.group, frame.split, n_classes):
        learn, judge, test = (np.flatnonzero(frame.split == name) for name in (TRAIN, VALIDATION, TEST))
        comparison = Comparison(
            TEST, VALIDATION, list(_fit_folds(frame, [(learn, test)], candidates, selection, progress))
        )
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
        tuned = tune(side, candidates, selection)
        offers = {offer: selection.prepare(side, offer) for offer in {t.offer for t in tuned.values()}}
        prepared = {name: offers[t.offer] for name, t in tuned.items()}
        fitted = {c.name: prepared[c.name].fit(c.build(selection.seed, **tuned[c.name].settings)) for c in candidates}
        yield FoldModels(held_out, prepared, fitted)
    progress("compare models", len(folds), len(folds))


def _predict(comparison: Comparison, frame: Frame, held_out: dict[str, list[Array]]) -> None:
    for split, parts in held_out.items():
        rows = np.concatenate(parts)
        for name in comparison.folds[0].fitted:
            p = [fold.probability(name, frame.X[part]) for fold, part in zip(comparison.folds, parts, strict=True)]
            comparison.predictions[name, split] = rows, np.concatenate(p)


def tune(frame: Frame, candidates: Sequence[Candidate], selection: Selection) -> dict[str, Tuned]:
    """For each candidate the settings with the smallest log loss per file over grouped folds of `frame`.

    The log loss rather than the accuracy: with few speakers most settings get the same files right. Ties go to what
    stands first: the first offer, the strongest regularisation.
    """
    tried = {c.name: [Tuned(offer, s) for offer, _ in selection.offers for s in c.grid] for c in candidates}
    losses: dict[tuple[str, int], float] = defaultdict(float)
    for learn, held_out in group_folds(frame.y, frame.group, n_folds=TUNING_FOLDS, seed=selection.seed):
        side, other = frame.rows(learn), frame.rows(held_out)
        prepared = {offer: selection.prepare(side, offer) for offer, _ in selection.offers}
        for candidate in candidates:
            for i, tuned in enumerate(tried[candidate.name]):
                ready = prepared[tuned.offer]
                classifier = ready.fit(candidate.build(selection.seed, **tuned.settings))
                p = classifier.predict_proba(ready.transform(other.X))[:, 1]
                files = at_level(Scored(p, other.y, other.group, other.item), "file")
                losses[candidate.name, i] += float(_log_loss(files).sum())
    return {c.name: min(enumerate(tried[c.name]), key=lambda t: losses[c.name, t[0]])[1] for c in candidates}


def choose(comparison: Comparison, frame: Frame, candidates: Sequence[Candidate]) -> str:
    """The simplest candidate not clearly worse than the best: the one-standard-error rule (Breiman et al. 1984).

    Judged by the log loss per file, each speaker counting once. The standard error is that of the paired difference
    over speakers: all candidates find the same speakers hard, so their own errors are far wider than what tells them
    apart.
    """
    loss = {c.name: loss_by_group(comparison.scored(frame, c.name, comparison.judged_on)) for c in candidates}
    best = min(loss, key=lambda name: float(loss[name].mean()))
    for candidate in candidates:
        worse = loss[candidate.name] - loss[best]
        if worse.mean() <= worse.std(ddof=1) / np.sqrt(len(worse)):
            return candidate.name
    return best


def loss_by_group(windows: Scored) -> Array:
    """(n_groups,) mean log loss per file of each group, in the order of their names."""
    files = at_level(windows, "file")
    _, code = np.unique(files.group, return_inverse=True)
    mean: Array = np.bincount(code, weights=_log_loss(files)) / np.bincount(code)
    return mean


def _log_loss(scored: Scored) -> Array:
    loss: Array = -np.log(np.where(scored.y == 1, scored.p, 1 - scored.p))
    return loss


def leaky(frame: Frame, candidate: Candidate, tuned: Tuned, selection: Selection) -> Scored:
    """What one would report who splits windows at random: neighbours of every test window are in training.

    It is measured only to be shown beside the honest score.
    """
    p = np.zeros(len(frame))
    folds = StratifiedKFold(5, shuffle=True, random_state=selection.seed)
    for learn, held_out in folds.split(frame.X, frame.y):
        ready = selection.prepare(frame.rows(learn), tuned.offer)
        classifier = ready.fit(candidate.build(selection.seed, **tuned.settings))
        p[held_out] = classifier.predict_proba(ready.transform(frame.X[held_out]))[:, 1]
    return Scored(p, frame.y, frame.group, frame.item)
