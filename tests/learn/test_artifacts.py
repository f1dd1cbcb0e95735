"""A saved model is loaded as it was, or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from avlake.errors import RequestError, WorkError
from avlake.learn import artifacts
from avlake.learn.artifacts import Chosen
from avlake.learn.candidates import CANDIDATES, Candidate
from avlake.storage import Store, open_store


class Stranger(BaseEstimator):
    """Not one of ours."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "lake"))


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.name)
def test_every_kind_of_model_survives_saving(candidate: Candidate) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6))
    y = (X[:, 0] + 0.3 * rng.normal(size=80) > 0).astype(int)
    for settings in candidate.grid:
        model = Pipeline([("scale", StandardScaler()), ("classify", candidate.build(0, **settings))]).fit(X, y)
        loaded = artifacts.load_estimator(artifacts.dump_estimator(model), "model.skops")
        assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("model", [Stranger(), FunctionTransformer(print)], ids=["class", "function"])
def test_untrusted_types_are_named_and_not_loaded(model: BaseEstimator) -> None:
    with pytest.raises(WorkError, match=r"untrusted types, so it was not loaded: .*(Stranger|print)"):
        artifacts.load_estimator(artifacts.dump_estimator(model), "model.skops")


@pytest.mark.parametrize("data", [b"", b"not a model", pickle.dumps({"a": 1})], ids=["empty", "text", "pickle"])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(WorkError, match=r"model\.skops cannot be read as a model"):
        artifacts.load_estimator(data, "model.skops")


def test_chosen_comes_back(store: Store) -> None:
    chosen = Chosen("run", "key", "svm", "gold", "models/p/run")
    assert artifacts.find_chosen(store, "p") is None
    artifacts.choose(store, "p", chosen)
    assert artifacts.find_chosen(store, "p") == chosen


def test_no_model_says_what_to_run(store: Store) -> None:
    with pytest.raises(RequestError, match="avlake train p"):
        artifacts.get_chosen(store, "p")


def test_a_damaged_choice_says_so(store: Store) -> None:
    store.write("models/p/chosen.json", b'{"run_id": 1}')
    with pytest.raises(WorkError, match="damaged"):
        artifacts.find_chosen(store, "p")


@pytest.mark.parametrize("run_id", ["manual__2026-09-01T00:00:00+00:00", "../../etc", "a/b", "..", ""])
def test_a_run_id_is_one_folder_below_models(run_id: str) -> None:
    parts = artifacts.model_folder("p", run_id).split("/")
    assert parts[:2] == ["models", "p"]
    assert len(parts) == 3 and parts[2] not in ("", ".", "..")
