"""One drop in bronze: what a run finds there, the rows it makes of delivered files, and how they replace the old ones.

The order makes every kill harmless: objects, then bronze.contents with what old and new rows need, then bronze.files,
which makes the drop, then bronze.contents without what no row needs any longer. Only a run that has replaced the rows
may forget bytes: then no other run can still commit rows that need them.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, chain
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from avlake.datasets.base import Dataset, Entry
from avlake.errors import Quarantined, StaleRun
from avlake.lake import Lake
from avlake.media import archives
from avlake.media.archives import Member
from avlake.media.limits import Limits
from avlake.media.media_types import OPENED, media_type
from avlake.settings import Settings
from avlake.stages.contents import Content, object_name, read_checked, row_groups, store_object
from avlake.tables import BRONZE_CONTENTS, BRONZE_FILES, Table

Row = dict[str, Any]  # of bronze.files
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """A delivered file on this machine, and its rows: itself, then its members in stored order."""

    path: Path
    rows: list[Row]


class BronzeDrop:
    """One drop in bronze: what it held when the run began, and what replaces it."""

    def __init__(self, settings: Settings, lake: Lake, spec: Dataset, drop: str) -> None:
        self._lake, self._spec, self._drop = lake, spec, drop
        self._limits, self._inline_max_bytes = Limits.of(settings), settings.inline_max_bytes
        self._now = datetime.now(UTC)
        place = (spec.name, drop)
        # Versions are read before what they protect.
        self._versions = {t.name: self._lake.drop_version(t, *place) for t in (BRONZE_CONTENTS, BRONZE_FILES)}
        rows = self._lake.rows(BRONZE_FILES, *place).to_pylist()
        self.delivered = by_delivered_file(rows)
        self._before = sorted(rows, key=lambda row: row["path"])
        self._by_id = {row["file_id"]: row for row in rows}
        self._held = set(self._lake.rows(BRONZE_CONTENTS, *place, ["sha256"])["sha256"].to_pylist())

    def has(self, entry: Entry, failures: Collection[str]) -> bool:
        """Is this very file in bronze, with its bytes? An archive that failed and would not today counts as new."""
        rows = self.delivered.get(entry.path)
        if not rows or not entry.version or rows[0]["source_version"] != entry.version:
            return False
        if not all(row["uri"] or row["sha256"] in self._held for row in with_bytes(rows)):
            return False
        return not is_broken(rows) or rows[0]["file_id"] in failures

    def describe(self, entry: Entry, path: Path) -> list[Row]:
        """A fetched file's row of bronze.files, then its members' in stored order."""
        with path.open("rb") as file:
            sha256 = archives.hash_of(file)
            whole = Member(entry.path, file.tell(), sha256)
        kind, members = media_type(entry.path), list[Member]()
        if self._spec.opens(entry.path):
            try:
                members = archives.inspect(path, self._limits, name=entry.path)
                kind = OPENED[kind] if members else kind
            except Quarantined as error:
                kind = OPENED[kind]
                log.warning("%s: %s: %s", entry.path, error.error_class, error)
        inside = (Member(f"{entry.path}/{m.name}", m.size_bytes, m.sha256) for m in members)
        rows = [self._row(entry, m, media_type(m.name), kept=True) for m in inside]
        return [self._row(entry, whole, kind, kept=not members), *rows]

    def _row(self, entry: Entry, file: Member, kind: str, *, kept: bool) -> Row:
        file_id = hashlib.sha256(f"{self._spec.name}/{file.name}".encode()).hexdigest()[:32]
        before = self._by_id.get(file_id, {})
        large = kept and file.size_bytes > self._inline_max_bytes
        return {
            "file_id": file_id,
            "dataset": self._spec.name,
            "drop_date": self._drop,
            "path": file.name,
            "source_uri": entry.uri,
            "source_version": entry.version,
            "media_type": kind,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "uri": self._lake.store.uri_of(object_name(file.sha256)) if large else None,
            "ingested_at": before["ingested_at"] if before.get("sha256") == file.sha256 else self._now,
            "licence": self._spec.licence,
        }

    def replace(self, delivered: list[list[Row]], taken: list[Taken]) -> bool:
        """Store the bytes of what was taken, commit the drop's rows, forget what no row needs.

        Returns:
            False if nothing changed.

        Raises:
            WorkError: if a taken file is not the one any more that was described; nothing is committed.
            StaleRun: if another run has committed the drop since this one began.
        """
        rows = sorted(chain.from_iterable(delivered), key=lambda row: row["path"])
        kept = [row for group in delivered for row in with_bytes(group) if row["uri"] is None]
        texts = {row["sha256"] for row in kept if row["media_type"].startswith("text/")}
        needed = {row["sha256"] for row in kept}
        missing = needed - self._held
        fresh = self._store(taken, missing)
        changed = False
        if missing:
            changed |= self._commit(BRONZE_CONTENTS, row_groups(chain(self._stored(self._held, texts), fresh)))
            self._held |= missing
        else:
            for _ in fresh:  # large objects alone
                pass
        if rows == self._before:
            return changed
        changed |= self._commit(BRONZE_FILES, [pa.Table.from_pylist(rows, schema=BRONZE_FILES.schema)])
        if self._held - needed:
            with contextlib.suppress(StaleRun):  # a later run has stored bytes of its own; it will forget these, too
                self._commit(BRONZE_CONTENTS, row_groups(self._stored(needed, texts)))
        return changed

    def _store(self, taken: list[Taken], missing: Collection[str]) -> Iterator[Content]:
        """Write large files as objects; the small ones whose bytes are missing are for bronze.contents."""
        left = set(missing)
        for one in taken:
            for row, file in _opened(one, self._limits):
                if row["uri"] is not None:
                    store_object(self._lake, file, row)
                elif row["sha256"] in left:
                    left.remove(row["sha256"])
                    yield Content(row["sha256"], read_checked(file, row), row["media_type"].startswith("text/"))

    def _stored(self, shas: Collection[str], texts: Collection[str]) -> Iterator[Content]:
        for sha256, data in self._lake.contents(self._spec.name, self._drop, shas):
            yield Content(sha256, data, sha256 in texts)

    def _commit(self, table: Table, batches: Iterable[pa.Table]) -> bool:
        place, version = (self._spec.name, self._drop), self._versions[table.name]
        fragment = self._lake.write_fragment(table, *place, batches)
        changed = self._lake.commit_drop(table, *place, [fragment], expected_version=version)
        self._versions[table.name] += changed
        return changed


def by_delivered_file(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by the path of the file they were delivered in: itself first, then its members."""
    grouped: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["path"]):
        above = accumulate(row["path"].split("/")[:-1], "{}/{}".format)
        archive = next((path for path in above if path in grouped and is_opened(grouped[path][0])), row["path"])
        grouped.setdefault(archive, []).append(row)
    return grouped


def is_opened(row: Row) -> bool:
    """Is this an archive, or a Parquet file whose rows are recordings?"""
    return row["media_type"] in OPENED.values()


def is_broken(delivered: list[Row]) -> bool:
    """Is this an archive that could not be read?"""
    return is_opened(delivered[0]) and len(delivered) == 1


def with_bytes(delivered: list[Row]) -> list[Row]:
    """The rows whose bytes are kept: an archive's members, or the file itself."""
    return delivered[1:] or delivered


def _opened(taken: Taken, limits: Limits) -> Iterator[tuple[Row, IO[bytes]]]:
    """Each row whose bytes are kept, and the bytes, which can be read until the next is asked for."""
    rows = with_bytes(taken.rows)
    if rows is not taken.rows:
        members = archives.members(taken.path, limits, name=taken.rows[0]["path"])
        for row, (_, _, file) in zip(rows, members, strict=True):
            yield row, file
        return
    with taken.path.open("rb") as file:
        yield rows[0], file
