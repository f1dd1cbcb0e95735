"""Publish: show the lake's silver, gold and ops in the warehouse."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as ds

from avlake import warehouse
from avlake.delivery import WHOLE, Delivery, Incoming
from avlake.extractors import base
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.record import record
from avlake.stages.takedowns import Excluded, excluded
from avlake.tables import BRONZE_FILES, CORE, PARTITION


@dataclass(frozen=True)
class PublishReport:
    changed: bool
    warehouse: str
    tables: dict[str, int]  # rows by table; empty when nothing changed
    left_out: tuple[str, ...]  # tables above AVLAKE_WAREHOUSE_MAX_ROWS


def publish(settings: Settings, *, run_id: str) -> PublishReport:
    """Copy every table that belongs in the warehouse, less what was taken down; nothing where it shows that already."""
    began, lake = time.perf_counter(), Lake.open(settings)
    left_out: list[str] = []
    counts = warehouse.publish(settings, lambda: deliver(lake, settings.warehouse_max_rows, left_out.append))
    if counts is None:
        return PublishReport(False, settings.warehouse, {}, ())
    facts = {"files": counts.get(BRONZE_FILES.name), "bytes": warehouse.size_bytes(settings), "errors": 0}
    record(lake, run_id=run_id, stage="publish", seconds=time.perf_counter() - began, **facts)
    return PublishReport(True, settings.warehouse, counts, tuple(left_out))


def deliver(lake: Lake, max_rows: int, left_out: Callable[[str], None] = lambda name: None) -> Delivery:
    """What the warehouse is to hold of the lake as it is now; `left_out` is told of tables with more rows."""
    drops = lake.drops()  # read once: every table shows the same drops
    out, tables = excluded(lake, drops), {}
    known = CORE | {e.table.name: e.table for e in base.all_extractors().values()}
    for name in lake.tables():
        data = lake.scan(name, drops)
        if data is None or (name in known and not known[name].in_warehouse):
            continue
        if data.count_rows() > max_rows:
            left_out(name)
        else:
            tables[name] = incoming(data, out)
    return Delivery(tables, out.mark())


def incoming(data: ds.FileSystemDataset, out: Excluded) -> Incoming:
    """A table for the warehouse, but for columns of bytes, which SQL does not read: they stay in the lake.

    No two files share a name and none ever changes: names say what a slice holds.
    """
    schema = data.schema
    for field in filter(_is_bytes, data.schema):
        schema = schema.remove(schema.get_field_index(field.name))
    files: dict[str, list[ds.Fragment]] = {}
    for fragment in data.get_fragments():
        keys = ds.get_partition_keys(fragment.partition_expression)
        files.setdefault("/".join(keys[name] for name in PARTITION) if keys else WHOLE, []).append(fragment)
    if not files:
        files[WHOLE] = []  # it is shown all the same, empty
    by_file = not {"file_id", "item"}.isdisjoint(schema.names)

    def fingerprint(part: str) -> str:
        held = sorted(fragment.path.rpartition("/")[2] for fragment in files[part])
        gone = out.mark(part or None) if by_file else ""
        return hashlib.sha256("\n".join([str(schema), gone, *held]).encode()).hexdigest()[:16]

    def rows(parts: Collection[str]) -> ds.Dataset:
        held = [fragment for part in parts for fragment in files[part]]
        return out.without(ds.FileSystemDataset(held, schema, data.format, data.filesystem))

    return Incoming({part: fingerprint(part) for part in files}, rows)


def _is_bytes(field: pa.Field) -> bool:
    return any(test(field.type) for test in (pa.types.is_binary, pa.types.is_large_binary))
