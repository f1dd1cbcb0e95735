"""What is said of features is true of them."""

from __future__ import annotations

import numpy as np
import pytest

from avlake.learn.explain import cluster_features, cohens_d, spearman


def test_monotone_copies_are_one_cluster_and_noise_is_its_own() -> None:
    rng = np.random.default_rng(0)
    a, b, noise = rng.normal(size=(3, 200))
    X = np.column_stack([a, np.exp(a), -a, b, b + 0.05 * rng.normal(size=200), noise, np.ones(200)])
    clusters = cluster_features(spearman(X)).tolist()
    assert clusters[0] == clusters[1] == clusters[2]
    assert clusters[3] == clusters[4]
    assert len(set(clusters)) == 4
    assert sorted(set(clusters)) == list(range(4))


def test_cohens_d_counts_deviations_between_means() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 5000)
    X = rng.normal(scale=3.0, size=(10_000, 2))
    X[:, 1] += 6.0 * y
    assert cohens_d(X, y) == pytest.approx([0.0, 2.0], abs=0.06)
    assert cohens_d(np.ones((10, 1)), np.repeat([0, 1], 5)).tolist() == [0.0]
