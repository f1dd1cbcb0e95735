"""What a drop's own text files say of its recordings, an archive at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from avlake.datasets.base import Annotation, BronzeFile, Dataset, Label, Summary
from avlake.lake import Lake
from avlake.media.archives import ARCHIVE_OF
from avlake.stages import bounded
from avlake.stages.contents import object_name

TEXTS = pa.schema({"sha256": pa.string(), "content": pa.binary()})
TEXTS_AT_ONCE = 1_000
ROWS = pa.schema(dict.fromkeys(("file_id", "subject_id", "name", "value", "source"), pa.string()))
FILES_AT_ONCE = 50_000  # DuckDB sorts in memory
# Recordings and label files; all of one archive are in one part.
LABELLED = f"""
CREATE TABLE labelled AS
SELECT hash(archive) % ? AS part, archive, file_id, path, media_type, sha256, content, is_label
FROM (
    SELECT file_id, path, media_type, sha256, NULL AS content, false AS is_label FROM files WHERE is_media(path)
    UNION ALL
    SELECT file_id, path, media_type, sha256, content, true AS is_label
    FROM files LEFT JOIN texts USING (sha256) WHERE is_label_file(path)
), LATERAL (SELECT regexp_extract(path, '{ARCHIVE_OF}', 1) AS archive)
"""
T = TypeVar("T")
Row = dict[str, Any]  # of `labelled`


def labels(
    con: duckdb.DuckDBPyConnection, lake: Lake, dataset: Dataset, drop: str, summary: Summary | None = None
) -> Iterator[pa.Table]:
    """Rows of silver.labels, of the drop's `files` and `media` in `con`.

    What lies in an archive is labelled by what lies in it; all that lies in none is labelled together. Where the data
    set's labels are about the whole drop, all of it is labelled together, its label files being read once.

    Args:
        summary: is given every label.
    """
    gather(con, lake, dataset, drop)
    if dataset.labels_whole_drop:
        found = _said(lake, dataset.labels, whole_drop(con), one_by_one=True)
    else:
        found = (label for part in _parts(con) for label in _labels(lake, dataset, _rows(con, part)))
    while some := list(islice(found, bounded.ROWS)):
        if summary:
            for label in some:
                summary.add(label)
        yield pa.table({name: [getattr(label, name) for label in some] for name in ROWS.names}, schema=ROWS)


def gather(con: duckdb.DuckDBPyConnection, lake: Lake, dataset: Dataset, drop: str) -> None:
    """Make the table `labelled`, of the drop's `files` and `media` in `con`; once."""
    if con.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'labelled'").fetchone():
        return
    bounded.predicate(con, "is_label_file", dataset.label_files)
    shas = con.execute("SELECT DISTINCT sha256 FROM files WHERE is_label_file(path) AND uri IS NULL").fetchall()
    bounded.fill(con, "texts", TEXTS, _texts(lake, dataset.name, drop, {sha256 for (sha256,) in shas}))
    con.execute(LABELLED, [1 + bounded.value(con, "SELECT count(*) FROM media") // FILES_AT_ONCE])


def annotated(con: duckdb.DuckDBPyConnection, lake: Lake, dataset: Dataset, drop: str) -> Iterator[Annotation]:
    """What the drop says of its recordings that has to be known where they are measured."""
    if dataset.annotations is not None:
        gather(con, lake, dataset, drop)
        yield from _said(lake, dataset.annotations, whole_drop(con), one_by_one=True)


def whole_drop(con: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    """First its label files, then its media; the bytes of one label file at a time are in memory."""
    for row in list(_rows(con, "is_label", "* REPLACE (NULL AS content)")):
        query = "SELECT content FROM labelled WHERE is_label AND file_id = ?"
        ((content,),) = con.execute(query, [row["file_id"]]).fetchall()
        yield row | {"content": content}
    for part in _parts(con):
        yield from _rows(con, f"NOT is_label AND {part}")


def _parts(con: duckdb.DuckDBPyConnection) -> list[str]:
    parts = con.execute("SELECT DISTINCT part FROM labelled ORDER BY part").fetchall()
    return [f"part = {part}" for (part,) in parts]


def _texts(lake: Lake, dataset: str, drop: str, shas: Collection[str]) -> Iterator[pa.RecordBatch]:
    found = lake.contents(dataset, drop, shas)
    while some := list(islice(found, TEXTS_AT_ONCE)):
        columns = [pa.array(values, kind) for values, kind in zip(zip(*some, strict=True), TEXTS.types, strict=True)]
        yield pa.record_batch(columns, schema=TEXTS)


def _rows(con: duckdb.DuckDBPyConnection, which: str, columns: str = "*") -> Iterator[Row]:
    for batch in bounded.batches(con, f"SELECT {columns} FROM labelled WHERE {which} ORDER BY archive, path"):
        yield from batch.to_pylist()


def _labels(lake: Lake, dataset: Dataset, rows: Iterable[Row]) -> Iterator[Label]:
    for _, members in groupby(rows, key=itemgetter("archive")):
        yield from _said(lake, dataset.labels, members)


def _said(
    lake: Lake,
    parse: Callable[[Iterable[BronzeFile], Callable[[str], bytes]], Iterator[T]],
    rows: Iterable[Row],
    *,
    one_by_one: bool = False,
) -> Iterator[T]:
    """What `parse` makes of files; `one_by_one`: it has read each before it takes the next."""
    texts: dict[str, bytes] = {}

    def read(sha256: str) -> bytes:
        if sha256 in texts:
            return texts[sha256]
        with lake.store.local_copy(object_name(sha256)) as path:
            return path.read_bytes()

    def files() -> Iterator[BronzeFile]:
        for row in rows:
            if one_by_one:
                texts.clear()
            if row["content"] is not None:
                texts[row["sha256"]] = row["content"]
            yield BronzeFile(row["file_id"], row["path"], row["media_type"], row["sha256"])

    return parse(files(), read)
