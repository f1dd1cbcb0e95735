"""A batch of segments as a folder: `batch.m3u8` to listen to, the segments in `media/`, and `batch.csv` or
`batch.json` to fill in and hand to `avlake labels import`.

A row names its segment (`item`, `start_s`, `end_s`), what is asked (`name`) and where its answer will have come from
(`source`); `value` is empty, and rows that stay empty are skipped. The other columns only help, and are not imported:
`listen` is the file of the segment; `machine_label`, `predicted`, `p` and `cluster` are left out of an audit.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avlake.errors import RequestError
from avlake.exports import m3u
from avlake.exports.segments import Part, file_names, write_parts
from avlake.exports.target import Place, place
from avlake.lake import Lake
from avlake.pipelines import LabelKind, Pipeline
from avlake.stages.human import FORMULA

if TYPE_CHECKING:
    import duckdb

FORMATS = ("csv", "json")
ASKED = ("item", "start_s", "end_s", "name", "value", "source")
HELP = ("machine_label", "predicted", "p", "cluster")
LISTEN = "listen"


@dataclass(frozen=True, slots=True)
class Chosen:
    """One segment that a person is asked about; None is not known."""

    file_id: str
    path: str
    segment_index: int
    start_s: float
    end_s: float
    machine_label: str | None
    cluster: int | None  # the region of sounds it lies in
    predicted: str | None
    probability: float | None  # of what is predicted
    margin: float | None  # between the two most probable classes

    @property
    def key(self) -> tuple[str, int]:
        return self.file_id, self.segment_index


@dataclass(frozen=True)
class Batch:
    """Segments in the order of their rows."""

    name: str  # the source of its labels
    to: str
    chosen: tuple[Chosen, ...]
    run_id: str | None  # of the training whose model has judged them; None: none has
    blind: bool  # are people not told what the model said?


@contextmanager
def folder(to: str, form: str) -> Iterator[Place]:
    """Where a batch is written, which becomes the folder `to` when nothing goes wrong.

    Raises:
        RequestError: if `form` is none, or something is there already.
    """
    if form not in FORMATS:
        raise RequestError(f"--format {form!r}: one of {', '.join(FORMATS)}")
    with place(to, "batch", folder=True) as aside:
        yield aside


def write(
    aside: Place,
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    pipeline: Pipeline,
    kind: LabelKind,
    table: str,
    batch: Batch,
    form: str,
) -> None:
    """Write the files of a batch into its folder.

    Args:
        con: the warehouse.
        table: the gold table that the segments are of.

    Raises:
        WorkError: naming the recording, where one cannot be cut.
    """
    parts = [_part(one, batch) for one in batch.chosen]
    names = file_names(parts)
    (aside.path / "media").mkdir()
    write_parts(con, lake, table, dict(zip(names, parts, strict=True)), aside.path / "media", aside.scratch)
    listen = [f"media/{name}" for name in names]
    entries = [part.entry(file) for part, file in zip(parts, listen, strict=True)]
    (aside.path / "batch.m3u8").write_bytes(m3u.playlist(entries))
    rows = [_row(one, batch, kind, pipeline, file) for one, file in zip(batch.chosen, listen, strict=True)]
    (aside.path / f"batch.{form}").write_bytes(_csv(rows) if form == "csv" else _json(rows))


def item_of(dataset: str, path: str) -> str:
    """How a batch names a file: by its path, in a way that no spreadsheet takes for a formula."""
    return f"{dataset}/{path}" if path.startswith(FORMULA) else path


def items_of(dataset: str, path: str) -> tuple[str, str]:
    """How labels name a file by its path, as they are stored."""
    stored = unicodedata.normalize("NFC", path)
    return stored, f"{dataset}/{stored}"


def _part(one: Chosen, batch: Batch) -> Part:
    title = () if batch.blind or one.predicted is None else (f"predicted {one.predicted} {one.probability:.2f}",)
    return Part(one.file_id, one.segment_index, one.path, one.start_s, one.end_s, title)


def _row(one: Chosen, batch: Batch, kind: LabelKind, pipeline: Pipeline, listen: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "item": item_of(pipeline.dataset.name, one.path),
        "start_s": one.start_s,
        "end_s": one.end_s,
        "name": kind.name,
        "value": None,
        "source": batch.name,
        LISTEN: listen,
    }
    if not batch.blind:
        p = None if one.probability is None else round(one.probability, 4)
        row |= dict(zip(HELP, (one.machine_label, one.predicted, p, one.cluster), strict=True))
    return row


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _json(rows: list[dict[str, Any]]) -> bytes:
    return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()
