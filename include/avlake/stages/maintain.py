"""Maintain: compact the lake's small files, and remove what nobody refers to and no running task can be writing.

Safe beside running drops: compaction leaves rows and the drops' transaction versions as they are (a run planned before
it commits as if nothing had happened), and nothing younger than the retention is removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import CommitFailedError

from avlake import probe
from avlake.ages import RETENTION_H, Found, age_h, folders, listed
from avlake.errors import WorkError
from avlake.extractors import base
from avlake.fragments import arrow_filesystem
from avlake.lake import Lake, live_files
from avlake.settings import Settings
from avlake.stages import bounded, contents, work
from avlake.stages.pages import outdated
from avlake.tables import BRONZE_CONTENTS, BRONZE_FILES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upkeep:
    """What became of one table, or of one kind of files."""

    what: str
    files_before: int
    files_after: int
    bytes_freed: int


def maintain(settings: Settings, *, retention_h: int = RETENTION_H) -> list[Upkeep]:
    """Tidy every table, then the notes of past runs, pages from before a takedown and old previews, then objects.

    Args:
        retention_h: younger files stay. Less than the default is for a lake that nobody uses meanwhile.

    Raises:
        WorkError: where a file that names objects is damaged; no object is removed then.
    """
    lake = Lake.open(settings)
    tidied = [_tidy(lake, name, retention_h) for name in lake.tables()]
    notes = []
    for folder in (work.FOLDER, probe.FOLDER):
        files = list(listed(lake.store, folder))
        old = [file for file in files if file.age_h >= retention_h and not _is_mark(file)]
        notes.append(_remove(lake, folder, len(files), old, retention_h))
    total, gone = outdated.remove_outdated(lake, retention_h=retention_h)
    notes.append(Upkeep(outdated.FOLDER, total, total - len(gone), sum(page.size_bytes for page in gone)))
    return [*tidied, *notes, _remove(lake, contents.FOLDER, *_objects(lake, retention_h), retention_h)]


def _tidy(lake: Lake, name: str, retention_h: int) -> Upkeep:
    """Compact and vacuum a table, and shorten its log: a checkpoint makes the commits before it needless to read."""
    folder = name.replace(".", "/")
    sizes = {file.name: file.size_bytes for file in listed(lake.store, folder)}
    delta = lake.delta(name)
    assert delta is not None, name
    before = len(live_files(delta))
    with lake.store.explained():
        # A drop's bytes are one sorted file with row groups that `Lake.contents` skips: nothing to gain, much to lose.
        if name != BRONZE_CONTENTS.name:
            try:
                delta.optimize.compact(max_concurrent_tasks=1)
            except CommitFailedError:
                log.warning("%s: a run has committed meanwhile; compacted the next time", name)
                delta.update_incremental()
        delta.vacuum(retention_h, dry_run=False, full=True, enforce_retention_duration=retention_h >= RETENTION_H)
        delta.create_checkpoint()
        delta.cleanup_metadata()
    left = {file.name for file in listed(lake.store, folder)}
    freed = sum(size for file, size in sizes.items() if file not in left)
    return Upkeep(name, before, len(live_files(delta)), freed)


def _objects(lake: Lake, retention_h: int) -> tuple[int, list[Found]]:
    """How many there are, and the old that no file of a table names, of whichever version, committed or not."""
    total = 0
    with bounded.connect() as con:
        con.execute("CREATE TABLE old (name TEXT, size_bytes BIGINT, age_h DOUBLE)")
        con.execute("CREATE TABLE named (sha256 TEXT)")
        for folder in folders(lake.store, contents.FOLDER):
            files = list(listed(lake.store, folder))
            total += len(files)
            if old := [file for file in files if file.age_h >= retention_h]:
                con.register("rows", pa.Table.from_pylist([file._asdict() for file in old]))
                con.execute("INSERT INTO old FROM rows")
        if con.execute("SELECT count(*) FROM old").fetchone() == (0,):
            return total, []
        read: set[str] = set()
        for _ in range(2):  # the second time for what was committed during the first
            for rows in _naming_files(lake, read, retention_h):
                con.register("rows", rows).execute("INSERT INTO named SELECT split_part(name, '/', -1) FROM rows")
        query = "FROM old WHERE split_part(name, '/', -1) NOT IN (SELECT sha256 FROM named) ORDER BY name"
        return total, [Found(*row) for row in con.execute(query).fetchall()]


def _naming_files(lake: Lake, read: set[str], retention_h: int) -> Iterator[pa.Table]:
    """What names an object, a URI or a sha256, in every file that is there, but for those `read` already."""
    owners = {BRONZE_FILES.path: ["uri"]}
    owners |= {e.table.path: list(e.objects) for e in base.all_extractors().values() if e.objects}
    for folder, columns in owners.items():
        found = [f for f in listed(lake.store, folder) if f.name.endswith(".parquet") and f.name not in read]
        for file in (file for file in found if "/_delta_log/" not in file.name):
            read.add(file.name)
            if (rows := _columns_of(lake, file, folder, columns, retention_h)) is not None:
                for column in rows.columns:
                    yield pa.table({"name": column.drop_null()})


def _columns_of(lake: Lake, file: Found, folder: str, columns: list[str], retention_h: int) -> pa.Table | None:
    """Columns of one file; None where it is still being written.

    Raises:
        WorkError: where it is damaged.
    """
    with lake.store.explained():
        try:
            return pq.read_table(
                lake.store.path(file.name),
                columns=columns,
                filesystem=arrow_filesystem(lake.store),
                partitioning=None,
            )
        except pa.ArrowInvalid as error:
            if file.age_h >= retention_h or _is_live(lake, folder, file.name):
                raise WorkError(
                    f"{lake.store.uri_of(file.name)} is damaged ({error}): the objects that it names are unknown, "
                    "so none was removed; put a sound copy in its place and run `avlake maintain` again"
                ) from error
            log.info("%s is being written: what it names is young", file.name)
            return None


def _is_live(lake: Lake, folder: str, name: str) -> bool:
    delta = lake.delta(folder.replace("/", "."))
    return delta is not None and name in {f"{folder}/{live.path}" for live in live_files(delta)}


def _remove(lake: Lake, what: str, total: int, files: list[Found], retention_h: int) -> Upkeep:
    removed = []
    for file in files:
        age = age_h(lake.store, file.name)  # again: a run may have written it anew, see `contents.store_object`
        if age is not None and age >= retention_h:
            with lake.store.explained():
                lake.store.fs.rm_file(lake.store.path(file.name))
            removed.append(file)
    return Upkeep(what, total, total - len(removed), sum(file.size_bytes for file in removed))


def _is_mark(file: Found) -> bool:
    """What `avlake.probe` remembers of a store."""
    return file.name.startswith(probe.FOLDER) and file.name.endswith(".json")
