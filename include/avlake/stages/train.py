"""Train: fit a pipeline's learner on gold, by SQL over the warehouse, once per (gold content, code, parameters)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from avlake import warehouse
from avlake.errors import RequestError, WorkError
from avlake.extractors import base as extractors
from avlake.lake import Lake
from avlake.learn import artifacts
from avlake.learn.artifacts import Chosen
from avlake.learn.base import (
    VERDICT,
    FileModel,
    Learner,
    Measured,
    Model,
    Place,
    Progress,
    Trained,
    learner_of,
    silent,
)
from avlake.learn.data_card import data_card, describe
from avlake.learn.frame import content_hash
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages import thresholds as decided
from avlake.stages.record import record
from avlake.stages.takedowns import Excluded, excluded
from avlake.storage import Store
from avlake.tables import MODEL_RUNS

if TYPE_CHECKING:
    import duckdb

WORKSHOP = "_training"  # where a training notes what it would not do again after a kill
ROWS_AT_ONCE = 64  # of a table with bytes


@dataclass(frozen=True)
class TrainReport:
    """What a training did; `metrics` are the headline figures, all of them on what was held out."""

    changed: bool
    run_id: str  # of the training that made the model in charge
    model: str
    model_uri: str
    metrics: dict[str, float] = field(default_factory=dict)
    words: tuple[str, ...] = ()  # the verdict of a learner that leaves one


def train(settings: Settings, *, pipeline: str, run_id: str, progress: Progress | None = None) -> TrainReport:
    """Compare, choose, fit, save; does nothing where gold, code and parameters are those of the model in charge.

    The files come first, then what the model says of everything, then the rows of gold.model_runs, then `chosen.json`:
    killed at any point and run again, it ends in the same state.

    Raises:
        RequestError: for an unknown pipeline or an unpublished warehouse.
        WorkError: where gold holds too little to learn from.
    """
    began, chosen_pipeline = time.perf_counter(), get_pipeline(pipeline)
    learner, finds = learner_of(chosen_pipeline.learner), chosen_pipeline.finds
    lake = Lake.open(settings)
    out = excluded(lake)
    found_version = lake.table_version(finds) if finds else 0  # read before what it protects
    con = warehouse.connect(settings)
    try:
        measured = measured_by(con, lake.store, learner)
        gold_version = content_hash(con, learner.table)
        beside = [content_hash(con, name) for name in learner.also_reads if name in warehouse.tables(con)]
        options = decided.current(lake, chosen_pipeline)
        key = _key(pipeline, learner, measured, options.for_training(), gold_version, *beside)
        before = artifacts.find_chosen(lake.store, pipeline)
        if before is not None and before.key == key:
            return _report(lake.store, before, changed=False)
        drift = _drift_since(con, lake.store, learner, before)
        place = Place(_Silver(lake, out), lake.store, f"{WORKSHOP}/{pipeline}/{key[:16]}", options)
        trained = learner.train(con, measured, progress or silent, place)
        facts = describe(con, learner.table, taken_down=str(out))
    finally:
        con.close()
    folder = artifacts.model_folder(pipeline, run_id)
    files = trained.files | {"drift.json": artifacts.to_json(drift), "data_card.md": data_card(facts).encode()}
    artifacts.write_files(lake.store, folder, files)
    if finds is not None and trained.found is not None:
        lake.replace_table(finds, [_of_run(trained.found, run_id)], expected_version=found_version)
    rows = _model_runs(trained, pipeline, run_id, gold_version, lake.store.uri_of(folder))
    lake.append(learner.results, rows, once=f"{pipeline}/{run_id}")
    chosen = Chosen(run_id, key, trained.model, gold_version, folder)
    artifacts.choose(lake.store, pipeline, chosen)
    for note in lake.store.list(place.folder):
        lake.store.delete(note)
    total = facts["total"]
    took = {"seconds": time.perf_counter() - began, "files": total["recordings"], "media_s": total["media_s"]}
    record(lake, run_id=run_id, stage="train", pipeline=pipeline, **took)
    return _report(lake.store, chosen, changed=True)


class _Silver:
    """The lake's tables without what was taken down."""

    def __init__(self, lake: Lake, out: Excluded) -> None:
        self._lake, self._out = lake, out

    def rows(self, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        data = self._lake.scan(name)
        if data is not None:
            left = self._out.without(data)
            yield from left.to_batches(columns=list(columns), batch_size=ROWS_AT_ONCE, batch_readahead=1)


def measured_by(con: duckdb.DuckDBPyConnection, store: Store, learner: Learner) -> dict[str, Measured]:
    """With which parameters the rows of gold were measured, by extractor: a model must see new files through the same.

    Raises:
        WorkError: if they were measured in different ways, or in a way this installation does not know.
    """
    return {name: _measured_by(con, store, learner.table, name) for name in learner.extractors}


def _measured_by(con: duckdb.DuckDBPyConnection, store: Store, table: str, name: str) -> Measured:
    query = f"""SELECT DISTINCT split_part(params_hash, ':', 1) FROM ops.extractions  -- without the annotation's part
        WHERE extractor = ? AND status = 'ok' AND file_id IN (SELECT file_id FROM {table}) ORDER BY ALL"""
    measured_here = "ops.extractions" in warehouse.tables(con)  # clips may all have been scored elsewhere
    found = con.execute(query, [name]).fetchall() if measured_here else []
    if len(found) > 1:
        raise WorkError(f"{table} mixes {len(found)} versions or parameters of {name}: run all drops again with one")
    kind = extractors.load(name)
    default = kind()
    if not found or found[0][0] == default.params_hash:
        return Measured(name, default.params.model_dump(mode="json"), default.params_hash)
    params_hash = found[0][0]
    recorded = f"params/{name}/{params_hash}.json"
    if store.exists(recorded):
        params = json.loads(store.read(recorded))
        if kind(kind.Params(**params)).params_hash == params_hash:
            return Measured(name, params, params_hash)
    raise WorkError(f"{table} was measured by another version of {name} ({params_hash}): run its drops again")


def load_model(store: Store, pipeline: str) -> tuple[Chosen, Model]:
    """The model in charge of a pipeline, checked against the extractors of this installation.

    Raises:
        RequestError: if nothing has been trained, or the pipeline trains no model that judges files.
        WorkError: if its files are damaged or untrusted, or it expects another version of its extractor.
    """
    learner = learner_of(get_pipeline(pipeline).learner)
    if not learner.predicts:
        raise RequestError(f"{pipeline} has no model that judges files: its decisions are in {learner.table}")
    chosen = artifacts.get_chosen(store, pipeline)
    model = learner.load(artifacts.read_files(store, chosen.folder))
    for name, measured in model.measured.items():
        kind = extractors.load(name)
        here = kind(kind.Params(**measured.params)).params_hash
        if here != measured.params_hash:
            raise WorkError(
                f"the model of {pipeline} learned from {name} {measured.params_hash}, here it is {here}: "
                f"run its drops and `avlake train {pipeline}` again"
            )
    return chosen, model


def load_file_model(store: Store, pipeline: str) -> FileModel:
    """The model in charge of a pipeline whose models say one thing of a file.

    Raises:
        RequestError: as `load_model` does, or if it judges faces.
        WorkError: as `load_model` does.
    """
    model = load_model(store, pipeline)[1]
    if not isinstance(model, FileModel):
        raise RequestError(f"the model of {pipeline} judges faces, and says nothing of a file")
    return model


def _key(
    pipeline: str, learner: Learner, measured: Mapping[str, Measured], options: Mapping[str, Any], *contents: str
) -> str:
    identity = [pipeline, learner.identity(), [one.params_hash for one in measured.values()], *contents]
    if options:
        identity.append(dict(options))
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _drift_since(
    con: duckdb.DuckDBPyConnection, store: Store, learner: Learner, before: Chosen | None
) -> list[dict[str, Any]]:
    """How the drops that have come since look to the model trained without them; empty where there is none to ask."""
    if before is None or not learner.predicts:
        return []
    try:
        model = learner.load(artifacts.read_files(store, before.folder))
        return [asdict(d) for d in model.drift(con) if d.drop not in model.drops]
    except (WorkError, KeyError):  # an older model's files or features: no reason not to train a new one
        return []


def _model_runs(trained: Trained, pipeline: str, run_id: str, gold_version: str, uri: str) -> pa.Table:
    now = datetime.now(UTC)
    same = {
        "run_id": run_id,
        "pipeline": pipeline,
        "gold_version": gold_version,
        "artifact_uri": uri,
        "created_at": now,
    }
    settings = json.dumps(trained.settings, sort_keys=True)
    rows = [{**asdict(s), **same, "params": settings if s.model == trained.model else None} for s in trained.scores]
    return pa.Table.from_pylist(rows, schema=MODEL_RUNS.schema)  # every table of results has the same


def _of_run(found: pa.Table, run_id: str) -> pa.Table:
    """What a model says, with the run that trained it."""
    return found.set_column(
        found.schema.get_field_index("run_id"), "run_id", pa.array([run_id] * len(found), pa.string())
    )


def _report(store: Store, chosen: Chosen, *, changed: bool) -> TrainReport:
    table = json.loads(store.read(f"{chosen.folder}/metrics.json"))
    metrics = headline(table, chosen.model)
    verdict = f"{chosen.folder}/{VERDICT}"
    words = json.loads(store.read(verdict))["words"] if store.exists(verdict) else ()
    return TrainReport(changed, chosen.run_id, chosen.model, store.uri_of(chosen.folder), metrics, tuple(words))


def headline(table: Sequence[dict[str, Any]], model: str) -> dict[str, float]:
    """What the chosen model reached on what was held out.

    Of two classes, its balanced accuracy and ROC-AUC per window, file and speaker; of a comparison, each arm's accuracy
    and the differences; of outros, macro-F1 of segments and the shares of outros found and invented; of faces, average
    precision on videos not seen before, and on talkers not seen before where those are known.
    """
    held_out = {s["metric"]: s["value"] for s in table if s["model"] == model and s["split"] in ("cv", "test")}
    wanted = [
        f"{level}_{metric}" for metric in ("balanced_accuracy", "roc_auc") for level in ("window", "file", "speaker")
    ]
    wanted += [f"accuracy_{arm}" for arm in ("all", "kept", "random", "kept_minus_all", "kept_minus_random")]
    wanted += ["segment_macro_f1", "kinds_macro_f1", "outro_within_2_s", "outro_invented", "outro_median_error_s"]
    strangers = {s["metric"]: s["value"] for s in table if s["model"] == model and s["split"] == "cv_unseen_talkers"}
    faces = {"average_precision": held_out, "average_precision_unseen_talkers": strangers}
    found = {name: held_out[name] for name in wanted if name in held_out}
    return found | {name: of["average_precision"] for name, of in faces.items() if "average_precision" in of}
