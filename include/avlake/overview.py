"""What a newcomer asks first: the pipelines, what the lake holds, and the next step."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.compute as pc

from avlake.lake import Lake
from avlake.pipelines import PIPELINES
from avlake.settings import Settings
from avlake.stages import human
from avlake.stages.curate import GoldSql
from avlake.tables import BRONZE_FILES, CORE, CURATION_IMPACT, HUMAN_LABELS, MODEL_RUNS

TABLE_COLUMNS = ("table", "rows", "drops", "what")
SHOWN = 5  # drops
MODEL_COLUMNS = ("pipeline", "run_id", "chosen", "uri")


def text(settings: Settings) -> str:
    """The answer to `avlake` alone."""
    lake = Lake.open(settings)
    lines = ["Pipelines"]
    lines += [f"  {p.name:18} {p.dataset.name:10} {p.doc}" for p in PIPELINES.values()]
    lines += ["", f"Lake  {settings.uri}"]
    lines += [
        f"  {name:24} {rows:>10} rows" + (f"  {drops:>4} drops" if drops else "")
        for name, rows, drops, _ in tables(lake)
    ] or ["  empty"]
    lines += ["", f"Next  {_next_step(lake)}"]
    return "\n".join(lines)


def tables(lake: Lake) -> list[tuple[str, int, int | None, str]]:
    """Every table that exists: name, rows, drops (None where it is one whole), what a row is."""
    found: list[tuple[str, int, int | None, str]] = []
    for name in lake.tables():
        data = lake.scan(name)
        found.append((name, data.count_rows() if data else 0, len(lake.drops(name)) or None, _doc(name)))
    return found


def models(lake: Lake) -> list[tuple[str, str, bool, str]]:
    """Every trained model: pipeline, run, whether it is the one that predicts, where it lies; newest first."""
    found = []
    for name in lake.store.list("models"):
        parts = name.split("/")
        if len(parts) == 4 and parts[-1] == "metrics.json":
            _, pipeline, run_id, _ = parts
            in_charge = chosen(lake, pipeline).get("run_id") == run_id
            found.append((pipeline, run_id, in_charge, lake.store.uri_of(name.rpartition("/")[0])))
    return sorted(found, key=lambda row: (row[0], row[1]), reverse=True)


def chosen(lake: Lake, pipeline: str) -> dict[str, Any]:
    """What `chosen.json` says of the training in charge; empty where there is none."""
    name = f"models/{pipeline}/chosen.json"
    return dict(json.loads(lake.store.read(name))) if lake.store.exists(name) else {}


def _next_step(lake: Lake) -> str:
    """Of the pipelines that have drops, the first that is not through; where none has any, how to begin."""
    measured, delivered = set(lake.drops()), set(lake.drops(BRONZE_FILES.name))
    held = {dataset for dataset, _ in delivered}
    begun = [pipeline for pipeline in PIPELINES.values() if pipeline.dataset.name in held]
    if not begun:
        steps = (
            f"avlake run {p.name} --source FOLDER  # with FOLDER/{p.dataset.name}/YYYY-MM-DD/..."
            for p in PIPELINES.values()
        )
        return "\n      ".join(steps)
    for pipeline in begun:
        waiting = sorted(drop for dataset, drop in delivered - measured if dataset == pipeline.dataset.name)
        if waiting:
            return f"avlake run {pipeline.name} --source FOLDER  # not measured yet: {', '.join(waiting[:SHOWN])}"
        if lake.log_version(f"gold.{pipeline.gold[-1]}") is None:
            return f"avlake run {pipeline.name} --source FOLDER  # measured, and no gold made of it yet"
        if not chosen(lake, pipeline.name):
            return f"avlake train {pipeline.name}"
        if not pipeline.labels:
            continue
        if any(row["dataset"] == pipeline.dataset.name for row in human.inbox(lake)[0]):
            return f"avlake run {pipeline.name} --source FOLDER  # labels have come that gold does not have yet"
        if not _labelled(lake, pipeline.dataset.name):
            names = ", ".join(kind.name for kind in pipeline.labels)
            return f"avlake labels import FILE --by NAME --pipeline {pipeline.name}  # nobody has said yet: {names}"
    results = next(name for name in (MODEL_RUNS.name, CURATION_IMPACT.name) if lake.log_version(name))
    return f'avlake sql "SELECT * FROM {results} ORDER BY created_at DESC LIMIT 20"'


def _labelled(lake: Lake, dataset: str) -> bool:
    """Has anybody labelled anything of this data set?"""
    said = lake.scan(HUMAN_LABELS.name)
    return said is not None and said.count_rows(filter=pc.field("dataset") == dataset) > 0


def _doc(name: str) -> str:
    layer, table = name.split(".")
    if name in CORE:
        return CORE[name].doc
    if layer == "gold":
        return GoldSql.load(table).doc
    from avlake.extractors import base

    known = base.all_extractors()
    return known[table].table.doc if table in known else ""
