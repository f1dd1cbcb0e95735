"""DuckDB over tables of the lake, in bounded memory: what does not fit is spilled into a temporary folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType

from avlake.lake import Lake
from avlake.store_errors import explained
from avlake.tables import Table

MEMORY = "384MB"
THREADS = 2  # each needs memory of its own; and a task has one core
ROWS = 65_536  # at a time, and to a row group


@contextlib.contextmanager
def connect(memory: str = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database.

    Raises:
        WorkError: when the temporary folder has no room left.
    """
    with (
        explained(tempfile.gettempdir(), "TMPDIR"),
        tempfile.TemporaryDirectory(prefix="avlake-") as folder,
        duckdb.connect(f"{folder}/work.duckdb") as con,
    ):
        con.execute(f"SET memory_limit = '{memory}'; SET threads = {THREADS}; SET preserve_insertion_order = false")
        con.execute(f"SET temp_directory = '{folder}'")
        yield con


def show(
    con: duckdb.DuckDBPyConnection, name: str, lake: Lake, table: Table, drops: Collection[tuple[str, str]] | None
) -> None:
    """Make `name` a view of the rows of these drops, committed whole or not; of every drop that readers see if None."""
    data = lake.scan(table.name, drops)
    con.register(name, table.schema.empty_table() if data is None else data)


def batches(con: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.Table]:
    """A query's rows, some at a time; no other query may run before the last."""
    for batch in con.sql(query).to_arrow_reader(ROWS):
        yield pa.Table.from_batches([batch])


def fill(con: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema, parts: Iterable[pa.RecordBatch]) -> None:
    """Make the table `name` of some batches."""
    con.register("incoming", pa.RecordBatchReader.from_batches(schema, iter(parts)))
    con.execute(f"CREATE TABLE {name} AS FROM incoming")
    con.unregister("incoming")


def value(con: duckdb.DuckDBPyConnection, query: str) -> int:
    """The one number that a query gives."""
    return int(con.execute(query).fetchall()[0][0])


def predicate(con: duckdb.DuckDBPyConnection, name: str, holds: Callable[[str], bool]) -> None:
    """Make a Python test of one text a function of SQL."""

    def each(texts: pa.ChunkedArray) -> pa.Array:
        return pa.array([holds(text) for text in texts.to_pylist()], pa.bool_())

    con.create_function(name, each, ["VARCHAR"], "BOOLEAN", type=PythonUDFType.ARROW)
