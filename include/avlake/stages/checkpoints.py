"""Checkpoints: the models that a training left, or somebody brought, as one safetensors file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from avlake.errors import RequestError, WorkError
from avlake.lake import Lake
from avlake.learn.base import FaceLearner, FaceModel, Measured, learner_of
from avlake.pipelines import get_pipeline
from avlake.stages.train import load_model
from avlake.storage import Store, open_store

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Found:
    """Models by name, and why others of a folder are none; a checkpoint's name is its path in that folder."""

    models: Mapping[str, FaceModel]
    refused: Mapping[str, str] = field(default_factory=dict)


def face_learner(pipeline: str) -> FaceLearner:
    """The learner of a pipeline whose models judge faces.

    Raises:
        RequestError: if they do not.
    """
    learner = learner_of(get_pipeline(pipeline).learner)
    if not isinstance(learner, FaceLearner):
        raise RequestError(f"{pipeline} has no model that judges faces, and no checkpoints")
    return learner


def find(lake: Lake, pipeline: str, where: str | None, measured: Mapping[str, Measured]) -> Found:
    """The model in charge, by the name of its run; or a checkpoint; or all of a folder and those below it.

    Args:
        where: a path or URI of a safetensors file or of a folder.
        measured: how that was measured which the models are to judge.

    Raises:
        RequestError: if there is none.
        WorkError: if none can be used, with the reason: it is damaged, of another network, or learned from other
            numbers.
    """
    if where is None:
        chosen, model = load_model(lake.store, pipeline)
        assert isinstance(model, FaceModel)
        _check(model, measured, "the model in charge")
        return Found({chosen.run_id: model})
    learner, models, refused = face_learner(pipeline), dict[str, FaceModel](), dict[str, str]()
    store, names = _places(where)
    for name in names:
        uri = store.uri_of(name)
        try:
            model = learner.checkpoint(store.read(name), uri)
            _check(model, measured, uri)
        except WorkError as error:
            refused[name.removesuffix(SUFFIX)] = str(error)
        else:
            models[name.removesuffix(SUFFIX)] = model
    if not models:
        raise WorkError("; ".join(refused.values()))
    return Found(models, refused)


def _places(where: str) -> tuple[Store, list[str]]:
    """A store, and the names of the checkpoints in it."""
    if where.endswith(SUFFIX):
        folder, _, name = where.rpartition("/")
        store = open_store(folder or ("/" if where.startswith("/") else "."), setting="--checkpoint")
        if store.exists(name):
            return store, [name]
        raise RequestError(f"--checkpoint {where}: no such file")
    store = open_store(where.rstrip("/") or "/", setting="--checkpoint")
    names = [name for name in store.list() if name.endswith(SUFFIX)]
    if not names:
        raise RequestError(f"--checkpoint {where}: no {SUFFIX} file, and no folder with one")
    return store, names


def _check(model: FaceModel, measured: Mapping[str, Measured], name: str) -> None:
    """Raises:
    WorkError: if it learned from what was measured otherwise.
    """
    for extractor, here in measured.items():
        learned = model.measured.get(extractor)
        if learned is None or learned.params_hash != here.params_hash:
            of = "nothing" if learned is None else f"version and parameters {learned.params_hash}"
            raise WorkError(
                f"{name} learned from {extractor} of {of}, the lake has {here.params_hash}: "
                "evaluate it on a lake measured as its own, or train again"
            )
