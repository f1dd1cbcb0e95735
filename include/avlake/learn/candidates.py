"""The kinds of model that are compared, simplest first, each with the few settings that are tried.

All are strongly regularised: a lake has many windows but few speakers, and only speakers count as evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC


@dataclass(frozen=True)
class Candidate:
    """A kind of model; `grid` lists the settings tried, from the strongest regularisation to the weakest."""

    name: str
    build: Callable[..., ClassifierMixin]  # (seed, **settings) -> unfitted classifier with predict_proba
    grid: tuple[dict[str, Any], ...]


def _logistic(seed: int, C: float) -> ClassifierMixin:
    return LogisticRegression(C=C, max_iter=2000, random_state=seed)


def _svm(seed: int, C: float) -> ClassifierMixin:
    # Platt scaling on inner folds gives the margin a probability.
    return CalibratedClassifierCV(SVC(C=C, kernel="rbf", gamma="scale", random_state=seed), ensemble=False, cv=5)


def _forest(seed: int, min_samples_leaf: int) -> ClassifierMixin:
    return RandomForestClassifier(150, min_samples_leaf=min_samples_leaf, n_jobs=1, random_state=seed)


def _boosting(seed: int, learning_rate: float) -> ClassifierMixin:
    return HistGradientBoostingClassifier(
        learning_rate=learning_rate,
        max_iter=100,
        max_leaf_nodes=6,
        min_samples_leaf=10,
        l2_regularization=1.0,
        max_features=0.3,
        early_stopping=False,
        random_state=seed,
    )


# The order is that of simplicity: what can be read off its coefficients comes first.
CANDIDATES = (
    Candidate("logistic_regression", _logistic, ({"C": 0.01}, {"C": 0.1}, {"C": 1.0})),
    Candidate("svm", _svm, ({"C": 1.0}, {"C": 3.0})),
    Candidate("random_forest", _forest, ({"min_samples_leaf": 5}, {"min_samples_leaf": 2})),
    Candidate("gradient_boosting", _boosting, ({"learning_rate": 0.05}, {"learning_rate": 0.1})),
)
