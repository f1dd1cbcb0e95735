"""What the measuring of a shard gives: rows of silver and of ops.extractions, written as fragments."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa

from avlake.extractors import base
from avlake.lake import Lake
from avlake.media.sandbox import Measured
from avlake.settings import MIB
from avlake.stages.contents import store_bytes
from avlake.stages.work import Item, Output, Plan
from avlake.tables import EXTRACTIONS, Table

FLUSH_BYTES = 64 * MIB


class MeasuredRows:
    """Collects silver and ops rows; writes a fragment when a table's rows grow large, so memory stays bounded."""

    def __init__(self, lake: Lake, plan: Plan, run_id: str) -> None:
        self._lake, self._plan, self._run_id = lake, plan, run_id
        self._held: dict[str, list[pa.Table]] = defaultdict(list)
        self._tables: dict[str, Table] = {EXTRACTIONS.name: EXTRACTIONS}
        self._output = Output()

    def add(self, item: Item, extractor: str, measured: Measured) -> None:
        """What one extractor found in one file, or why it found nothing."""
        place = {"file_id": item.file_id, "dataset": self._plan.dataset, "drop_date": self._plan.drop}
        if measured.batch is not None:
            kind = base.load(extractor)
            table = kind.table
            filled = {k: pa.array([v] * measured.batch.num_rows, pa.string()) for k, v in place.items()}
            stored = {name: self._stored(measured.batch[name]) for name in kind.objects}
            given = filled | stored
            columns = {f.name: given[f.name] if f.name in given else measured.batch[f.name] for f in table.schema}
            self._hold(table, pa.table(columns, schema=table.schema))
        error, params_hash = measured.error, self._plan.hashes[extractor]
        annotated = extractor != "open" and base.load(extractor).annotated
        done = place | {
            "path": item.path,
            "sha256": item.sha256,
            "extractor": extractor,
            "params_hash": base.identity(params_hash, item.annotation) if annotated else params_hash,
            "status": "quarantined" if error else "ok",
            "error_class": error.error_class if error else None,
            "error": str(error) if error else None,
            "seconds": measured.seconds,
            "run_id": self._run_id,
        }
        self._hold(EXTRACTIONS, pa.Table.from_pylist([done], schema=EXTRACTIONS.schema))

    def _stored(self, contents: pa.Array) -> pa.Array:
        """Bytes that a measurement made, as objects; their sha256."""
        return pa.array([None if c is None else store_bytes(self._lake, c) for c in contents.to_pylist()], pa.string())

    def finish(self) -> Output:
        """All fragments."""
        for name in list(self._held):
            self._flush(name)
        return self._output

    def _hold(self, table: Table, rows: pa.Table) -> None:
        self._tables[table.name] = table
        self._held[table.name].append(rows)
        if sum(part.nbytes for part in self._held[table.name]) > FLUSH_BYTES:
            self._flush(table.name)

    def _flush(self, name: str) -> None:
        rows = pa.concat_tables(self._held.pop(name))
        table, plan = self._tables[name], self._plan
        self._output.add(table, self._lake.write_fragment(table, plan.dataset, plan.drop, [rows]))
