"""Export: rows of the warehouse, with their recordings where the format holds them, for other tools to read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from avlake import __version__
from avlake.errors import RequestError
from avlake.exports import hf, lhotse, m3u, tabular, webdataset
from avlake.exports.faces import together
from avlake.exports.recordings import Recordings
from avlake.exports.rows import Selection, select
from avlake.exports.target import MANIFEST, Place, place
from avlake.lake import Lake
from avlake.settings import MIB, Settings

FILES = {"jsonl": tabular.write_jsonl, "parquet": tabular.write_parquet, "csv": tabular.write_csv}
FOLDERS = ("hf", "webdataset", "lhotse", "m3u")
FORMATS = (*FILES, *FOLDERS)
SHARD_BYTES = 256 * MIB


@dataclass(frozen=True)
class ExportReport:
    to: str
    rows: int
    files: int | None  # recordings; None where the format holds rows alone
    not_kept: int  # rows that gold has decided against; they are exported like the others
    left_out: int  # rows that are of no recording, or of none that the format can hold
    elsewhere: int = 0  # of them, those scored elsewhere: their recordings are not in the lake


def export(
    settings: Settings,
    *,
    table: str,
    to: str,
    form: str,
    where: str | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> ExportReport:
    """Write the rows of `layer.table` that satisfy `where`, whole or not at all.

    `jsonl`, `parquet` and `csv` are one file of rows. `hf` and `webdataset` give one example a row: a window's own part
    of an audio recording as WAV, else the file as delivered. `lhotse` and `m3u` hold each file once, as delivered, and
    point into it. Of a table of faces, `hf` and `webdataset` give one example a video, `lhotse` and `m3u` one entry a
    track. A folder has an `export.json` that says where it came from.

    Args:
        to: a path, or a URI of an object store (s3://, abfss://).
        where: one SQL condition on the table's columns.
        shard_bytes: about how large the files of `hf` and `webdataset` get.

    Raises:
        RequestError: for an unknown table or format, a condition that is none, or a place that is taken.
        WorkError: when the bytes of a file are missing, naming it.
    """
    if form not in FORMATS:
        raise RequestError(f"--format {form!r}: one of {', '.join(FORMATS)}")
    with (
        place(to, form, folder=form in FOLDERS) as aside,
        select(settings, table, where, scratch=aside.scratch) as rows,
    ):
        if form in FILES:
            FILES[form](rows, aside.path)
            return ExportReport(to, rows.count(), None, rows.not_kept, 0)
        rows = together(rows, by_track=form in ("lhotse", "m3u"))
        return _export_media(settings, rows, aside, to, form, shard_bytes)


def _export_media(
    settings: Settings, rows: Selection, aside: Place, to: str, form: str, shard_bytes: int
) -> ExportReport:
    recordings = Recordings(rows, Lake.open(settings), aside.scratch, measured=form == "lhotse")
    writers: dict[str, Any] = {
        "hf": partial(hf.write, shard_bytes=shard_bytes),
        "webdataset": partial(webdataset.write, shard_bytes=shard_bytes),
        "lhotse": lhotse.write,
        "m3u": m3u.write,
    }
    writers[form](recordings, aside.path)
    files = sum(part["files"] for part in recordings.totals("dataset", "drop_date"))
    report = ExportReport(to, recordings.rows, files, rows.not_kept, recordings.left_out, recordings.elsewhere)
    manifest = {
        "avlake": __version__,
        "format": form,
        "table": rows.table,
        "where": rows.where,
        "versions": {name: rows.version(name) for name in (rows.table, "bronze.files")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: value for name, value in asdict(report).items() if name != "to"},
        "splits": recordings.totals("split"),
        "sources": recordings.totals("dataset", "drop_date", "licence"),
    }
    (aside.path / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return report
