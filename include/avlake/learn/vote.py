"""A random forest, gradient boosting and their soft vote, each with settings found by a randomised search.

Random forests: Breiman 2001; gradient boosting: Friedman 2001; randomised search: Bergstra & Bengio 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import ParameterSampler

from avlake.errors import WorkError
from avlake.learn.metrics import CERTAIN
from avlake.learn.splits import group_folds

Array = np.ndarray[Any, Any]

FOREST, BOOSTING, VOTE = "random_forest", "gradient_boosting", "vote"
WEIGHTS = {FOREST: 1.0, BOOSTING: 2.0}
CANDIDATES, FOLDS = 20, 3
SEARCHED_ROWS = 1_000  # settings are compared on so many rows at most


@dataclass(frozen=True)
class Part:
    """A kind of model that votes, and the settings that are drawn from."""

    name: str
    build: Callable[..., ClassifierMixin]  # (seed, **settings) -> unfitted
    settings: Mapping[str, tuple[Any, ...]]


def _forest(seed: int, **settings: Any) -> ClassifierMixin:
    return RandomForestClassifier(60, n_jobs=1, random_state=seed, **settings)


def _boosting(seed: int, **settings: Any) -> ClassifierMixin:
    return GradientBoostingClassifier(random_state=seed, **settings)


PARTS = (
    Part(
        FOREST,
        _forest,
        {
            "max_features": ("sqrt", 0.3, 0.6),
            "min_samples_leaf": (1, 2, 4, 8),
            "max_depth": (4, 8, 16),
            "class_weight": (None, "balanced"),
        },
    ),
    Part(
        BOOSTING,
        _boosting,
        {
            "n_estimators": (40, 80),
            "learning_rate": (0.05, 0.1, 0.2),
            "max_depth": (2, 3),
            "subsample": (0.6, 0.8),
            "max_features": ("sqrt", 0.3, 1.0),
            "min_samples_leaf": (1, 4, 8),
        },
    ),
)
Settings = dict[str, dict[str, Any]]  # by part


@dataclass(frozen=True)
class Voters:
    """The parts, fitted on the same rows."""

    fitted: Mapping[str, ClassifierMixin]
    n_classes: int

    def probabilities(self, X: Array) -> dict[str, Array]:
        """(n, n_features) -> (n, n_classes) of each part and of the vote."""
        found = {name: np.zeros((len(X), self.n_classes)) for name in self.fitted}
        if len(X):
            for name, model in self.fitted.items():
                found[name][:, model.classes_.astype(int)] = model.predict_proba(X)
        shares = np.array([WEIGHTS[name] for name in found]) / sum(WEIGHTS[name] for name in found)
        found[VOTE] = np.einsum("m,mnc->nc", shares, np.stack(list(found.values())))
        return found


def search(X: Array, y: Array, group: Array, *, candidates: int = CANDIDATES, seed: int = 0) -> Settings:
    """For each part the settings with the smallest log loss over grouped folds; of equal ones those drawn first.

    Where there are too few groups for folds, the first drawn.

    Args:
        X: (n, n_features); y: (n,) classes from 0; group: (n,) never on both sides of a fold.
        candidates: how many settings of each part are drawn.
    """
    if len(y) > SEARCHED_ROWS:
        rows = np.random.default_rng(seed).choice(len(y), SEARCHED_ROWS, replace=False)
        X, y, group = X[rows], y[rows], group[rows]
    try:
        folds = list(group_folds(y, group, n_folds=FOLDS, seed=seed))
    except WorkError:
        folds = []
    return {part.name: _search(part, X, y, folds, candidates, seed) for part in PARTS}


def _search(
    part: Part, X: Array, y: Array, folds: list[tuple[Array, Array]], candidates: int, seed: int
) -> dict[str, Any]:
    drawn = list(ParameterSampler(part.settings, candidates, random_state=seed))
    losses = np.zeros(len(drawn))
    for i, settings in enumerate(drawn):
        for learn, held_out in folds:
            model = part.build(seed, **settings).fit(X[learn], y[learn])
            p = np.full((len(held_out), int(y.max()) + 1), CERTAIN)
            p[:, model.classes_.astype(int)] = np.clip(model.predict_proba(X[held_out]), CERTAIN, 1 - CERTAIN)
            losses[i] -= np.log(p[np.arange(len(held_out)), y[held_out]]).sum()
    return dict(drawn[int(np.argmin(losses))])


def fit(X: Array, y: Array, settings: Settings, *, n_classes: int = 2, seed: int = 0) -> Voters:
    """Fit every part with its settings."""
    return Voters({part.name: part.build(seed, **settings[part.name]).fit(X, y) for part in PARTS}, n_classes)
