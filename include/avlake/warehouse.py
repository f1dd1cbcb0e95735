"""The warehouse: native DuckDB copies of bronze.files, silver, gold and ops, in a file or in MotherDuck.

A file is never changed once it is readable: a new one is filled beside it, closed, made read-only, and a symbolic link
is swapped. Readers keep the file they opened; nobody waits for anybody. In MotherDuck a reader sees each table whole,
before or after; `avlake.delivery` has the statements that fill both.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from avlake.delivery import WITHDRAWN, Delivery, Shown, is_shown, shown, update
from avlake.errors import RequestError, WorkError
from avlake.settings import Settings
from avlake.store_errors import explained

MEMORY = "1GB"  # to build a file; the rest is on disk beside it
KEPT_FILES = 3  # a reader may still be opening the one before
VERSION = r"-[0-9a-f]{12}-[0-9a-f]{6}"  # what a version's name has between stem and suffix
ATTEMPTS = 3  # to catch up with a lake that changes meanwhile
TOKENS = ("motherduck_token", "MOTHERDUCK_TOKEN")


def connect(settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open the warehouse for reading.

    Raises:
        RequestError: if nothing was published yet, the file is no DuckDB database, or MotherDuck is named without
            what it takes to reach it.
    """
    if is_motherduck(settings):
        return _motherduck(f"md:{_database(settings)}")
    link = Path(settings.warehouse)
    while link.exists():
        version = link.resolve()  # the version's own file: the link may be swapped while we read
        try:
            return duckdb.connect(str(version), read_only=True)
        except duckdb.Error as error:
            if version.exists():
                reason = str(error).splitlines()[0]
                raise RequestError(
                    f"AVLAKE_WAREHOUSE {link} cannot be opened: {reason}; name another file, or remove it and "
                    "`avlake run PIPELINE`"
                ) from None
    raise RequestError(f"there is no warehouse at {link} yet; `avlake run PIPELINE` or `make run` publishes one")


def is_motherduck(settings: Settings) -> bool:
    return settings.warehouse.startswith("md:")


def size_bytes(settings: Settings) -> int | None:
    """What the warehouse takes on this machine's disk; None in MotherDuck."""
    return None if is_motherduck(settings) else Path(settings.warehouse).stat().st_size


def select(settings: Settings, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of one SELECT, which reads the warehouse and nothing else.

    Raises:
        RequestError: for anything but one SELECT, and for what DuckDB says against it.
    """
    try:
        kinds = [statement.type for statement in duckdb.extract_statements(query)]
    except duckdb.Error as error:
        raise RequestError(f"sql: {error}") from None
    if kinds != [duckdb.StatementType.SELECT]:
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise RequestError(f"sql: the warehouse is read by one SELECT at a time, and this is {found}")
    with confined(settings) as con:
        try:
            answer = con.execute(query)
            return [column[0] for column in answer.description or []], answer.fetchall()
        except duckdb.Error as error:
            raise RequestError(f"sql: {error}") from None


def tables(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the warehouse's tables, `layer.table`, sorted."""
    found = con.execute(
        """SELECT schema_name || '.' || table_name FROM duckdb_tables()
        WHERE database_name = current_database() AND schema_name != 'main'"""
    ).fetchall()
    return sorted(str(row[0]) for row in found)


def check(settings: Settings) -> None:
    """Can it be published to, as far as that can be told without doing it?

    Raises:
        RequestError: if the setting names a place that is taken, or no database of MotherDuck.
    """
    if is_motherduck(settings):
        _database(settings)
        return
    link = Path(settings.warehouse).absolute()
    if os.path.lexists(link) and not _is_ours(link):
        raise RequestError(f"AVLAKE_WAREHOUSE {link} is not a warehouse of avlake; name another file")


def publish(settings: Settings, read: Callable[[], Delivery]) -> dict[str, int] | None:
    """Make the warehouse hold exactly what `read` says, once nobody else publishes.

    Returns:
        Row counts by table; None where it showed all of that before.

    Raises:
        RequestError: if the setting names a place that is taken, or cannot be written.
        WorkError: when its disk is full, or others publish to MotherDuck without end.
    """
    if is_motherduck(settings):
        with _motherduck("md:") as con:
            con.execute(f'CREATE DATABASE IF NOT EXISTS "{_database(settings)}"')
            con.execute(f'USE "{_database(settings)}"')
            return catch_up(con, read)
    check(settings)
    link = Path(settings.warehouse).absolute()
    with explained(str(link), "AVLAKE_WAREHOUSE"):
        return _publish_file(link, read)


# --- a file


def _publish_file(link: Path, read: Callable[[], Delivery]) -> dict[str, int] | None:
    link.parent.mkdir(parents=True, exist_ok=True)
    with _only_publisher(link):
        delivery = read()
        up_to_date = link.exists() and is_shown(_shown_by(link.resolve()), delivery)
        counts = None if up_to_date else _build(link, delivery)
        _remove_old(link, delivery.withdrawn)
    return counts


def _is_ours(link: Path) -> bool:
    return link.is_symlink() and re.fullmatch(rf".+{VERSION}{re.escape(link.suffix)}", link.readlink().name) is not None


def _build(link: Path, delivery: Delivery) -> dict[str, int]:
    """Fill a new file and make the link point to it."""
    mark = hashlib.sha256(repr(sorted(delivery.shown().items())).encode()).hexdigest()[:12]
    name = f"{link.stem}-{mark}-{uuid.uuid4().hex[:6]}{link.suffix}"
    built = link.with_name(f".{name}.tmp")
    try:
        with duckdb.connect(str(built)) as con:
            con.execute(f"SET preserve_insertion_order = false; SET memory_limit = '{MEMORY}'")
            counts = update(con, delivery)
            con.execute("CHECKPOINT")
        built.chmod(0o444)
        built.rename(link.with_name(name))
    finally:
        built.unlink(missing_ok=True)
        built.with_name(f"{built.name}.wal").unlink(missing_ok=True)
    swapped = link.with_name(f".{name}.link")
    swapped.symlink_to(name)
    swapped.replace(link)
    return counts


@contextmanager
def _only_publisher(link: Path) -> Iterator[None]:
    with link.with_name(f".{link.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_old(link: Path, withdrawn: str) -> None:
    """Remove all but the newest versions, every one that shows what was withdrawn since, and what killed runs left."""
    stem, suffix = re.escape(link.stem), re.escape(link.suffix)
    version = re.compile(rf"{stem}{VERSION}{suffix}")
    unfinished = re.compile(rf"\.{version.pattern}\.(tmp(\.wal)?|link)")
    current = link.resolve()
    old = [path for path in link.parent.iterdir() if version.fullmatch(path.name) and path != current]
    for i, path in enumerate(sorted(old, key=lambda p: p.stat().st_mtime, reverse=True)):
        if i >= KEPT_FILES - 1 or _shown_by(path).get(WITHDRAWN) != withdrawn:
            path.unlink()
    for path in link.parent.iterdir():
        if unfinished.fullmatch(path.name):
            path.unlink()


def _shown_by(path: Path) -> Shown:
    """What a version shows; nothing, if it cannot be read."""
    try:
        with duckdb.connect(str(path), read_only=True) as con:
            return shown(con)
    except duckdb.Error:
        return {}


# --- MotherDuck


def catch_up(con: duckdb.DuckDBPyConnection, read: Callable[[], Delivery]) -> dict[str, int] | None:
    """Bring up to date an open database that others may publish to at the same time.

    Without a lock, who read the lake before another may write after it: so the lake is read again after writing.
    """
    counts = None
    for _ in range(ATTEMPTS):
        delivery = read()
        if is_shown(shown(con), delivery):
            return counts
        try:
            counts = update(con, delivery)
        except duckdb.TransactionException as error:
            reason = str(error).splitlines()[0]
            raise WorkError(f"AVLAKE_WAREHOUSE: another run publishes to it too ({reason}); run again") from None
    if not is_shown(shown(con), read()):
        raise WorkError("AVLAKE_WAREHOUSE: the lake changes faster than it is published; run again")
    return counts


def _database(settings: Settings) -> str:
    name = settings.warehouse.removeprefix("md:")
    if not re.fullmatch(r"\w+", name):
        raise RequestError(
            "AVLAKE_WAREHOUSE: write md:DATABASE, letters and digits; a token belongs in motherduck_token"
        )
    return name


def _motherduck(target: str, options: str = "") -> duckdb.DuckDBPyConnection:
    token = next((os.environ[name] for name in TOKENS if os.environ.get(name)), None)
    if token is None:
        raise RequestError(
            f"AVLAKE_WAREHOUSE is {target}: set motherduck_token to an access token of MotherDuck, or name a file"
        )
    try:
        return duckdb.connect(f"{target}{options}")
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].replace(token, "...")
        mend = "check motherduck_token and AVLAKE_WAREHOUSE"
        if "extension" in reason:
            mend = "DuckDB fetches its extension motherduck from extensions.duckdb.org once: allow that, or install it"
        raise RequestError(f"MotherDuck ({target}) cannot be reached: {reason}; {mend}") from None


@contextmanager
def confined(settings: Settings, **options: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose queries read neither files nor other databases; a local one with these options of DuckDB."""
    if is_motherduck(settings):
        with _motherduck(f"md:{_database(settings)}", "?attach_mode=single&saas_mode=true") as con:
            yield con
    else:
        with connect(settings) as con:
            for name, value in options.items():
                con.execute(f"SET {name} = ?", [value])
            con.execute("SET enable_external_access = false; SET lock_configuration = true")
            yield con
