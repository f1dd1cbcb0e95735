"""What happens to windows before a classifier sees them: scale, oversample the minority class, select features.

All of it is fitted on training windows alone, and once per training set: every candidate learns from the same.
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

    kept: Array  # (n_kept,) indices of the features kept
    ranking: Array  # (n_features,) 1 = kept; the larger, the earlier eliminated; 0 = not offered
    scaler: StandardScaler  # of the features kept
    X: Array  # (n_rows, n_kept), scaled and oversampled
    y: Array

    def transform(self, X: Array) -> Array:
        """(n, n_features) as measured -> (n, n_kept) as the classifier wants it."""
        scaled: Array = self.scaler.transform(X[:, self.kept])
        return scaled

    def fit(self, classifier: ClassifierMixin) -> ClassifierMixin:
        return classifier.fit(self.X, self.y)


def prepare(X: Array, y: Array, *, offered: Array, n_features: int, step: int, seed: int) -> Prepared:
    """Fit StandardScaler, SMOTE (Chawla et al. 2002) and RFE (Guyon et al. 2002) with a random forest, in that order.

    Args:
        X: (n_windows, n_features) training windows.
        y: (n_windows,) their classes.
        offered: indices of the features to select from.
        n_features: how many features to keep; all, where no more are offered.
        step: how many to eliminate at a time.
    """
    scaled, balanced = _oversample(StandardScaler().fit_transform(X[:, offered]), y, seed)
    ranking = np.zeros(X.shape[1], dtype=int)
    ranking[offered] = 1
    if len(offered) > n_features:
        forest = RandomForestClassifier(40, max_depth=6, n_jobs=1, random_state=seed)
        ranking[offered] = RFE(forest, n_features_to_select=n_features, step=step).fit(scaled, balanced).ranking_
    kept = np.flatnonzero(ranking == 1)
    return Prepared(kept, ranking, StandardScaler().fit(X[:, kept]), scaled[:, np.isin(offered, kept)], balanced)


def _oversample(X: Array, y: Array, seed: int) -> tuple[Array, Array]:
    """Add synthetic windows of the minority class until both are equal; none where it is too small to interpolate."""
    neighbours = min(NEIGHBOURS, int(np.bincount(y).min()) - 1)
    if neighbours < 1:
        return X, y
    balanced = SMOTE(k_neighbors=neighbours, random_state=seed).fit_resample(X, y)
    return balanced[0], balanced[1]
