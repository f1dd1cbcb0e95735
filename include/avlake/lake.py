"""The lake's tables, and how a drop enters them exactly once. Only this module and `stages.maintain` touch Delta.

For a reader who has never seen Delta's log. A Delta table is a folder of Parquet files and a log, `_delta_log/`,
of numbered commits. A commit lists files added and files removed; the table is whatever its log says is live, so a
file nobody has committed does not exist for readers. A commit is one conditional PUT of the next number: it happens
whole, or not at all.

Each table is partitioned by (dataset, drop_date). A run writes fragments beside the live files, then replaces all
files of its drop in one commit. That commit also carries a counter, the drop's *transaction version*:

- A run reads the counter when it plans and may commit only while the counter is unchanged, in the very snapshot it
  commits against; else `StaleRun`. Delta itself fails the loser of two truly concurrent commits, because both write
  the same counter. Together they fence out racing runs and zombies: a drop's rows are always those of one run.
- After any commit error the outcome is unknown, so the log is read again: if the drop's live files are our own, the
  commit did happen; if the counter moved, somebody else won; only if neither holds do we try again. A run that was
  killed after its commit and is started again knows its own by their names in the same way.
- New rows equal to the old make no commit, so nothing downstream wakes up for nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Field, Transaction
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from avlake import probe
from avlake.ages import folders
from avlake.errors import StaleRun, WorkError
from avlake.fragments import (
    Fragment,
    arrow_filesystem,
    copy_fragment,
    copy_path,
    digest,
    missing,
    parquet_format,
    read_contents,
    write_fragment,
)
from avlake.settings import Settings
from avlake.storage import Store, open_store
from avlake.tables import BRONZE_CONTENTS, CORE, EXTRACTIONS, PARTITION, Table

COMMIT_ATTEMPTS = 8
CHECKPOINT_COMMITS = 20  # each commit since the last checkpoint is read by every opening, three times
WHOLE = "whole"  # names the counter of a table that is replaced whole


class Live(NamedTuple):
    """A live file of a table; `drop` is None where the table is not partitioned."""

    path: str
    drop: tuple[str, str] | None
    rows: int
    size_bytes: int


class Lake:
    """All tables below one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._fs = arrow_filesystem(store)

    @classmethod
    def open(cls, settings: Settings) -> Lake:
        store = open_store(settings.uri)
        probe.check(store)
        return cls(store)

    # --- reading

    def rows(self, table: Table, dataset: str, drop: str, columns: list[str] | None = None) -> pa.Table:
        """A writer's view: all committed rows of one drop, whether readers see them yet or not."""
        found = self._dataset(table.name, lambda live: live.drop == (dataset, drop))
        with self.store.explained():
            return (found or ds.dataset(table.schema.empty_table())).to_table(columns=columns)

    def scan(
        self, name: str, drops: Collection[tuple[str, str]] | None = None, *, at: datetime | None = None
    ) -> ds.Dataset | None:
        """A reader's view, for DuckDB: the drops whose ops rows are committed. None if there is no such table.

        Args:
            drops: what `drops()` said, where several tables are to show the same drops.
            at: show the table as readers saw it at that moment. The week that `avlake maintain` keeps is safe.
        """
        visible = set(self.drops(at=at) if drops is None else drops)
        return self._dataset(name, lambda live: live.drop is None or live.drop in visible, at)

    def drops(self, name: str = EXTRACTIONS.name, *, at: datetime | None = None) -> list[tuple[str, str]]:
        """(dataset, drop_date) of every drop in a table, sorted; by default of those that exist for readers."""
        live = live_files(delta) if (delta := self.delta(name, at)) else []
        return sorted({file.drop for file in live if file.drop})

    def tables(self) -> list[str]:
        """Names of the tables that exist, `layer.table`, sorted."""
        layers = sorted({table.path.partition("/")[0] for table in CORE.values()})  # objects/ takes long to list
        found = [name for layer in layers for name in folders(self.store, layer)]
        return [name.replace("/", ".") for name in found if self.store.exists(f"{name}/_delta_log")]

    def log_version(self, name: str) -> str | None:
        """A table's newest commit, whoever made it, as `<table's own id>/<number>`; None if there is no such table."""
        return f"{delta.metadata().id}/{delta.version()}" if (delta := self.delta(name)) else None

    def delta(self, name: str, at: datetime | None = None) -> DeltaTable | None:
        """A table's snapshot, the newest or as of a moment; None if there is no such table."""
        with self.store.explained():
            try:
                found = DeltaTable(self._uri(name), storage_options=self.store.delta_options)
            except TableNotFoundError:
                return None
            if at is not None:
                found.load_as_version(at)
            return found

    def holds(self, table: Table, dataset: str, drop: str, fragments: Collection[Fragment]) -> bool:
        """Are exactly these fragments the drop's live files?"""
        live = live_files(delta) if (delta := self.delta(table.name)) else []
        return {file.path for file in live if file.drop == (dataset, drop)} == {f.path for f in fragments if f.rows}

    def contents(self, dataset: str, drop: str, shas: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """(sha256, bytes) of small files, in stored order; reads only the row groups that hold one of `shas`."""
        delta, wanted = self.delta(BRONZE_CONTENTS.name), set(shas)
        for live in live_files(delta) if delta else []:
            if live.drop == (dataset, drop) and wanted:
                yield from read_contents(self.store, f"{BRONZE_CONTENTS.path}/{live.path}", wanted)

    # --- writing

    def write_fragment(self, table: Table, dataset: str, drop: str, batches: Iterable[pa.Table]) -> Fragment:
        """Write one file that nobody sees before it is committed; see `avlake.fragments`."""
        return write_fragment(self.store, table, (dataset, drop), batches)

    def drop_version(self, table: Table, dataset: str, drop: str) -> int:
        """The drop's transaction version in this table; 0 before the first commit."""
        return self._version(table.name, f"{dataset}/{drop}")

    def table_version(self, table: Table) -> int:
        """The transaction version of a table that is replaced whole; 0 before the first commit."""
        return self._version(table.name, WHOLE)

    def commit_drop(
        self, table: Table, dataset: str, drop: str, fragments: Collection[Fragment], *, expected_version: int
    ) -> bool:
        """Make `fragments` the drop's only rows, in one commit; False if it held the same rows already.

        Raises:
            StaleRun: when another run has committed this drop since `expected_version` was read.
        """
        return self._replace(table, (dataset, drop), fragments, expected_version)

    def replace_table(self, table: Table, batches: Iterable[pa.Table], *, expected_version: int) -> bool:
        """The same for a whole table, whose transaction version is `table_version`."""
        return self._replace(table, None, [write_fragment(self.store, table, None, batches)], expected_version)

    def append(self, table: Table, rows: pa.Table, *, once: str) -> bool:
        """Add rows to an append-only table; False if the batch named `once` is there already."""
        fragment = write_fragment(self.store, table, None, [rows])

        def attempt(delta: DeltaTable) -> bool:
            if delta.transaction_version(once) is not None:
                return False
            known = {f.name for f in pa.schema(delta.schema().to_arrow())}
            if new := [Field.from_arrow(f) for f in table.schema if f.name not in known]:
                delta.alter.add_columns(new)  # an append would leave them out, and say nothing
            self._commit(delta, table, [fragment], mode="append", drop=None, fence=Transaction(once, 1))
            return True

        return self._until_known(table, attempt)

    # --- how a commit is made

    def _replace(
        self, table: Table, drop: tuple[str, str] | None, fragments: Collection[Fragment], expected: int
    ) -> bool:
        app = "/".join(drop) if drop else WHOLE
        own = {f.path: f for f in fragments if f.rows}
        copies = {path: copy_path(path, expected + 1) for path in own}

        def attempt(delta: DeltaTable) -> bool:
            version = delta.transaction_version(app) or 0
            live = {file.path: file.rows for file in live_files(delta) if drop in (None, file.drop)}
            if live.keys() == {copies[path] if copies[path] in live else path for path in own}:
                return version != expected  # ours: an earlier attempt at this very commit did happen
            if version != expected:
                raise StaleRun(
                    f"{table.name}: another run has committed {app} since this one was planned "
                    f"(version {version}, expected {expected}); nothing was changed, run it again"
                )
            if gone := missing(self.store, table, own):
                raise StaleRun(
                    f"{table.name}: {len(gone)} of the files that this run wrote for {app} are gone, it is too old: "
                    "nothing was changed, run it again"
                )
            same = _same_columns(delta, table) and sum(live.values()) == sum(f.rows for f in own.values())
            if same and digest(self.store, table, live) == digest(self.store, table, own):
                return False
            fresh = [copy_fragment(self.store, table, f, copies[p]) if p in live else f for p, f in own.items()]
            # Copied because Delta cannot remove and add one file in one commit.
            self._commit(delta, table, fresh, mode="overwrite", drop=drop, fence=Transaction(app, expected + 1))
            return True

        return self._until_known(table, attempt)

    def _until_known(self, table: Table, attempt: Callable[[DeltaTable], bool]) -> bool:
        """Repeat an attempt, each time on a fresh snapshot, until its outcome is known."""
        for tried in range(COMMIT_ATTEMPTS):
            try:
                with self.store.explained():
                    return attempt(self.delta(table.name) or self._create(table))
            except (DeltaError, OSError, WorkError) as error:
                if isinstance(error, StaleRun) or tried == COMMIT_ATTEMPTS - 1:
                    raise
                time.sleep(0.05 * 2**tried * (1 + random.random()))
        raise AssertionError("unreachable")

    def _commit(
        self,
        delta: DeltaTable,
        table: Table,
        fragments: Iterable[Fragment],
        *,
        mode: str,
        drop: tuple[str, str] | None,
        fence: Transaction,
    ) -> None:
        now_ms = int(time.time() * 1000)
        values = dict(zip(PARTITION, drop, strict=True)) if drop else {}
        delta.create_write_transaction(
            [AddAction(f.path, f.size_bytes, values, now_ms, True, f.stats) for f in fragments],
            mode,
            _grown(delta, table),
            list(values) or None,
            partition_filters=[(name, "=", value) for name, value in values.items()] or None,
            commit_properties=CommitProperties(app_transactions=[fence]),
        )

    def _version(self, name: str, app: str) -> int:
        return (delta.transaction_version(app) or 0) if (delta := self.delta(name)) else 0

    def _uri(self, name: str) -> str:
        return self.store.uri_of(name.replace(".", "/"))

    def _create(self, table: Table) -> DeltaTable:
        if self.store.is_local:
            self.store.fs.makedirs(self.store.path(table.path), exist_ok=True)
        return DeltaTable.create(
            self._uri(table.name),
            table.schema,
            mode="ignore",  # another run may be creating it too
            partition_by=list(PARTITION) if table.per_drop else None,
            configuration={"delta.checkpointInterval": str(CHECKPOINT_COMMITS)},
            storage_options=self.store.delta_options,
        )

    def _dataset(self, name: str, wanted: Callable[[Live], bool], at: datetime | None = None) -> ds.Dataset | None:
        delta = self.delta(name, at)
        if delta is None:
            return None
        form, folder = parquet_format(self.store), self.store.path(name.replace(".", "/"))
        files = [
            form.make_fragment(f"{folder}/{live.path}", self._fs, _expression(live.drop))
            for live in live_files(delta)
            if wanted(live)
        ]
        return ds.FileSystemDataset(files, pa.schema(delta.schema().to_arrow()), form, self._fs)


def live_files(delta: DeltaTable) -> list[Live]:
    """The files that make up a snapshot, sorted by path."""
    found = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    column = [f"partition.{name}" for name in PARTITION]
    drops = ((a[column[0]], a[column[1]]) if column[0] in a else None for a in found)
    rows = zip(found, drops, strict=True)
    return sorted(Live(a["path"], drop, a["num_records"], a["size_bytes"]) for a, drop in rows)


def _expression(drop: tuple[str, str] | None) -> ds.Expression | None:
    return (ds.field(PARTITION[0]) == drop[0]) & (ds.field(PARTITION[1]) == drop[1]) if drop else None


def _same_columns(delta: DeltaTable, table: Table) -> bool:
    """A table of drops may lack a column that only new rows have; a whole table has its own columns and no others."""
    known = pa.schema(delta.schema().to_arrow())
    return table.per_drop or [(f.name, f.type) for f in known] == [(f.name, f.type) for f in table.schema]


def _grown(delta: DeltaTable, table: Table) -> pa.Schema:
    """The declared schema, and in a table of drops also the columns that only older rows have."""
    known = pa.schema(delta.schema().to_arrow()) if table.per_drop else table.schema
    return pa.schema([*table.schema, *(f for f in known if f.name not in table.schema.names)])
