"""Export: a table of the warehouse as a file that other tools read."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import duckdb

from avlake import warehouse
from avlake.errors import RequestError
from avlake.output import plain
from avlake.settings import Settings

FORMATS = ("parquet", "csv", "jsonl")


def export(settings: Settings, *, table: str, to: Path, form: str, where: str | None = None) -> int:
    """Write the rows of `layer.table` that satisfy `where` to one file, whole or not at all; returns their number.

    Raises:
        RequestError: for an unknown table or format, a condition that is no SQL, or a folder that does not exist.
    """
    if form not in FORMATS:
        raise RequestError(f"cannot export {form!r}; formats: {', '.join(FORMATS)}")
    if not to.parent.is_dir():
        raise RequestError(f"there is no folder {to.parent}; create it first")
    with warehouse.connect(settings) as con:
        known = warehouse.tables(con)
        if table not in known:
            raise RequestError(f"no table {table!r} in the warehouse; there is {', '.join(known)}")
        layer, name = table.split(".")
        try:
            rows = con.sql(f'SELECT * FROM "{layer}"."{name}"' + (f" WHERE ({where})" if where else ""))
        except duckdb.Error as error:
            raise RequestError(f"--where {where!r}: {str(error).splitlines()[0]}") from None
        written = to.with_name(f".{to.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            count = _write(rows, written, form)
            written.replace(to)
        finally:
            written.unlink(missing_ok=True)
    return count


def _write(rows: duckdb.DuckDBPyRelation, to: Path, form: str) -> int:
    count = int(rows.aggregate("count(*)").fetchall()[0][0])  # len() would run the whole query
    if form == "parquet":
        rows.write_parquet(str(to))
    elif form == "csv":
        rows.write_csv(str(to), header=True)
    else:
        with to.open("w", encoding="utf-8") as file:
            for batch in rows.to_arrow_reader(10_000):
                file.writelines(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in batch.to_pylist())
    return count
