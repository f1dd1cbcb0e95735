"""The page on a model that tells two classes of voices apart: every figure of it from the run's tables and files."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from avlake.learn import artifacts, plots
from avlake.learn.answers import Findings, answer_all
from avlake.learn.card import interval
from avlake.learn.data_card import describe, records
from avlake.learn.explain import spearman
from avlake.learn.frame import content_hash, read_frame
from avlake.learn.metrics import LEVELS, Score, Scored
from avlake.pipelines import get_pipeline
from avlake.stages.pages.base import Page, html, quarantine
from avlake.stages.train import load_model

if TYPE_CHECKING:
    import duckdb

LEADING = 6
TABULAR = ("balanced_accuracy", "macro_f1", "roc_auc", "accuracy")


def render(page: Page) -> bytes:
    """The page on the model in charge."""
    pipeline, con = page.pipeline, page.con
    chosen, model = load_model(page.lake.store, pipeline)
    files = artifacts.read_files(page.lake.store, chosen.folder)
    drift = model.drift(con)
    found = _findings(pipeline, files, drift, con)
    table = get_pipeline(pipeline).gold[0]
    return html(
        "voice.html",
        pipeline=pipeline,
        doc=get_pipeline(pipeline).doc,
        chosen=chosen,
        description=found.description,
        stale=content_hash(con, f"gold.{table}") != chosen.gold_version,
        headline=[(level, interval(found.score(found.chosen, f"{level}_balanced_accuracy"))) for level in LEVELS],
        answers=answer_all(found),
        pictures={name: base64.b64encode(png).decode() for name, png in _pictures(found, con, table).items()},
        drops=_drops(con, table, found.description),
        quarantine=quarantine(con, get_pipeline(pipeline).dataset.name),
        drift=drift,
        drift_before=json.loads(files["drift.json"]),
        comparison=_comparison_table(found),
        metrics=TABULAR,
        levels=LEVELS,
        per_class=_per_class(found),
        features=found.explanation["features"],
        card=files["card.md"].decode(),
        data=describe(con, f"gold.{table}", taken_down=str(page.out)),
    )


def _findings(pipeline: str, files: Mapping[str, bytes], drift: Any, con: duckdb.DuckDBPyConnection) -> Findings:
    description = json.loads(files["features.json"])
    scores: dict[tuple[str, str], dict[str, Score]] = {}
    for record in json.loads(files["metrics.json"]):
        score = Score(**record)
        scores.setdefault((score.model, score.split), {})[score.metric] = score
    chosen_pipeline = get_pipeline(pipeline)
    table, label = f"gold.{chosen_pipeline.gold[0]}", description["label"]
    where = f"kept AND {label} IS NOT NULL"
    frame = read_frame(con, table, label=label, classes=description["classes"], group="subject_id", where=where)
    seconds = con.execute(
        f"SELECT window_end_s - window_start_s AS s FROM {table} WHERE {where} ORDER BY file_id, window_index"
    ).fetchnumpy()["s"]
    return Findings(
        description=description,
        scores=scores,
        explanation=json.loads(files["explanation.json"]),
        frame=frame,
        seconds=np.asarray(seconds, dtype=np.float64),
        held_out=_held_out(files["predictions.parquet"], description["scheme"]),
        drift=drift,
        quarantined=sum(row["files"] for row in quarantine(con, chosen_pipeline.dataset.name)),
        unknown=_count(con, f"SELECT count(*) FROM {table} WHERE {label} IS NULL"),
    )


def _held_out(data: bytes, split: str) -> dict[str, Scored]:
    """Held-out predictions by candidate, in the order they were compared: simplest first."""
    table = pq.read_table(io.BytesIO(data))
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    found = {}
    for name in dict.fromkeys(columns["model"].tolist()):
        rows = (columns["model"] == name) & (columns["split"] == split)
        found[name] = Scored(columns["p"][rows], columns["y"][rows], columns["group"][rows], columns["file_id"][rows])
    return found


def _pictures(f: Findings, con: duckdb.DuckDBPyConnection, table: str) -> dict[str, bytes]:
    classes = f.description["classes"]
    records = f.explanation["features"]
    leading = _leading(f)
    by_cluster = {r["feature"]: r["cluster"] for r in records}
    kept = sorted(f.description["features"], key=lambda name: (by_cluster[name], name))
    rows = [(name.replace("_", " "), f.scores[name, f.scheme]) for name in f.held_out]
    rows.append(("always the majority", f.scores["always_the_majority", f.scheme]))
    rows.append((f"{f.chosen.replace('_', ' ')},\nleaky split", f.scores[f.chosen, "leaky_random"]))
    return {
        "confusions": plots.confusions(f.held_out[f.chosen], classes),
        "roc": plots.roc(f.held_out, f.chosen),
        "comparison": plots.comparison(rows),
        "importance": plots.importance(f.explanation["clusters"]),
        "distributions": plots.distributions(f.frame.columns(leading), f.frame.y, leading, classes),
        "correlation": plots.correlation(spearman(f.frame.columns(kept)), kept),
        "drops": plots.drops(_drops(con, table, f.description), classes),
        "calibration": plots.calibration(f.held_out[f.chosen]),
    }


def _leading(f: Findings) -> list[str]:
    """The most telling feature of each cluster, the widest apart first: six that do not repeat each other."""
    widest: dict[int, dict[str, Any]] = {}
    for record in sorted(f.explanation["features"], key=lambda r: -abs(r["cohens_d"])):
        widest.setdefault(record["cluster"], record)
    return [record["feature"] for record in list(widest.values())[:LEADING]]


def _drops(con: duckdb.DuckDBPyConnection, table: str, description: Mapping[str, Any]) -> list[dict[str, Any]]:
    label, (first, second) = description["label"], description["classes"]
    return records(
        con,
        f"""SELECT dataset || '/' || drop_date AS "drop", count(DISTINCT file_id) AS files,
            count(DISTINCT subject_id) AS speakers, count(*) AS windows, count(*) FILTER (kept) AS kept,
            count(*) FILTER ({label} = ?) AS "{first}", count(*) FILTER ({label} = ?) AS "{second}",
            count(*) FILTER ({label} IS NULL) AS unknown
        FROM gold.{table} GROUP BY ALL ORDER BY ALL""",
        [first, second],
    )


def _comparison_table(f: Findings) -> list[tuple[str, str, str, list[str]]]:
    rows = []
    for level in LEVELS:
        for (model, split), by_metric in f.scores.items():
            shown = [by_metric.get(f"{level}_{metric}") for metric in TABULAR]
            rows.append((level, model.replace("_", " "), split, [interval(s) if s else "-" for s in shown]))
    return rows


def _per_class(f: Findings) -> list[tuple[str, list[str]]]:
    return [
        (f"{what} {name}", [interval(f.score(f.chosen, f"{level}_{what}_{name}")) for level in LEVELS])
        for what in ("precision", "recall")
        for name in f.description["classes"]
        if all(f"{level}_{what}_{name}" in f.scores[f.chosen, f.scheme] for level in LEVELS)
    ]


def _count(con: duckdb.DuckDBPyConnection, query: str) -> int:
    row = con.execute(query).fetchone()
    return int(row[0]) if row else 0
