"""What the warehouse is to hold, and the statements that make it so, in a file and in MotherDuck alike.

A table is replaced in one transaction, together with a note of what it then shows: a fingerprint for each of its
slices, a drop's rows or the whole. So a publication that is killed between two tables leaves whole tables, and the next
one sends what is missing; of a large table only the drops that changed travel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow.dataset as ds

from avlake.tables import RUNS

STATE = "avlake_published"  # (table_name, slice, fingerprint): what the warehouse shows
WHOLE = ""  # the one slice of a table that is not partitioned by drop
WITHDRAWN = ("", "")  # names the note of what was taken out

Shown = dict[tuple[str, str], str]  # (table, slice) → fingerprint


@dataclass(frozen=True)
class Incoming:
    """A table as the lake has it: a fingerprint of each slice (`dataset/drop_date`, or WHOLE), and rows on demand."""

    slices: Mapping[str, str]  # equal means equal rows
    rows: Callable[[Collection[str]], ds.Dataset]  # the rows of some slices


@dataclass(frozen=True)
class Delivery:
    """All that the warehouse is to hold, and a fingerprint of what was taken out of it."""

    tables: Mapping[str, Incoming]
    withdrawn: str = ""

    def shown(self) -> Shown:
        found = {(name, part): mark for name, table in self.tables.items() for part, mark in table.slices.items()}
        return {**found, WITHDRAWN: self.withdrawn}


def shown(con: duckdb.DuckDBPyConnection) -> Shown:
    """What the warehouse shows, as the last publications noted it; empty before the first."""
    try:
        rows = con.execute(f"SELECT table_name, slice, fingerprint FROM {STATE}").fetchall()
    except duckdb.CatalogException:
        return {}
    return {(table, part): mark for table, part, mark in rows}


def update(con: duckdb.DuckDBPyConnection, delivery: Delivery) -> dict[str, int]:
    """Bring an open database up to date, a transaction for each table; returns the row counts of all tables."""
    con.execute(f"CREATE TABLE IF NOT EXISTS {STATE} (table_name VARCHAR, slice VARCHAR, fingerprint VARCHAR)")
    counts = {}
    for name, incoming in delivery.tables.items():
        with _transaction(con):
            counts[name] = _replace(con, name, incoming)
    for name in sorted({table for table, _ in shown(con)} - delivery.tables.keys() - {WITHDRAWN[0]}):
        with _transaction(con):
            con.execute(f"DROP TABLE IF EXISTS {_quoted(name)}")
            _note(con, name, {})
    with _transaction(con):
        _note(con, WITHDRAWN[0], {WITHDRAWN[1]: delivery.withdrawn})
    return counts


def _replace(con: duckdb.DuckDBPyConnection, name: str, incoming: Incoming) -> int:
    """Replace the slices of one table that changed; the table whole where its columns did, or nobody knows it."""
    target = _quoted(name)
    known = {part: mark for (table, part), mark in shown(con).items() if table == name}
    con.register("incoming", incoming.rows(()))  # the columns alone
    wanted = [(str(column), str(kind)) for column, kind, *_ in con.execute("DESCRIBE incoming").fetchall()]
    if not known or _columns(con, name) != wanted:
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {target.split('.')[0]}")
        con.execute(f"CREATE OR REPLACE TABLE {target} AS FROM incoming")
        known = {}
    stale = [part for part, mark in known.items() if incoming.slices.get(part) != mark]
    if WHOLE in stale:
        con.execute(f"DELETE FROM {target}")
    elif stale:
        con.execute(f"DELETE FROM {target} WHERE dataset || '/' || drop_date IN (SELECT unnest(?::VARCHAR[]))", [stale])
    fresh = [part for part, mark in incoming.slices.items() if known.get(part) != mark]
    if fresh:
        con.register("incoming", incoming.rows(fresh))
        con.execute(f"INSERT INTO {target} BY NAME FROM incoming")
    con.unregister("incoming")
    if stale or fresh:
        _note(con, name, incoming.slices)
    return int(con.execute(f"SELECT count(*) FROM {target}").fetchall()[0][0])


def _note(con: duckdb.DuckDBPyConnection, name: str, slices: Mapping[str, str]) -> None:
    con.execute(f"DELETE FROM {STATE} WHERE table_name = ?", [name])
    values = [name, list(slices), list(slices.values())]
    con.execute(f"INSERT INTO {STATE} SELECT ?, unnest(?::VARCHAR[]), unnest(?::VARCHAR[])", values)


def _columns(con: duckdb.DuckDBPyConnection, name: str) -> list[tuple[str, str]]:
    layer, table = name.split(".")
    rows = con.execute(
        """SELECT column_name, data_type FROM duckdb_columns()
        WHERE database_name = current_database() AND schema_name = ? AND table_name = ? ORDER BY column_index""",
        [layer, table],
    )
    return [(str(column), str(kind)) for column, kind in rows.fetchall()]


def _quoted(name: str) -> str:
    layer, table = name.split(".")
    return f'"{layer}"."{table}"'


@contextmanager
def _transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    con.execute("BEGIN")
    try:
        yield
    except BaseException:
        con.execute("ROLLBACK")
        raise
    con.execute("COMMIT")


def is_shown(now: Shown, delivery: Delivery) -> bool:
    # ops.runs grows with every run, this one included; alone it is no reason to publish again.
    differing = now.items() ^ delivery.shown().items()
    return all(table == RUNS.name for (table, _), _ in differing)
