"""Takedowns: files and people that must not be used any longer, and what follows from that.

The list `governance.takedowns` says who asked; `excluded` says which files that means in the lake as it is now, and is
the only place that does. Curate and publish leave them out, so whatever reads gold or the warehouse never sees them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from avlake.datasets.voxceleb import LAYOUT, VOXCELEB
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.media.archives import ARCHIVE_OF
from avlake.settings import Settings
from avlake.stages import bounded
from avlake.tables import BRONZE_FILES, EXTRACTIONS, HUMAN_LABELS, LABELS, SCORES, TAKEDOWNS

MEMORY = "1GB"  # of DuckDB, however many files bronze and ops know
FILE_ID = re.compile(r"[0-9a-f]{32}")
NO_BYTES = hashlib.sha256(b"").hexdigest()  # empty files have nothing in common
SHA256S = "coalesce(list(DISTINCT sha256 ORDER BY sha256) FILTER (sha256 IS NOT NULL), [])"
COLUMNS = ("dataset", "path", "subject_id", "file_id", "reason", "who", "when")

# Every file that bronze, ops or the scores know. What a text file says is no recording: a licence is the same in many
# archives.
FILES = f"""
CREATE TABLE files AS
SELECT dataset, drop_date, file_id, path, sha256, regexp_extract(path, '{ARCHIVE_OF}', 1) AS archive,
    regexp_matches(media_type, '^(audio|video|image)/') AS is_recording
FROM bronze_files
UNION ALL
SELECT DISTINCT dataset, drop_date, file_id, path, sha256, '', true
FROM ops_extractions ANTI JOIN bronze_files USING (dataset, drop_date, file_id, sha256) WHERE extractor != 'ingest'
UNION ALL
SELECT dataset, drop_date, file_id, path, NULL, '', true FROM scores
"""

# Who is in a file, by labels; by its path, for a drop is sampled before its labels are there; by the scores, which are
# of clips laid out like VoxCeleb's and name its people; and by what people say of tracks last, of all files that this
# may mean: a film goes with any who is seen in it.
PEOPLE = f"""
CREATE TABLE people AS
WITH seen AS (
    SELECT dataset, item, value AS subject_id FROM human_labels WHERE starts_with(name, 'talker:')
    QUALIFY row_number() OVER (PARTITION BY dataset, item, name ORDER BY "when" DESC, label_id DESC) = 1
), called AS (
    SELECT dataset, file_id, unnest([path, name, regexp_replace(name, '(.)\\.[^.]*$', '\\1')]) AS item
    FROM (SELECT DISTINCT dataset, file_id, path, regexp_extract(path, '[^/]+$') AS name FROM files WHERE is_recording)
    SEMI JOIN seen USING (dataset)
), meant AS (
    SELECT dataset, file_id, nfc_normalize(unnest([item, dataset || '/' || item])) AS item FROM called
)
SELECT dataset, file_id, subject_id FROM seen JOIN meant USING (dataset, item) WHERE subject_id IS NOT NULL
UNION
SELECT dataset, file_id, subject_id FROM labels WHERE subject_id IS NOT NULL
UNION
SELECT '{VOXCELEB.name}', file_id, regexp_extract(ltrim(path, '/'), '{LAYOUT}', 1, 'i') FROM files
WHERE dataset IN ('{VOXCELEB.name}', 'scores') AND regexp_matches(ltrim(path, '/'), '{LAYOUT}', 'i')
UNION
SELECT unnest([dataset, '{VOXCELEB.name}']), file_id, subject_id FROM scores WHERE subject_id IS NOT NULL
"""

# What was named, or has a named person in it, a named archive's members, equal bytes elsewhere; then archives left
# without recordings, and scores of the paths that are out.
EXCLUDED = f"""
CREATE TABLE named AS
    SELECT file_id FROM takedowns WHERE file_id IS NOT NULL
    UNION SELECT file_id FROM people SEMI JOIN takedowns USING (dataset, subject_id)
    UNION SELECT f.file_id FROM files AS f JOIN takedowns AS t
        ON f.dataset = t.dataset AND t.file_id IS NOT NULL AND starts_with(f.path, t.path || '/');
CREATE TABLE bytes AS
    SELECT unnest(sha256s) AS sha256 FROM takedowns
    UNION SELECT sha256 FROM files JOIN named USING (file_id)
        WHERE is_recording OR file_id IN (SELECT file_id FROM takedowns);
CREATE TABLE gone AS
    SELECT file_id FROM named
    UNION SELECT file_id FROM files SEMI JOIN bytes USING (sha256) WHERE sha256 != '{NO_BYTES}';
CREATE TABLE emptied AS
    SELECT dataset, archive FROM files WHERE archive != '' AND is_recording
    GROUP BY ALL HAVING bool_and(file_id IN (SELECT file_id FROM gone));
INSERT INTO gone SELECT file_id FROM files SEMI JOIN emptied USING (dataset, archive);
INSERT INTO gone SELECT file_id FROM scores WHERE path IN (
    SELECT path FROM files WHERE file_id IN (SELECT file_id FROM gone)
    UNION SELECT path FROM takedowns WHERE path IS NOT NULL
);
"""

# All that people who label may call them, but for what is another file's path: see `stages.human`.
CALLED = """
WITH paths AS (
    SELECT dataset, path FROM files SEMI JOIN gone USING (file_id)
    UNION SELECT dataset, path FROM takedowns WHERE path IS NOT NULL
), names AS (
    SELECT dataset, unnest([path, name, regexp_replace(name, '(.)\\.[^.]*$', '\\1')]) AS item
    FROM (SELECT dataset, path, regexp_extract(path, '[^/]+$') AS name FROM paths)
)
SELECT dataset, nfc_normalize(unnest([item, dataset || '/' || item])) AS item FROM names
EXCEPT SELECT dataset, nfc_normalize(path) FROM files ANTI JOIN gone USING (file_id)
"""


@dataclass(frozen=True)
class Excluded:
    """The files that are out, and how many recordings of how many people that is, as far as people are known."""

    file_ids: tuple[str, ...] = ()  # sorted
    by_drop: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of them, those in each `dataset/drop_date`
    recordings: int = 0
    people: int = 0
    items: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what their labels call them, by dataset

    def mark(self, drop: str | None = None) -> str:
        """A fingerprint of what is out, in one drop or anywhere."""
        called = [item for _, items in sorted(self.items.items()) for item in items]
        ids = [*self.file_ids, *called] if drop is None else self.by_drop.get(drop, ())
        return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]

    def without(self, data: ds.Dataset) -> ds.Dataset:
        """The rows of a table that are left; all of them where it has neither file_id nor item."""
        if self.file_ids and "file_id" in data.schema.names:
            return data.filter(~pc.field("file_id").isin(pa.array(self.file_ids)))
        if "item" in data.schema.names:
            for dataset, items in self.items.items():
                data = data.filter(~((pc.field("dataset") == dataset) & pc.field("item").isin(pa.array(items))))
        return data

    def __str__(self) -> str:
        if not self.file_ids:
            return ""
        people = "" if not self.people else " of 1 person" if self.people == 1 else f" of {self.people} people"
        return f"{self.recordings} recording{'s' * (self.recordings != 1)}{people} taken down"


def excluded(lake: Lake, drops: Collection[tuple[str, str]] | None = None) -> Excluded:
    """What the list means for the files of some drops, by default those that readers see."""
    if lake.log_version(TAKEDOWNS.name) is None:
        return Excluded()
    with _opened(lake, drops) as con:
        con.execute(EXCLUDED)
        by_drop = con.execute(
            """SELECT concat_ws('/', dataset, drop_date), list(DISTINCT file_id ORDER BY file_id)
            FROM (SELECT dataset, drop_date, file_id FROM files UNION SELECT dataset, drop_date, file_id FROM labels)
            SEMI JOIN gone USING (file_id) GROUP BY 1 ORDER BY 1"""
        ).fetchall()
        ids = con.execute("SELECT DISTINCT file_id FROM gone ORDER BY 1").fetchall()
        counts = con.execute(
            """SELECT (SELECT count(DISTINCT file_id) FROM files SEMI JOIN gone USING (file_id) WHERE is_recording),
            (SELECT count(DISTINCT (dataset, subject_id)) FROM people SEMI JOIN gone USING (file_id)
                WHERE dataset != 'scores')"""
        ).fetchall()[0]
        called = con.execute(f"SELECT dataset, list(DISTINCT item ORDER BY item) FROM ({CALLED}) GROUP BY 1 ORDER BY 1")
        items = {dataset: tuple(found) for dataset, found in called.fetchall()}
    return Excluded(
        tuple(row[0] for row in ids), {drop: tuple(found) for drop, found in by_drop}, counts[0], counts[1], items
    )


@dataclass(frozen=True)
class Added:
    """One request: whom or what it named, and whether the list had it already."""

    name: str
    new: bool
    recordings: int  # known today; more may come


def add(
    settings: Settings, *, files: Sequence[str] = (), subjects: Sequence[str] = (), reason: str, who: str
) -> list[Added]:
    """Put files and people on the list, all of them or none.

    Args:
        files: `DATASET/PATH`, a path that one dataset has, or a file_id.
        subjects: `DATASET/SUBJECT`.

    Raises:
        RequestError: for one that the lake does not know, naming what is like it; or without a reason or a name.
    """
    if not files and not subjects:
        raise RequestError("nothing to take down: give --file DATASET/PATH or --subject DATASET/SUBJECT")
    if not reason.strip() or not who.strip():
        raise RequestError("a takedown needs --reason TEXT and --by NAME: others will ask why")
    lake = Lake.open(settings)
    with _opened(lake, lake.drops(BRONZE_FILES.name)) as con:
        found = [_file(con, name) for name in files] + [_subject(con, name) for name in subjects]
    known, added = {_identity(row) for row in _listed(lake)}, []
    for row, recordings in found:
        identity = _identity(row)
        row |= {"reason": reason.strip(), "who": who.strip(), "when": datetime.now(UTC)}
        rows = pa.Table.from_pylist([row], schema=TAKEDOWNS.schema)
        new = identity not in known and lake.append(TAKEDOWNS, rows, once=identity)
        known.add(identity)
        added.append(Added(f"{row['dataset']}/{row['path'] or row['subject_id']}", new, recordings))
    return added


def listed(lake: Lake) -> list[tuple[Any, ...]]:
    """The list, oldest first, in the order of `COLUMNS`."""
    rows = sorted(_listed(lake), key=lambda row: row["when"])
    return [tuple(row[name] for name in COLUMNS) for row in rows]


def _listed(lake: Lake) -> list[dict[str, Any]]:
    data = lake.scan(TAKEDOWNS.name)
    return data.to_table().to_pylist() if data is not None else []


def _identity(row: Mapping[str, Any]) -> str:
    return f"file/{row['file_id']}" if row["file_id"] else f"subject/{row['dataset']}/{row['subject_id']}"


@contextmanager
def _opened(lake: Lake, drops: Collection[tuple[str, str]] | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with `files`, `labels`, `human_labels`, `scores`, `people` and `takedowns`."""
    seen = lake.drops() if drops is None else drops
    tables = {"bronze_files": BRONZE_FILES, "ops_extractions": EXTRACTIONS, "labels": LABELS, "scores": SCORES}
    tables |= {"human_labels": HUMAN_LABELS, "takedowns": TAKEDOWNS}
    with bounded.connect(MEMORY) as con:
        for name, table in tables.items():
            con.register(name, lake.scan(table.name, seen) or ds.dataset(table.schema.empty_table()))
        con.execute(FILES)
        con.execute(PEOPLE)
        yield con


def _file(con: duckdb.DuckDBPyConnection, name: str) -> tuple[dict[str, Any], int]:
    """A row of the list, and how many recordings it names."""
    known = "SELECT DISTINCT dataset, file_id, path FROM files WHERE"
    column = "file_id" if FILE_ID.fullmatch(name) else "dataset || '/' || path"
    # A path alone is that of the file rather than of its scores, which go with it.
    found = (
        con.execute(f"{known} {column} = ?", [name]).fetchall()
        or con.execute(
            f"{known} path = ? QUALIFY rank() OVER (ORDER BY dataset = 'scores') = 1 ORDER BY ALL", [name]
        ).fetchall()
    )
    if not found:
        raise RequestError(f"no file {name!r} in bronze.files or silver.scores{_like(con, name, 'files', 'path')}")
    if len(found) > 1:
        raise RequestError(f"file {name!r} is in several datasets: say {' or '.join(f'{d}/{p}' for d, _, p in found)}")
    dataset, file_id, path = found[0]
    shas, recordings = con.execute(
        f"SELECT {SHA256S}, count(DISTINCT file_id) FILTER (is_recording) FROM files "
        "WHERE file_id = $id OR (is_recording AND dataset = $dataset AND starts_with(path, $path || '/'))",
        {"id": file_id, "dataset": dataset, "path": path},
    ).fetchall()[0]
    row = {"file_id": file_id, "subject_id": None, "dataset": dataset, "path": path, "sha256s": shas}
    return row, recordings


def _subject(con: duckdb.DuckDBPyConnection, name: str) -> tuple[dict[str, Any], int]:
    dataset, _, subject = name.partition("/")
    shas, recordings = con.execute(
        f"SELECT {SHA256S}, count(DISTINCT file_id) FROM files JOIN people AS p USING (file_id) "
        "WHERE p.dataset = ? AND subject_id = ? AND is_recording",
        [dataset, subject],
    ).fetchall()[0]
    if not recordings:
        like = _like(con, name, "people", "subject_id")
        raise RequestError(f"no person {name!r} in silver.labels, silver.scores or labels.human{like}")
    row = {"file_id": None, "subject_id": subject, "dataset": dataset, "path": None, "sha256s": shas}
    return row, recordings


def _like(con: duckdb.DuckDBPyConnection, name: str, table: str, column: str) -> str:
    """The names most like the one asked for, as the end of a sentence."""
    found = con.execute(
        f"""SELECT DISTINCT dataset || '/' || {column} AS name FROM {table} WHERE {column} IS NOT NULL
        ORDER BY jaro_winkler_similarity(name, ?) DESC, name LIMIT 3""",
        [name],
    ).fetchall()
    return f"; like it: {', '.join(row[0] for row in found)}" if found else "; the lake is empty"
