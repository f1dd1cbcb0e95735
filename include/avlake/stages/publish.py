"""Publish: show the lake's silver, gold and ops in the warehouse."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from avlake import warehouse
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.record import record
from avlake.tables import CORE, RUNS


@dataclass(frozen=True)
class PublishReport:
    changed: bool
    warehouse: str
    tables: dict[str, int]  # rows by table; empty when nothing changed
    left_out: tuple[str, ...]  # tables above AVLAKE_WAREHOUSE_MAX_ROWS


def publish(settings: Settings, *, run_id: str) -> PublishReport:
    """Copy every table that belongs in the warehouse, unless it shows their present versions already."""
    began, lake = time.perf_counter(), Lake.open(settings)
    # ops.runs grows with every run, this one included; alone it is no reason to publish again.
    versions = {name: lake.log_version(name) for name in lake.tables() if name != RUNS.name}
    shown = json.dumps({"max_rows": settings.warehouse_max_rows, **versions}, sort_keys=True)
    if warehouse.state(settings) == shown:
        return PublishReport(False, settings.warehouse, {}, ())
    tables, left_out, drops = {}, [], lake.drops()  # read once: every table shows the same drops
    for name in lake.tables():
        data = lake.scan(name, drops)
        if data is None or (name in CORE and not CORE[name].in_warehouse):
            continue
        if data.count_rows() > settings.warehouse_max_rows:
            left_out.append(name)
            continue
        tables[name] = data
    counts = warehouse.publish(settings, tables, shown)
    record(lake, run_id=run_id, stage="publish", seconds=time.perf_counter() - began)
    return PublishReport(True, settings.warehouse, counts, tuple(left_out))
