"""The thresholds a pipeline decides by, as governance.thresholds records them: the latest row counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from avlake.lake import Lake
from avlake.pipelines import Pipeline, Thresholds
from avlake.tables import THRESHOLDS

UNSIGNED = "avlake"  # nobody in particular


def current(lake: Lake, pipeline: Pipeline, given: dict[str, Any] | None = None) -> Thresholds:
    """The recorded ones with those given instead; the defaults for the rest.

    Raises:
        RequestError: for a threshold that the pipeline does not have, or a value that cannot be.
    """
    return pipeline.decided(_recorded(lake, pipeline.name) | (given or {}))


def adopt(lake: Lake, pipeline: Pipeline, given: dict[str, Any] | None, *, who: str, run_id: str) -> Thresholds:
    """The same; those given are recorded, and hold until others are: if they change anything, or if a person signs."""
    chosen = current(lake, pipeline, given)
    values = chosen.model_dump(mode="json")
    if given is not None and (who != UNSIGNED or values != _recorded(lake, pipeline.name)):
        now = datetime.now(UTC)
        row = {"pipeline": pipeline.name, "values": json.dumps(values, sort_keys=True), "who": who, "when": now}
        lake.append(THRESHOLDS, pa.Table.from_pylist([row], schema=THRESHOLDS.schema), once=f"{run_id}/{pipeline.name}")
    return chosen


def _recorded(lake: Lake, pipeline: str) -> dict[str, Any]:
    data = lake.scan(THRESHOLDS.name)
    rows = [] if data is None else [row for row in data.to_table().to_pylist() if row["pipeline"] == pipeline]
    return dict(json.loads(max(rows, key=lambda row: row["when"])["values"])) if rows else {}
