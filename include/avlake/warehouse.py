"""The warehouse: native DuckDB copies of bronze.files, silver, gold and ops, in a file or in MotherDuck.

A file is never changed once it is readable: a new one is built beside it, closed, made read-only, and a symbolic link
is swapped. Readers keep the file they opened; nobody waits for anybody.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow.dataset as ds

from avlake.errors import RequestError
from avlake.settings import Settings

STATE = "avlake_state"  # one row: which versions of the lake's tables the warehouse shows
KEPT_FILES = 3  # a reader may still be opening the one before


def connect(settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open the warehouse for reading.

    Raises:
        RequestError: if nothing was published yet.
    """
    if is_motherduck(settings):
        return duckdb.connect(settings.warehouse)
    path = Path(settings.warehouse)
    if not path.exists():
        raise RequestError(f"there is no warehouse at {path} yet; `avlake run PIPELINE` or `make run` publishes one")
    # The version's own file: the link may be swapped while we read.
    return duckdb.connect(str(path.resolve()), read_only=True)


def is_motherduck(settings: Settings) -> bool:
    return settings.warehouse.startswith("md:")


def tables(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the warehouse's tables, `layer.table`, sorted."""
    found = con.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE schema_name != 'main'"
    ).fetchall()
    return sorted(str(row[0]) for row in found)


def state(settings: Settings) -> str | None:
    """What the warehouse shows, as `publish` was told; None before the first publication."""
    try:
        with connect(settings) as con:
            found = con.execute(f"SELECT state FROM {STATE}").fetchone()
    except (RequestError, duckdb.CatalogException):
        return None
    return str(found[0]) if found else None


def publish(settings: Settings, tables: dict[str, ds.Dataset], shown: str) -> dict[str, int]:
    """Make the warehouse hold exactly these tables, all at once; returns their row counts."""
    if is_motherduck(settings):
        with duckdb.connect(settings.warehouse) as con:
            return _fill(con, tables, shown)
    link = Path(settings.warehouse).absolute()
    link.parent.mkdir(parents=True, exist_ok=True)
    with _only_publisher(link):
        name = f"{link.stem}-{hashlib.sha256(shown.encode()).hexdigest()[:12]}-{uuid.uuid4().hex[:6]}{link.suffix}"
        built = link.with_name(f".{name}.tmp")
        try:
            with duckdb.connect(str(built)) as con:
                con.execute("SET preserve_insertion_order = false")
                counts = _fill(con, tables, shown)
                con.execute("CHECKPOINT")
            built.chmod(0o444)
            built.rename(link.with_name(name))
        finally:
            built.unlink(missing_ok=True)
        swapped = link.with_name(f".{name}.link")
        swapped.symlink_to(name)
        swapped.replace(link)
        _remove_old(link)
    return counts


def _fill(con: duckdb.DuckDBPyConnection, tables: dict[str, ds.Dataset], shown: str) -> dict[str, int]:
    """One transaction a table, so that a MotherDuck reader never sees half of one; the same SQL for a local file."""
    counts = {}
    for name, data in tables.items():
        layer, table = name.split(".")
        con.register("incoming", data)
        con.execute("BEGIN")
        con.execute(f'CREATE SCHEMA IF NOT EXISTS "{layer}"')
        con.execute(f'CREATE OR REPLACE TABLE "{layer}"."{table}" AS FROM incoming')
        con.execute("COMMIT")
        con.unregister("incoming")
        counts[name] = con.execute(f'SELECT count(*) FROM "{layer}"."{table}"').fetchall()[0][0]
    con.execute(f"CREATE OR REPLACE TABLE {STATE} AS SELECT ?::VARCHAR AS state", [shown])
    return counts


@contextmanager
def _only_publisher(link: Path) -> Iterator[None]:
    with link.with_name(f".{link.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_old(link: Path) -> None:
    pattern = re.compile(re.escape(link.stem) + r"-[0-9a-f]{12}-[0-9a-f]{6}" + re.escape(link.suffix))
    versions = [path for path in link.parent.iterdir() if pattern.fullmatch(path.name)]
    current = link.resolve()
    for path in sorted(versions, key=lambda p: p.stat().st_mtime, reverse=True)[KEPT_FILES:]:
        if path != current:
            path.unlink()
