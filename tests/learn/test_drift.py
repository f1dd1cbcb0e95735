"""A drop of a few speakers always differs from many: only more than that is drift."""

from __future__ import annotations

import numpy as np
import pytest

from avlake.learn.drift import Drift, Reference, make_reference, measure_drift

FEATURES = tuple(f"f{i}" for i in range(20))


def speakers(
    n: int, *, shift: float = 0.0, seed: int = 0, name: str = "s"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(windows, group, class): each speaker has a voice of its own."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n), 10)
    X = rng.normal(size=(n, len(FEATURES)))[group] + rng.normal(scale=0.5, size=(len(group), len(FEATURES))) + shift
    return X.astype(np.float32), np.char.add(name, group.astype(str)), group % 2


@pytest.fixture(scope="module")
def reference() -> Reference:
    X, group, y = speakers(40)
    return make_reference(X, FEATURES, y, group)


def drift(reference: Reference, X: np.ndarray, group: np.ndarray, y: np.ndarray, **options: bool) -> Drift:
    return measure_drift(reference, "voxforge/2026-09-09", X, group, y, **options)


@pytest.mark.parametrize("seed", range(5))
def test_new_speakers_of_the_same_kind_are_no_drift(reference: Reference, seed: int) -> None:
    found = drift(reference, *speakers(8, seed=100 + seed, name="new"))
    assert found.shifted_share > 0.1  # few speakers do differ, by the convention alone
    assert found.verdict == "steady"
    assert found.new_groups == 8


def test_another_microphone_is_drift(reference: Reference) -> None:
    found = drift(reference, *speakers(8, shift=2.0, seed=1, name="new"))
    assert found.verdict == "retrain"
    assert found.most_shifted[0][1] > 0.25


def test_missing_labels_are_said(reference: Reference) -> None:
    X, group, y = speakers(8, seed=2, name="new")
    found = drift(reference, X, group, np.where(np.arange(len(y)) % 2, -1, y))
    assert (found.verdict, found.unknown_rate) == ("watch", 0.5)


def test_one_sided_classes_are_said(reference: Reference) -> None:
    X, group, y = speakers(8, seed=3, name="new")
    found = drift(reference, X, group, np.ones_like(y))
    assert (found.verdict, found.class_share) == ("watch", 1.0)


def test_a_drop_trained_on_is_never_a_reason_to_train(reference: Reference) -> None:
    assert drift(reference, *speakers(8, shift=2.0), trained_on=True).verdict == "steady"


def test_a_reference_survives_saving(reference: Reference) -> None:
    X, group, y = speakers(8, shift=0.5, seed=4)
    assert drift(Reference.from_bytes(reference.to_bytes()), X, group, y) == drift(reference, X, group, y)
