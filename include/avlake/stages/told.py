"""What annotated extractors are told: the part of a drop's text files that has to be known where a file is measured.

It is kept beside the plan, below `_work/<dataset>/<drop>/annotations/`, named by its sha256, which is a part of the
identity of what is measured with it: boxes that change behind a video are noticed, and the others not measured again.
"""

from __future__ import annotations

import hashlib

import duckdb
import pyarrow as pa

from avlake.datasets.base import Dataset
from avlake.errors import StaleRun
from avlake.lake import Lake
from avlake.stages import bounded, labels
from avlake.stages.work import folder

SCHEMA = pa.schema({"file_id": pa.string(), "annotation": pa.string()})


def show(con: duckdb.DuckDBPyConnection, lake: Lake, dataset: Dataset, drop: str, *, needed: bool) -> None:
    """Make the table `annotations` (file_id, annotation: its sha256) of the drop's `files` and `media` in `con`.

    Args:
        needed: is there an extractor that is told any? Else the table is empty.
    """

    noted = []
    for one in labels.annotated(con, lake, dataset, drop) if needed else ():
        data = one.text.encode()
        sha256 = hashlib.sha256(data).hexdigest()
        if not lake.store.exists(_name(dataset.name, drop, sha256)):
            lake.store.write(_name(dataset.name, drop, sha256), data)
        noted.append({"file_id": one.file_id, "annotation": sha256})
    bounded.fill(con, "annotations", SCHEMA, [pa.RecordBatch.from_pylist(noted, schema=SCHEMA)])


def read(lake: Lake, dataset: str, drop: str, annotation: str | None) -> str | None:
    """An annotation's text, by its sha256.

    Raises:
        StaleRun: where it is gone, with the run that noted it.
    """
    if annotation is None:
        return None
    name = _name(dataset, drop, annotation)
    try:
        return lake.store.read(name).decode()
    except FileNotFoundError:
        raise StaleRun(f"{lake.store.uri_of(name)} is gone: the run it belongs to is over; start a new one") from None


def _name(dataset: str, drop: str, sha256: str) -> str:
    return f"{folder(dataset, drop)}/annotations/{sha256}.txt"
