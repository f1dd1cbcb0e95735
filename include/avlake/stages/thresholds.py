"""The thresholds a pipeline decides by, as governance.thresholds records them: the latest row counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from avlake.lake import Lake
from avlake.pipelines import Pipeline
from avlake.tables import THRESHOLDS
from avlake.thresholds import Sampling, Thresholds

UNSIGNED = "avlake"  # nobody in particular


def current(lake: Lake, pipeline: Pipeline, given: dict[str, Any] | None = None) -> Thresholds:
    """The recorded ones with those given instead; the defaults for the rest.

    Raises:
        RequestError: for a threshold that the pipeline does not have, or a value that cannot be.
    """
    return pipeline.decided(_recorded(lake, pipeline) | (given or {}))


def adopt(lake: Lake, pipeline: Pipeline, given: dict[str, Any], *, who: str, run_id: str) -> Thresholds:
    """The same; those given are recorded, and hold until others are."""
    chosen = current(lake, pipeline, given)
    keep(lake, pipeline, chosen, who=who, run_id=run_id)
    return chosen


def keep(lake: Lake, pipeline: Pipeline, chosen: Thresholds, *, who: str, run_id: str) -> bool:
    """Record these, if they are others than before or a person signs; returns whether they are others.

    What is said of one run alone is not recorded.
    """
    values = _lasting(pipeline, chosen.model_dump(mode="json"))
    others = values != _lasting(pipeline, pipeline.decided().model_dump(mode="json")) | _recorded(lake, pipeline)
    if others or who != UNSIGNED:
        now = datetime.now(UTC)
        row = {"pipeline": pipeline.name, "values": json.dumps(values, sort_keys=True), "who": who, "when": now}
        lake.append(THRESHOLDS, pa.Table.from_pylist([row], schema=THRESHOLDS.schema), once=f"{run_id}/{pipeline.name}")
    return others


def in_words(lake: Lake, pipeline: Pipeline, given: dict[str, Any] | None = None) -> str:
    """What decides, in one line: every threshold, and of the sampling what somebody chose.

    What is not the default has that beside it, and where this run was not told, the day since when it is remembered.
    """
    values, defaults = (made.model_dump(mode="json") for made in (current(lake, pipeline, given), pipeline.decided()))
    rows, said = _rows(lake, pipeline), []
    for name, value in values.items():
        if value != defaults[name]:
            told = [f"default {_shown(defaults[name])}"]
            if name not in (given or {}):
                told.insert(0, f"remembered from {_since(rows, name):%Y-%m-%d}")
            said.append(f"{name} {_shown(value)} ({', '.join(told)})")
        elif name not in Sampling.model_fields:
            said.append(f"{name} {_shown(value)}")
    return ", ".join(said)


def _since(rows: list[dict[str, Any]], name: str) -> datetime:
    """When a threshold was given the value that the newest row has, the first time in a row."""
    value, since = rows[0]["values"].get(name), rows[0]["when"]
    for row in rows:
        if row["values"].get(name) != value:
            break
        since = row["when"]
    return since


def _shown(value: Any) -> str:
    return "none" if value is None else str(value).lower().removesuffix(".0")


def _recorded(lake: Lake, pipeline: Pipeline) -> dict[str, Any]:
    rows = _rows(lake, pipeline)
    return _lasting(pipeline, rows[0]["values"]) if rows else {}


def _lasting(pipeline: Pipeline, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in pipeline.thresholds.for_one_run}


def _rows(lake: Lake, pipeline: Pipeline) -> list[dict[str, Any]]:
    """What was recorded, `values` as a dict; the newest first."""
    data = lake.scan(THRESHOLDS.name)
    rows = [] if data is None else [row for row in data.to_table().to_pylist() if row["pipeline"] == pipeline.name]
    return sorted(({**row, "values": json.loads(row["values"])} for row in rows), key=lambda r: r["when"], reverse=True)
