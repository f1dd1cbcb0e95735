"""The recordings that a table's rows are of: found by file_id in bronze.files, their bytes read from the lake.

Rows come drop by drop, by path, and by time within a recording, so the same table always gives the same export. The
small files of a drop lie in bronze.contents in an order of their own; they are read once, into a temporary file, and
then in ours.
Memory holds one batch of rows, the rows of one recording, and where its format needs that, one recording.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from avlake.errors import RequestError, WorkError
from avlake.exports.recording import MEASURED, NO_SPLIT, SAID, SPANS, Bytes, Recording, split_of
from avlake.exports.rows import Selection
from avlake.lake import Lake

ELSEWHERE = "scores"  # the dataset of clips that were measured elsewhere: their recordings are not in the lake
MEDIA = "avlake media"  # a column beside the table's own
KIND = f"split_part(\"{MEDIA}\".media_type, '/', 1)"
MEASURABLE = " AND ".join(f'"{MEDIA}".{name} IS NOT NULL' for name in MEASURED)
ORDER = ("train", "validation", "test")


class Recordings:
    """All recordings of a selection."""

    def __init__(self, selection: Selection, lake: Lake, scratch: Path, *, measured: bool = False) -> None:
        """
        Args:
            measured: only files with sound whose duration is known.

        Raises:
            RequestError: for a table whose rows are of no files.
            WorkError: when the warehouse does not know a row's file.
        """
        self.schema, self.table = selection.schema, selection.table
        self._selection, self._lake, self._scratch = selection, lake, scratch
        if "file_id" not in self.schema.names or "bronze.files" not in selection.known:
            raise RequestError(
                f"{self.table} has no recordings: it has no file_id, or bronze.files is not in the warehouse; "
                "export it as parquet, csv or jsonl"
            )
        self._joined = _joined(selection)
        self._ours = f"{KIND} IN ('audio', 'video')" + (f" AND {MEASURABLE}" if measured else "")
        self._refuse_unknown()
        split = "split" if "split" in self.schema.names else f"'{NO_SPLIT}'"
        self.summary = selection.rows(
            f"""SELECT "{MEDIA}".dataset AS dataset, "{MEDIA}".drop_date AS drop_date, "{MEDIA}".licence AS licence,
                {KIND} AS kind, {split} AS split,
                count(*) AS rows, count(DISTINCT file_id) AS files
            FROM {self._joined} WHERE {self._ours} GROUP BY ALL ORDER BY ALL"""
        )

    @property
    def rows(self) -> int:
        return sum(part["rows"] for part in self.summary)

    @cached_property
    def left_out(self) -> int:
        """Rows of files that are no recordings or not in the lake, or if asked for, without sound or a duration."""
        return self._selection.count() - self.rows

    @cached_property
    def elsewhere(self) -> int:
        """Of those left out: rows of clips that were scored elsewhere."""
        return self._selection.count(f"dataset = '{ELSEWHERE}'") if "dataset" in self.schema.names else 0

    @property
    def kinds(self) -> list[str]:
        return sorted({part["kind"] for part in self.summary}) or ["audio"]

    @property
    def splits(self) -> list[str]:
        found = {split_of(part) for part in self.summary} or {NO_SPLIT}
        return sorted(found, key=lambda split: (ORDER.index(split) if split in ORDER else len(ORDER), split))

    def totals(self, *names: str) -> list[dict[str, Any]]:
        """Rows and files by some of the summary's columns."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for part in self.summary:
            key = tuple(part[name] for name in names)
            total = found.setdefault(key, {**dict(zip(names, key, strict=True)), "rows": 0, "files": 0})
            total["rows"] += part["rows"]
            total["files"] += part["files"]
        return list(found.values())

    def __iter__(self) -> Iterator[Recording]:
        for dataset, drop in sorted({(part["dataset"], part["drop_date"]) for part in self.summary}):
            here = f"""FROM {self._joined} WHERE {self._ours}
                AND "{MEDIA}".dataset = $1 AND "{MEDIA}".drop_date = $2"""
            found = self._selection.rows(
                f'SELECT DISTINCT "{MEDIA}".sha256 AS sha256 {here} AND NOT "{MEDIA}".is_object', (dataset, drop)
            )
            with tempfile.TemporaryFile(dir=self._scratch) as spool:
                source = Bytes(self._lake, spool)
                source.add(self._lake.contents(dataset, drop, {row["sha256"] for row in found}))
                rows = self._drop(here, (dataset, drop))
                for _, group in groupby(rows, key=lambda row: row[MEDIA]["path"]):
                    yield _recording(list(group), source)

    def _drop(self, here: str, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
        # By what tells rows apart: features (float32, or lists) do not, and would make the sort's key wide.
        plain = [f.name for f in self.schema if not (pa.types.is_float32(f.type) or pa.types.is_nested(f.type))]
        by = [f'"{MEDIA}".path', *(_quoted(n) for span in SPANS for n in span if n in plain), *map(_quoted, plain)]
        blocks: list[tuple[str, ...]] = [()]
        if self._selection.blocks is not None:
            here += " AND path BETWEEN $3 AND $4"
            blocks = [(row["first"], row["last"]) for row in self._selection.rows(self._selection.blocks, place)]
        for block in blocks:
            for batch in self._selection.batches(f"SELECT * {here} ORDER BY {', '.join(by)}", (*place, *block)):
                yield from batch.to_pylist()

    def _refuse_unknown(self) -> None:
        ours = f"t.dataset IS DISTINCT FROM '{ELSEWHERE}'" if "dataset" in self.schema.names else "true"
        unknown = self._selection.rows(
            f"""SELECT count(*) AS n, any_value(file_id) AS one FROM {self._joined} AS t
            WHERE "{MEDIA}".path IS NULL AND {ours}"""
        )[0]
        if unknown["n"]:
            raise WorkError(
                f"{unknown['n']} rows of {self.table} are of files that bronze.files does not hold (file_id "
                f"{unknown['one']}); the table is older than the lake: run its pipeline again, then export"
            )


def _recording(rows: list[dict[str, Any]], source: Bytes) -> Recording:
    media = rows[0][MEDIA]
    for row in rows:
        del row[MEDIA]
    return Recording(
        id=f"{media['drop_date']}-{media['file_id']}",
        path=media["path"],
        kind=media["media_type"].partition("/")[0],
        sha256=media["sha256"],
        size_bytes=media["size_bytes"],
        facts={name: media[name] for name in (*MEASURED, *SAID, "subject_id")},
        rows=rows,
        source=source,
    )


def _joined(selection: Selection) -> str:
    """The selected rows, each with its file: of the row's own drop where the table says which, else of the latest."""
    place = [name for name in ("dataset", "drop_date") if name in selection.schema.names]
    same = " AND ".join(f"t.{name} = f.{name}" for name in ("file_id", *place))
    latest = (
        "" if "drop_date" in place else "QUALIFY row_number() OVER (PARTITION BY file_id ORDER BY drop_date DESC) = 1"
    )
    media = f"SELECT file_id, dataset, drop_date, {', '.join(MEASURED)} FROM silver.media"
    if "silver.media" not in selection.known:
        media = _none({"file_id": "VARCHAR", "dataset": "VARCHAR", "drop_date": "VARCHAR", **MEASURED})
    values = ", ".join(f"any_value(value) FILTER (name = '{name}') AS {name}" for name in SAID)
    labels = f"""SELECT file_id, dataset, drop_date, any_value(subject_id) AS subject_id, {values}
        FROM silver.labels GROUP BY ALL"""
    if "silver.labels" not in selection.known:
        labels = _none(dict.fromkeys(("file_id", "dataset", "drop_date", "subject_id", *SAID), "VARCHAR"))
    return f"""(SELECT t.*, f AS "{MEDIA}" FROM ({selection.query}) AS t LEFT JOIN (
            SELECT file_id, dataset, drop_date, path, media_type, size_bytes, sha256, uri IS NOT NULL AS is_object,
                licence, {", ".join(MEASURED)}, subject_id, {", ".join(SAID)}
            FROM bronze.files
            LEFT JOIN ({media}) USING (file_id, dataset, drop_date)
            LEFT JOIN ({labels}) USING (file_id, dataset, drop_date)
            {"" if "drop_date" in place else latest}
        ) AS f ON {same})"""


def _none(columns: dict[str, str]) -> str:
    return f"SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in columns.items())} WHERE false"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
