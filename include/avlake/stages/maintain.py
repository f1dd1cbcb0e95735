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
from avlake.ages import RETENTION_H, Found, folders, listed
from avlake.fragments import arrow_filesystem
from avlake.lake import Lake, live_files
from avlake.settings import Settings
from avlake.stages import bounded, contents, work
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
    """Tidy every table, then the notes of past runs, then objects.

    Args:
        retention_h: younger files stay. Less than the default is for a lake that nobody uses meanwhile.
    """
    lake = Lake.open(settings)
    tidied = [_tidy(lake, name, retention_h) for name in lake.tables()]
    notes = []
    for folder in (work.FOLDER, probe.FOLDER):
        files = list(listed(lake.store, folder))
        old = [file for file in files if file.age_h >= retention_h and not _is_mark(file)]
        notes.append(_remove(lake, folder, len(files), old))
    return [*tidied, *notes, _remove(lake, contents.FOLDER, *_objects(lake, retention_h))]


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
    """How many there are, and the old that no file of bronze.files names, of whichever version, committed or not."""
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
        for rows in _rows_of_files(lake):
            con.register("rows", rows).execute("INSERT INTO named SELECT sha256 FROM rows WHERE uri IS NOT NULL")
        query = "FROM old WHERE split_part(name, '/', -1) NOT IN (SELECT sha256 FROM named) ORDER BY name"
        return total, [Found(*row) for row in con.execute(query).fetchall()]


def _rows_of_files(lake: Lake) -> Iterator[pa.Table]:
    files = [f.name for f in listed(lake.store, BRONZE_FILES.path) if f.name.endswith(".parquet")]
    for name in (name for name in files if "/_delta_log/" not in name):
        with lake.store.explained():
            try:
                yield pq.read_table(
                    lake.store.path(name),
                    columns=["sha256", "uri"],
                    filesystem=arrow_filesystem(lake.store),
                    partitioning=None,
                )
            except pa.ArrowInvalid:
                log.info("%s is being written: what it names is young", name)


def _remove(lake: Lake, what: str, total: int, files: list[Found]) -> Upkeep:
    with lake.store.explained():
        for file in files:
            lake.store.fs.rm_file(lake.store.path(file.name))
    return Upkeep(what, total, total - len(files), sum(file.size_bytes for file in files))


def _is_mark(file: Found) -> bool:
    """What `avlake.probe` remembers of a store."""
    return file.name.startswith(probe.FOLDER) and file.name.endswith(".json")
