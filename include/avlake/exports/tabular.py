"""Rows alone, as one file: Parquet, CSV, or a JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from avlake.exports.rows import Selection
from avlake.output import plain


def write_parquet(rows: Selection, to: Path) -> None:
    """Every column with its type; which rows they are stands in the file's metadata."""
    origin = json.dumps({"table": rows.table, "where": rows.where})
    with pq.ParquetWriter(to, rows.schema.with_metadata({"avlake": origin}), compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)


def write_csv(rows: Selection, to: Path) -> None:
    """With a header. NULL is an empty field and empty text is `""`; NaN is `nan`; lists and structs are JSON."""
    schema = pa.schema([pa.field(f.name, pa.string() if _is_rich(f.type) else f.type) for f in rows.schema])
    with pc.CSVWriter(to, schema) as writer:
        for batch in rows:
            columns = [_as_json(c) if _is_rich(c.type) else c for c in batch.columns]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def write_jsonl(rows: Selection, to: Path) -> None:
    """NULL, NaN and infinity are null; times are ISO 8601, bytes hexadecimal."""
    with to.open("w", encoding="utf-8") as file:
        for batch in rows:
            file.writelines(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in batch.to_pylist())


def _is_rich(kind: pa.DataType) -> bool:
    return pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_dictionary(kind)


def _as_json(column: pa.Array) -> pa.Array:
    texts = (plain(v) for v in column.to_pylist())
    return pa.array(
        [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in texts], pa.string()
    )
