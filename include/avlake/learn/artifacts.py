"""Saved models: a folder per training, and `chosen.json` beside it naming the one that predicts. No pickle anywhere.

models/<pipeline>/<run_id>/   whatever the learner leaves: model.skops, features.json, metrics.json, card.md, ...
models/<pipeline>/chosen.json replaced last, so a killed training never leaves a half model in charge
"""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sklearn.base import BaseEstimator

from avlake.errors import RequestError, WorkError
from avlake.storage import Store

# Beyond what skops trusts by itself: the compiled trees, and the calibration of the SVM.
TRUSTED = frozenset(
    {
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
    }
)


@dataclass(frozen=True)
class Chosen:
    """The model in charge of a pipeline; `key` is what it was trained from (see stages.train)."""

    run_id: str
    key: str
    model: str
    gold_version: str
    folder: str


def model_folder(pipeline: str, run_id: str) -> str:
    """Where a training leaves its files; a run id is made safe to be a folder's name."""
    return f"models/{pipeline}/{safe_name(run_id)}"


def safe_name(run_id: str) -> str:
    return re.sub(r"[^\w.:+-]", "_", run_id).strip(".") or "_"


def write_files(store: Store, folder: str, files: Mapping[str, bytes]) -> None:
    for name, data in sorted(files.items()):
        store.write(f"{folder}/{name}", data)


def read_files(store: Store, folder: str) -> dict[str, bytes]:
    """Everything a training left, by name."""
    return {name.removeprefix(f"{folder}/"): store.read(name) for name in store.list(folder)}


def choose(store: Store, pipeline: str, chosen: Chosen) -> None:
    store.write(f"models/{pipeline}/chosen.json", to_json(asdict(chosen)))


def find_chosen(store: Store, pipeline: str) -> Chosen | None:
    """The model in charge, if any."""
    name = f"models/{pipeline}/chosen.json"
    if not store.exists(name):
        return None
    try:
        return Chosen(**json.loads(store.read(name)))
    except (ValueError, TypeError) as error:
        raise WorkError(f"{store.uri_of(name)} is damaged ({error}); train {pipeline} again") from None


def get_chosen(store: Store, pipeline: str) -> Chosen:
    """The model in charge.

    Raises:
        RequestError: if nothing has been trained.
    """
    chosen = find_chosen(store, pipeline)
    if chosen is None:
        raise RequestError(f"no model of {pipeline} in {store.uri_of('models')}; run `avlake train {pipeline}` first")
    return chosen


def to_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()


def dump_estimator(estimator: BaseEstimator) -> bytes:
    """A fitted scikit-learn estimator as skops bytes."""
    with _skops() as io:
        return io.dumps(estimator, compression=zipfile.ZIP_DEFLATED)


def load_estimator(data: bytes, source: str) -> BaseEstimator:
    """A fitted estimator from skops bytes, if it is made of trusted types only.

    Raises:
        WorkError: naming the types that are not trusted, or saying that the bytes are no model.
    """
    try:
        with _skops() as io:
            if strange := sorted(set(io.get_untrusted_types(data=data)) - TRUSTED):
                types = ", ".join(strange)
                raise WorkError(f"{source} holds untrusted types, so it was not loaded: {types}; train again")
            return io.loads(data, trusted=sorted(TRUSTED))
    except WorkError:
        raise
    except Exception as error:  # skops raises whatever its parts raise on damaged bytes
        raise WorkError(f"{source} cannot be read as a model ({type(error).__name__}: {error}); train again") from None


@contextmanager
def _skops() -> Iterator[Any]:
    """skops.io, loaded where it is used: it looks into every module there is, and Airflow's warn of each old name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import skops.io

        yield skops.io
