"""Quarantine: the files that could not be read or measured, and how they get another chance."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from avlake.lake import Lake
from avlake.tables import EXTRACTIONS

COLUMNS = ("path", "stage", "error_class", "error", "dataset", "drop_date")
REQUEUED = "requeued"  # a params_hash that nothing has, so the measurement counts as missing


def listed(lake: Lake) -> list[tuple[str, ...]]:
    """One row per file and failure, in the order of `COLUMNS`."""
    found = lake.scan(EXTRACTIONS.name)
    if found is None:
        return []
    rows = found.to_table(filter=pc.field("status") == "quarantined").to_pylist()
    return sorted(tuple(r["extractor" if name == "stage" else name] for name in COLUMNS) for r in rows)


def requeue(lake: Lake) -> int:
    """Make the next run measure every quarantined file again; returns their number. They stay listed until then."""
    files = set()
    for dataset, drop in lake.drops():
        version = lake.drop_version(EXTRACTIONS, dataset, drop)
        rows = lake.rows(EXTRACTIONS, dataset, drop)
        failed = pc.equal(rows["status"], "quarantined")
        if not pc.any(failed).as_py():
            continue
        files |= set(rows.filter(failed)["file_id"].to_pylist())
        hashes = pc.if_else(failed, pa.scalar(REQUEUED), rows["params_hash"])
        changed = rows.set_column(rows.schema.get_field_index("params_hash"), "params_hash", hashes)
        fragment = lake.write_fragment(EXTRACTIONS, dataset, drop, [changed])
        lake.commit_drop(EXTRACTIONS, dataset, drop, [fragment], expected_version=version)
    return len(files)
