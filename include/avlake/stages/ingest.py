"""Ingest: bring a drop's bytes into bronze, exactly as they came.

Unchanged files are not fetched again. An archive becomes a row, and a row per member; its bytes are kept only as its
members'. One that cannot be read whole is kept itself and has no members: so bronze says it, see `archive_failures`.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from avlake.datasets import base
from avlake.datasets.base import Entry
from avlake.datasets.sources import download_folder, is_date
from avlake.errors import Quarantined, RequestError, UnknownDrop, WorkError
from avlake.lake import Lake
from avlake.media import archives
from avlake.media.limits import Limits
from avlake.media.media_types import OPENED
from avlake.settings import Settings, load_settings
from avlake.stages import bounded
from avlake.stages.bronze import BronzeDrop, Row, Taken, is_broken, is_opened
from avlake.stages.contents import object_name
from avlake.stages.record import record
from avlake.tables import BRONZE_FILES

Progress = Callable[[str, int, int], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestReport:
    """What bronze now holds of the drop."""

    files: int  # rows: archives and their members alike
    archives: int
    bytes: int  # as delivered
    quarantined: int  # archives that cannot be read
    changed: bool


def ingest(
    settings: Settings,
    *,
    dataset: str,
    source: str,
    drop: str,
    run_id: str,
    max_archives: int | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Make bronze hold one drop as its source has it now.

    Args:
        max_archives: of the archives that bronze does not have yet, take none beyond the first so many of the drop.

    Raises:
        UnknownDrop: if the source has no such drop; it lists the dates that exist.
        WorkError: if a file cannot be fetched; nothing is committed, and the next run resumes.
        StaleRun: if another run has committed the drop meanwhile.
    """
    began = time.perf_counter()
    if not is_date(drop):
        raise RequestError(f"{drop!r} is not a drop; drops are dates, YYYY-MM-DD")
    spec = base.load(dataset)
    opened = spec.open_source(source, settings)
    if drop not in opened.drops():
        raise UnknownDrop(dataset, drop, opened.uri, opened.drops())
    with download_folder(opened, drop, settings) as folder:
        lake = Lake.open(settings)
        bronze, failed = BronzeDrop(settings, lake, spec, drop), archive_failures(lake, dataset, drop, settings)
        entries = _first(opened.entries(drop), max_archives, bronze.delivered, spec.opens)
        if not entries and not bronze.delivered:
            raise UnknownDrop(dataset, drop, f"{opened.uri} (it is empty)", set(opened.drops()) - {drop})
        kept = {entry.path: bronze.delivered[entry.path] for entry in entries if bronze.has(entry, failed)}
        new = [entry for entry in entries if entry.path not in kept]
        log.info("%s: %s %s has %d files, %d of them new or changed", run_id, dataset, drop, len(entries), len(new))

        def take(entry: Entry) -> Taken:
            path = opened.fetch(entry, folder)
            return Taken(path, bronze.describe(entry, path))

        taken = _each(new, take, settings.download_concurrency, progress, len(kept))
        delivered = [*kept.values(), *(one.rows for one in taken)]
        changed = bronze.replace(delivered, taken)
    report = IngestReport(
        files=sum(map(len, delivered)),
        archives=sum(is_opened(rows[0]) for rows in delivered),
        bytes=sum(rows[0]["size_bytes"] for rows in delivered),
        quarantined=sum(is_broken(rows) for rows in delivered),
        changed=changed,
    )
    facts = {"files": report.files, "bytes": report.bytes, "errors": report.quarantined}
    seconds = time.perf_counter() - began
    record(lake, run_id=run_id, stage="ingest", seconds=seconds, dataset=dataset, drop_date=drop, **facts)
    return report


def archive_failures(lake: Lake, dataset: str, drop: str, settings: Settings | None = None) -> dict[str, Quarantined]:
    """Why each archive of a drop that has no members has none, by file_id: read again from the bytes bronze keeps."""
    limits = Limits.of(settings or load_settings())
    broken = _without_members(lake, dataset, drop)
    inline = dict(lake.contents(dataset, drop, {row["sha256"] for row in broken if row["uri"] is None}))
    failures = {}
    for row in broken:
        with _on_disk(lake, row, inline) as path:
            try:
                archives.inspect(path, limits, name=row["path"])
            except Quarantined as error:
                failures[row["file_id"]] = error
    return failures


def _without_members(lake: Lake, dataset: str, drop: str) -> list[Row]:
    """Archives that no row is a member of; members may be archives themselves."""
    with bounded.connect() as con:
        bounded.show(con, "files", lake, BRONZE_FILES, [(dataset, drop)])
        query = "SELECT path FROM files WHERE list_contains(?, media_type)"
        named = con.execute(query, [[*OPENED.values()]]).fetchall()
        empty = dict.fromkeys((path for (path,) in named), True)
        for batch in bounded.batches(con, "SELECT path FROM files WHERE contains(path, '/')"):
            for path in batch["path"].to_pylist():
                above = accumulate(path.split("/")[:-1], "{}/{}".format)
                if archive := next((name for name in above if name in empty), None):
                    empty[archive] = False
                    if path in empty:
                        empty[path] = False
        broken = [path for path, is_empty in empty.items() if is_empty]
        query = (
            "SELECT file_id, path, sha256, uri FROM files SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS path) USING (path)"
        )
        rows: list[Row] = con.execute(query, [broken]).to_arrow_table().to_pylist()
    return rows


def _first(
    entries: list[Entry], max_archives: int | None, known: Collection[str], opens: Callable[[str], bool]
) -> list[Entry]:
    """All but the archives beyond the first so many, unless bronze has them already."""
    names = [entry.path for entry in entries if opens(entry.path)]
    left_out = set(names[max_archives:]) - set(known) if max_archives is not None else set()
    return [entry for entry in entries if entry.path not in left_out]


def _each(
    entries: list[Entry], take: Callable[[Entry], Taken], workers: int, progress: Progress | None, done: int
) -> list[Taken]:
    """Take all entries, some at a time, in order.

    Raises:
        WorkError: naming those that failed, after all have been tried.
    """
    taken, failures = [], []
    total = done + len(entries)
    with ThreadPoolExecutor(workers) as pool:
        waiting = [(entry, pool.submit(take, entry)) for entry in entries]
        try:
            for entry, future in waiting:
                try:
                    taken.append(future.result())
                except (WorkError, OSError) as error:
                    failures.append(f"{entry.path} ({error})")
                done += 1
                if progress:
                    progress(entry.path, done, total)
        finally:
            pool.shutdown(cancel_futures=True)
    if failures:
        shown = "; ".join(failures[:5]) + ("; ..." if len(failures) > 5 else "")
        raise WorkError(f"{len(failures)} of {len(entries)} files could not be taken: {shown}. Run again to resume")
    return taken


@contextlib.contextmanager
def _on_disk(lake: Lake, row: Row, inline: Mapping[str, bytes]) -> Iterator[Path]:
    """A kept file's bytes as a local file."""
    if row["uri"] is not None:
        with lake.store.local_copy(object_name(row["sha256"])) as path:
            yield path
        return
    with tempfile.NamedTemporaryFile(prefix="avlake-") as file:
        file.write(inline[row["sha256"]])
        file.flush()
        yield Path(file.name)
