"""Scaling, oversampling and feature selection see training windows only."""

from __future__ import annotations

import numpy as np
import pytest

from avlake.learn.preparation import prepare

N, FEATURES = 120, 30


@pytest.fixture(scope="module")
def training() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = (np.arange(N) % 4 == 0).astype(int)
    X = rng.normal(loc=100, scale=5, size=(N, FEATURES))
    X[:, 7] += 20 * y
    X[:, 20] -= 20 * y
    return X.astype(np.float32), y


def test_the_telling_features_stay_and_the_classes_are_balanced(training: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = training
    ready = prepare(X, y, offered=np.arange(FEATURES), n_features=5, step=4, seed=0)
    assert len(ready.kept) == 5
    assert {7, 20} <= set(ready.kept)
    assert (ready.ranking == 1).sum() == 5
    assert np.bincount(ready.y).tolist() == [90, 90]
    assert ready.X.shape == (180, 5)


def test_training_windows_come_back_as_prepared(training: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = training
    ready = prepare(X, y, offered=np.arange(FEATURES), n_features=5, step=4, seed=0)
    assert np.allclose(ready.transform(X), ready.X[:N], atol=1e-5)


def test_features_not_offered_are_not_ranked(training: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = training
    ready = prepare(X, y, offered=np.arange(10, FEATURES), n_features=60, step=5, seed=0)
    assert ready.kept.tolist() == list(range(10, FEATURES))
    assert set(ready.ranking[:10]) == {0}


def test_a_class_of_one_window_is_not_oversampled(training: tuple[np.ndarray, np.ndarray]) -> None:
    X, _ = training
    y = np.zeros(N, dtype=int)
    y[0] = 1
    ready = prepare(X, y, offered=np.arange(FEATURES), n_features=60, step=5, seed=0)
    assert np.bincount(ready.y).tolist() == [N - 1, 1]
