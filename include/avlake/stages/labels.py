"""What a drop's own text files say of its recordings, an archive at a time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby, islice
from typing import Any

import duckdb
import pyarrow as pa

from avlake.datasets.base import BronzeFile, Dataset, Label
from avlake.lake import Lake
from avlake.media.archives import ARCHIVE_OF
from avlake.stages import bounded
from avlake.stages.contents import object_name

TEXTS = pa.schema({"sha256": pa.string(), "content": pa.binary()})
TEXTS_AT_ONCE = 1_000
ROWS = pa.schema(dict.fromkeys(("file_id", "subject_id", "name", "value", "source"), pa.string()))
Row = dict[str, Any]  # of bronze.files, with the content of small texts


def labels(con: duckdb.DuckDBPyConnection, lake: Lake, dataset: Dataset, drop: str) -> Iterator[pa.Table]:
    """Rows of silver.labels, of the drop's `files` and `media` in `con`.

    What lies in an archive is labelled by what lies in it; all that lies in none is labelled together.
    """
    bounded.predicate(con, "is_label_file", dataset.label_files)
    con.execute("CREATE TABLE label_files AS SELECT file_id, sha256, uri FROM files WHERE is_label_file(path)")
    shas = con.execute("SELECT DISTINCT sha256 FROM label_files WHERE uri IS NULL").fetchall()
    bounded.fill(con, "texts", TEXTS, _texts(lake, dataset.name, drop, {sha256 for (sha256,) in shas}))
    found = _labels(lake, dataset, _rows(con))
    while some := list(islice(found, bounded.ROWS)):
        yield pa.table({name: [getattr(label, name) for label in some] for name in ROWS.names}, schema=ROWS)


def _texts(lake: Lake, dataset: str, drop: str, shas: Collection[str]) -> Iterator[pa.RecordBatch]:
    found = lake.contents(dataset, drop, shas)
    while some := list(islice(found, TEXTS_AT_ONCE)):
        columns = [pa.array(values, kind) for values, kind in zip(zip(*some, strict=True), TEXTS.types, strict=True)]
        yield pa.record_batch(columns, schema=TEXTS)


def _rows(con: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    """Recordings and label files by path, so that an archive's members follow each other."""
    for batch in bounded.batches(
        con,
        """SELECT f.file_id, f.path, f.media_type, f.sha256, t.content
        FROM files f LEFT JOIN label_files l USING (file_id) LEFT JOIN texts t ON t.sha256 = l.sha256
        WHERE l.file_id IS NOT NULL OR is_media(f.path) ORDER BY f.path""",
    ):
        yield from batch.to_pylist()


def _labels(lake: Lake, dataset: Dataset, rows: Iterable[Row]) -> Iterator[Label]:
    loose: list[Row] = []
    for archive, members in groupby(rows, key=_archive_of):
        if archive is None:
            loose += members
        else:
            yield from _said(lake, dataset, list(members))
    yield from _said(lake, dataset, loose)


def _archive_of(row: Row) -> str | None:
    found = re.match(ARCHIVE_OF, row["path"])
    return found[1] if found else None


def _said(lake: Lake, dataset: Dataset, rows: list[Row]) -> Iterator[Label]:
    texts: dict[str, bytes] = {row["sha256"]: row["content"] for row in rows if row["content"] is not None}

    def read(sha256: str) -> bytes:
        if sha256 in texts:
            return texts[sha256]
        with lake.store.local_copy(object_name(sha256)) as path:
            return path.read_bytes()

    files = (BronzeFile(row["file_id"], row["path"], row["media_type"], row["sha256"]) for row in rows)
    return dataset.labels(files, read)
