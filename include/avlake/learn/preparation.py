"""What happens to windows before a classifier sees them: scale, oversample the minority class, keep the telling features.

All of it is fitted on training windows alone and once per training set, because every candidate then learns from the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from imblearn.over_sampling import SMOTE
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import RFE
from sklearn.preprocessing import StandardScaler

Array = np.ndarray[Any, Any]
NEIGHBOURS = 5


@dataclass(frozen=True)
class Prepared:
    """A training set made ready, and how to make other windows ready in the same way."""

    scaler: StandardScaler
    ranking: Array  # (n_features,) 1 = kept; the larger, the earlier eliminated
    X: Array  # (n_rows, n_kept), scaled and oversampled
    y: Array

    @property
    def kept(self) -> Array:
        """Indices of the features kept."""
        return np.flatnonzero(self.ranking == 1)

    def transform(self, X: Array) -> Array:
        """(n, n_features) as measured -> (n, n_kept) as the classifier wants it."""
        scaled: Array = self.scaler.transform(X)[:, self.kept]
        return scaled

    def fit(self, classifier: ClassifierMixin) -> ClassifierMixin:
        return classifier.fit(self.X, self.y)


def prepare(X: Array, y: Array, *, n_features: int, step: int, seed: int) -> Prepared:
    """Fit StandardScaler, SMOTE (Chawla et al. 2002) and RFE (Guyon et al. 2002) with a random forest, in that order.

    Args:
        X: (n_windows, n_features) training windows.
        y: (n_windows,) their classes.
        n_features: how many features to keep; all, where there are no more.
        step: how many to eliminate at a time.
    """
    scaler = StandardScaler().fit(X)
    X, y = _oversample(scaler.transform(X), y, seed)
    if X.shape[1] <= n_features:
        return Prepared(scaler, np.ones(X.shape[1], dtype=int), X, y)
    forest = RandomForestClassifier(40, max_depth=6, n_jobs=1, random_state=seed)
    selector = RFE(forest, n_features_to_select=n_features, step=step).fit(X, y)
    return Prepared(scaler, selector.ranking_, X[:, selector.support_], y)


def _oversample(X: Array, y: Array, seed: int) -> tuple[Array, Array]:
    """Synthetic windows for the minority class until the classes are equal; none where it is too small to interpolate."""
    neighbours = min(NEIGHBOURS, int(np.bincount(y).min()) - 1)
    if neighbours < 1:
        return X, y
    balanced = SMOTE(k_neighbors=neighbours, random_state=seed).fit_resample(X, y)
    return balanced[0], balanced[1]
