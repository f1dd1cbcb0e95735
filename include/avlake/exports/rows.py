"""The rows of one table of the warehouse that satisfy a condition."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from avlake import warehouse
from avlake.delivery import shown
from avlake.errors import AvlakeError, RequestError, WorkError
from avlake.settings import Settings

BATCH_ROWS = 1000
MEMORY = "1GB"  # of DuckDB while it sorts; beyond that it uses the disk


class Selection:
    """`SELECT * FROM table WHERE (where)`; the condition is one expression and reads nothing but the warehouse."""

    def __init__(self, con: duckdb.DuckDBPyConnection, table: str, where: str | None) -> None:
        self._con, self.table, self.where = con, table, where
        self.known = warehouse.tables(con)
        if table not in self.known:
            raise RequestError(f"no table {table!r} in the warehouse; there is {', '.join(self.known)}")
        layer, _, name = table.partition(".")
        self.query = f'SELECT * FROM "{layer}"."{name}"'
        if where is not None:
            self.query += f" WHERE (\n{_one_expression(where)}\n)"
        self.blocks: str | None = None  # see with_query
        self.schema: pa.Schema = self.read(f"{self.query} LIMIT 0").schema

    def with_query(self, query: str, *, blocks: str) -> Selection:
        """The same table, read by another query that is made of this one's, and puts rows together in memory.

        Args:
            blocks: a query for `first` and `last`, the paths of a drop ($1: dataset, $2: drop_date) between which
                there is as much as is to be read at once.
        """
        other = copy.copy(self)
        other.query, other.blocks = query, blocks
        other.schema = other.read(f"SELECT * FROM ({query}) LIMIT 0").schema
        return other

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield from self.batches(self.query)

    def count(self, condition: str = "true") -> int:
        return int(self.rows(f"SELECT count(*) AS n FROM ({self.query}) WHERE {condition}")[0]["n"])

    @property
    def not_kept(self) -> int:
        """Rows that gold has decided against."""
        return self.count("kept = false") if "kept" in self.schema.names else 0

    def version(self, name: str) -> str:
        """A fingerprint of what the warehouse shows of a table."""
        slices = sorted((part, mark) for (table, part), mark in shown(self._con.cursor()).items() if table == name)
        return hashlib.sha256(json.dumps(slices).encode()).hexdigest()[:16]

    def rows(self, query: str, values: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        return [row for batch in self.batches(query, values) for row in batch.to_pylist()]

    def batches(self, query: str, values: tuple[str, ...] = ()) -> Iterator[pa.RecordBatch]:
        """Rows as they are computed: a condition may fail in the middle of them."""
        reader = self.read(query, values)
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise self._refused(error) from None
            yield batch

    def read(self, query: str, values: tuple[str, ...] = ()) -> pa.RecordBatchReader:
        try:
            # A cursor of its own: another query on the same one would end this one's rows.
            return self._con.cursor().execute(query, list(values)).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> AvlakeError:
        if self.where is None:
            return WorkError(f"reading {self.table} failed: {_first_line(error)}")
        return RequestError(f"--where {self.where!r}: {_first_line(error)}")


@contextmanager
def select(settings: Settings, table: str, where: str | None, *, scratch: Path) -> Iterator[Selection]:
    """Open the warehouse for one export.

    Args:
        scratch: a folder for what does not fit into memory.

    Raises:
        RequestError: for an unknown table, or a condition that is not one expression on the table's columns.
    """
    with warehouse.confined(settings, memory_limit=MEMORY, temp_directory=str(scratch / "sort")) as con:
        yield Selection(con, table, where)


def _one_expression(where: str) -> str:
    try:
        duckdb.SQLExpression(where)
    except duckdb.Error as error:
        raise RequestError(f"--where {where!r}: one SQL condition is needed: {_first_line(error)}") from None
    return where.strip().rstrip(";")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
