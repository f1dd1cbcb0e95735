"""What is missing of a drop, and what its new commit takes over: rows that stay, rows of identical bytes, labels.

A commit replaces all rows of its drop, so everything that is not measured anew has to be carried into it. All of it is
SQL over these relations, in bounded memory whatever the drop's size:

    files       the drop's rows of bronze.files             prior    its rows of ops.extractions
    media       its recordings, or those of the sample      done     ops.extractions of every drop
    identities  file_id, sha256, extractor, params_hash:    missing  file_id, extractor: what is not measured yet
                what is wanted                              kept     file_id, extractor, status: what of `prior` stays
    copies      rows of `done` that a `target` takes over
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import duckdb
import pyarrow as pa

from avlake.datasets.base import Dataset
from avlake.errors import Quarantined, StaleRun
from avlake.extractors import base
from avlake.lake import Lake
from avlake.settings import MIB
from avlake.stages import bounded, told
from avlake.stages.labels import labels
from avlake.stages.work import Output
from avlake.tables import BRONZE_FILES, EXTRACTIONS, LABELS, Table

FRAGMENT_BYTES = 64 * MIB  # in memory; less as a file
REPLACING = "replacing"  # a params_hash that nothing has

# As `extractors.base.identity` has it.
IDENTITIES = """
CREATE VIEW identities AS
SELECT file_id, sha256, extractor,
    CASE WHEN annotated AND annotation IS NOT NULL THEN params_hash || ':' || left(annotation, 16) ELSE params_hash END
        AS params_hash
FROM (FROM media LEFT JOIN annotations USING (file_id)), wanted
"""
MISSING = """
CREATE TABLE missing AS
WITH there AS (
    SELECT file_id, extractor FROM prior JOIN identities USING (file_id, sha256, extractor, params_hash)
)
SELECT file_id, extractor
FROM (SELECT file_id, extractor FROM identities WHERE extractor != 'open')
ANTI JOIN there USING (file_id, extractor)
ANTI JOIN (FROM there WHERE extractor = 'open') AS unreadable USING (file_id)
"""
# A failure to open stands for all extractors, but another path's bytes may have been measured all the same.
COPIES = """
CREATE TABLE copies AS
WITH taken AS (
    SELECT file_id AS target, sha256, extractor, params_hash
    FROM identities SEMI JOIN missing USING (file_id, extractor)
    UNION ALL
    SELECT file_id, sha256, extractor, params_hash
    FROM identities SEMI JOIN missing USING (file_id) WHERE extractor = 'open'
)
SELECT target, done.* FROM done JOIN taken USING (sha256, extractor, params_hash)
QUALIFY row_number() OVER (PARTITION BY target, extractor ORDER BY status, dataset, drop_date, file_id) = 1;

DELETE FROM copies
WHERE extractor = 'open' AND target IN (SELECT target FROM copies WHERE extractor != 'open')
"""
NOT_COPIED = """
DELETE FROM missing
WHERE file_id IN (SELECT target FROM copies WHERE extractor = 'open')
    OR (file_id, extractor) IN (SELECT (target, extractor) FROM copies)
"""
LIMITED = """
DELETE FROM missing
WHERE file_id NOT IN (SELECT file_id FROM media SEMI JOIN missing USING (file_id) ORDER BY path LIMIT ?)
"""
KEPT = """
CREATE TABLE kept AS
WITH anew AS (SELECT file_id, extractor FROM missing UNION ALL SELECT target, extractor FROM copies)
SELECT file_id, extractor, status
FROM prior SEMI JOIN files USING (file_id, sha256) ANTI JOIN anew USING (file_id, extractor)
WHERE NOT (extractor = 'open' AND file_id IN (SELECT file_id FROM anew))
    AND (extractor != 'ingest' OR file_id IN (SELECT unnest(?::VARCHAR[])))
"""


@dataclass(frozen=True)
class Counts:
    """Files of a drop."""

    to_measure: int
    reused: int  # their bytes were measured under another path or drop
    unchanged: int  # measured already
    remaining: int  # left for later by the limit
    left_out: int  # not measured, for they are not in the sample


@dataclass(frozen=True)
class Takeover:
    """Fragments for the commit; for the claim before it; and the names of the tables that change at all."""

    carried: Output
    claim: Output
    changed: set[str]
    said: str | None  # of the drop's labels, see `Dataset.summary`


def find_work(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    dataset: Dataset,
    drop: str,
    *,
    hashes: Mapping[str, str],
    limit: int | None = None,
    sampled: bool = False,
) -> Counts:
    """Make all relations but `kept`; `missing` is then what is to be measured now.

    Args:
        sampled: measure only the files that `clips` says are in the sample, see `stages.sample`. What is measured of
            the others stays.
    """
    place = [(dataset.name, drop)]
    bounded.show(con, "files", lake, BRONZE_FILES, place)
    bounded.show(con, "prior", lake, EXTRACTIONS, place)
    bounded.show(con, "done", lake, EXTRACTIONS, None)
    bounded.predicate(con, "is_media", dataset.is_media)
    con.execute("CREATE VIEW recordings AS SELECT file_id, path, sha256, uri FROM files WHERE is_media(path)")
    chosen = "SEMI JOIN (FROM clips WHERE sampled) AS drawn USING (file_id)" if sampled else ""
    con.execute(f"CREATE TABLE media AS FROM recordings {chosen}")
    annotated = [name != "open" and base.load(name).annotated for name in hashes]
    con.execute(
        """CREATE TABLE wanted AS
        SELECT unnest(?::VARCHAR[]) AS extractor, unnest(?::VARCHAR[]) AS params_hash,
            unnest(?::BOOLEAN[]) AS annotated""",
        [list(hashes), list(hashes.values()), annotated],
    )
    told.show(con, lake, dataset, drop, needed=any(annotated))
    con.execute(IDENTITIES)
    con.execute(MISSING)
    con.execute(COPIES)
    media = bounded.value(con, "SELECT count(*) FROM media")
    new = bounded.value(con, "SELECT count(DISTINCT file_id) FROM missing")
    con.execute(NOT_COPIED)
    to_measure = bounded.value(con, "SELECT count(DISTINCT file_id) FROM missing")
    remaining = 0
    if limit is not None and limit < to_measure:
        con.execute(LIMITED, [limit])
        remaining = to_measure - limit
    reused = bounded.value(con, "SELECT count(DISTINCT target) FROM copies")
    left_out = "SELECT count(*) FROM recordings ANTI JOIN media USING (file_id) ANTI JOIN prior USING (file_id)"
    return Counts(
        to_measure - remaining, reused, media - new, remaining, bounded.value(con, left_out) if sampled else 0
    )


def carry(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    dataset: Dataset,
    drop: str,
    *,
    failures: Mapping[str, Quarantined],
    run_id: str,
) -> Takeover:
    """Write what the commit takes over.

    Rows of ops that are about to be replaced are claimed first: committed with a hash that nothing has. So a run that
    is killed between its silver tables leaves no ops row that vouches for silver of another version, and one that
    comes too late finds out before it has touched silver.

    Raises:
        StaleRun: when another run has replaced what is copied from its drop meanwhile.
    """
    con.execute(KEPT, [list(failures)])
    replaced = "FROM prior ANTI JOIN kept USING (file_id, extractor)"
    touched = _names(con, f"SELECT extractor {replaced} UNION FROM (SELECT extractor FROM missing)")
    touched |= _names(con, "SELECT extractor FROM copies")
    known = _names(con, "SELECT file_id FROM kept WHERE extractor = 'ingest'")
    broken = _failed(con, {i: error for i, error in failures.items() if i not in known})

    output, claim, changed = Output(), Output(), set()

    def write(to: Output, table: Table, batches: Iterable[pa.Table]) -> None:
        for part in _parts(iter(batches)):
            to.add(table, lake.write_fragment(table, dataset.name, drop, part))

    for name in sorted(touched - {"open", "ingest"}):
        table = base.load(name).table
        write(output, table, _silver(con, lake, table, name, (dataset.name, drop)))
        changed.add(table.name)
    _check_copied(con, lake)
    if bounded.value(con, f"SELECT count(*) {replaced}"):
        marked = f"""SELECT prior.* REPLACE (if(kept.file_id IS NULL, '{REPLACING}', params_hash) AS params_hash)
            FROM prior LEFT JOIN kept USING (file_id, extractor)"""
        write(claim, EXTRACTIONS, bounded.batches(con, marked))
    if touched or broken.num_rows:
        write(output, EXTRACTIONS, _ops(con, broken, run_id))
        changed.add(EXTRACTIONS.name)
    summary = dataset.summary() if dataset.summary else None
    write(output, LABELS, labels(con, lake, dataset, drop, summary))
    return Takeover(output, claim, changed | {LABELS.name}, summary.words() if summary else None)


def _parts(batches: Iterator[pa.Table]) -> Iterator[Iterator[pa.Table]]:
    """Cut into files of moderate size: who reads one through Arrow holds all of it."""

    def one(first: pa.Table) -> Iterator[pa.Table]:
        size = 0
        for batch in chain([first], batches):
            yield batch
            if (size := size + batch.nbytes) >= FRAGMENT_BYTES:
                return

    for first in batches:
        yield one(first)


def _names(con: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    return {name for (name,) in con.execute(f"SELECT DISTINCT * FROM ({query})").fetchall()}


def _silver(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, extractor: str, drop: tuple[str, str]
) -> Iterator[pa.Table]:
    """The drop's rows that stay, and those of identical bytes under this drop's own file ids."""
    bounded.show(con, "silver", lake, table, [drop])
    stays = f"(FROM kept WHERE extractor = '{extractor}' AND status = 'ok') AS stays"
    yield from bounded.batches(con, f"SELECT silver.* FROM silver SEMI JOIN {stays} USING (file_id)")
    copied = f"(FROM copies WHERE extractor = '{extractor}' AND status = 'ok') AS copied"
    if sources := con.execute(f"SELECT DISTINCT dataset, drop_date FROM {copied}").fetchall():
        bounded.show(con, "silver", lake, table, sources)
        same = f"silver JOIN {copied} USING (dataset, drop_date, file_id)"
        yield from bounded.batches(con, f"SELECT silver.* REPLACE (target AS file_id) FROM {same}")


def _check_copied(con: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Make sure that the ops rows still stand which vouch for the copied silver: a commit replaces them first."""
    if not (sources := con.execute("SELECT DISTINCT dataset, drop_date FROM copies").fetchall()):
        return
    bounded.show(con, "vouching", lake, EXTRACTIONS, sources)
    same = "USING (dataset, drop_date, file_id, sha256, extractor, params_hash, run_id, seconds)"
    if gone := bounded.value(con, f"SELECT count(*) FROM copies ANTI JOIN vouching {same}"):
        shown = ", ".join(sorted({" ".join(source) for source in sources}))
        raise StaleRun(
            f"another run has replaced {gone} of the measurements that were to be copied from {shown}; "
            "nothing was changed, run it again"
        )


def _ops(con: duckdb.DuckDBPyConnection, broken: pa.Table, run_id: str) -> Iterator[pa.Table]:
    yield from bounded.batches(con, "SELECT prior.* FROM prior SEMI JOIN kept USING (file_id, extractor)")
    yield from bounded.batches(
        con,
        f"""SELECT copies.* EXCLUDE (target) REPLACE (target AS file_id, media.path AS path, '{run_id}' AS run_id)
        FROM copies JOIN media ON target = media.file_id""",
    )
    yield broken.append_column("run_id", pa.array([run_id] * broken.num_rows, pa.string()))


def _failed(con: duckdb.DuckDBPyConnection, failures: Mapping[str, Quarantined]) -> pa.Table:
    """Rows of ops for unreadable archives, but for the run's id."""
    con.register(
        "failures",
        pa.table(
            {
                "file_id": pa.array(failures, pa.string()),
                "error_class": pa.array([error.error_class for error in failures.values()], pa.string()),
                "error": pa.array([str(error) for error in failures.values()], pa.string()),
            }
        ),
    )
    return con.sql(
        """SELECT file_id, path, sha256, 'ingest' AS extractor, '' AS params_hash, 'quarantined' AS status,
            error_class, error, 0.0::DOUBLE AS seconds FROM failures JOIN files USING (file_id)"""
    ).to_arrow_table()
