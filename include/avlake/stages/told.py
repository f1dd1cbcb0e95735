"""What annotated extractors are told: the part of a drop's text files that has to be known where a file is measured.

Of what is to be measured it is kept beside the plan, below `_work/<dataset>/<drop>/annotations/`, named by its sha256,
which is a part of the identity of what is measured with it: boxes that change behind a video are noticed, and the
others not measured again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import duckdb
import pyarrow as pa

from avlake.ages import RETENTION_H, age_h
from avlake.datasets.base import Annotation, Dataset
from avlake.errors import StaleRun
from avlake.lake import Lake
from avlake.settings import MIB
from avlake.stages import bounded, labels
from avlake.stages.work import folder

SCHEMA = pa.schema(dict.fromkeys(("file_id", "annotation", "text"), pa.string()))
BATCH_BYTES = 16 * MIB
# Those that an extractor which is told anything has yet to measure.
TOLD = """
CREATE TABLE told AS
SELECT DISTINCT file_id, annotation
FROM missing JOIN wanted USING (extractor) JOIN annotations USING (file_id) WHERE annotated
"""


def show(con: duckdb.DuckDBPyConnection, lake: Lake, dataset: Dataset, drop: str, *, needed: bool) -> None:
    """Make the table `annotations` (file_id, text, annotation: its sha256) of the drop's `files` and `media` in `con`.

    Args:
        needed: is there an extractor that is told any? Else the table is empty.
    """
    con.execute("CREATE TABLE annotations (file_id TEXT, annotation TEXT, text TEXT)")
    with con.cursor() as writer:  # what is read comes from `con`, and is not read to its end yet
        for rows in _batches(labels.annotated(con, lake, dataset, drop) if needed else ()):
            writer.register("incoming", rows)
            writer.execute("INSERT INTO annotations FROM incoming")
            writer.unregister("incoming")


def keep(con: duckdb.DuckDBPyConnection, lake: Lake, dataset: str, drop: str) -> None:
    """Write the annotations of what is `missing`; make the table `told` (file_id, annotation) of these."""
    con.execute(TOLD)
    for (sha256,) in con.execute("SELECT DISTINCT annotation FROM told").fetchall():
        name = _name(dataset, drop, sha256)
        age = age_h(lake.store, name)
        if age is None or age >= RETENTION_H / 2:  # maintenance may be about to remove an old one
            query = "SELECT text FROM annotations WHERE annotation = ? LIMIT 1"
            ((text,),) = con.execute(query, [sha256]).fetchall()
            lake.store.write(name, text.encode())


def untold(con: duckdb.DuckDBPyConnection) -> int:
    """How many of what is `missing` an extractor that is told things measures without being told any."""
    query = "SELECT count(DISTINCT file_id) FROM missing JOIN wanted USING (extractor) ANTI JOIN told USING (file_id)"
    return bounded.value(con, f"{query} WHERE annotated")


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


def _batches(annotations: Iterable[Annotation]) -> Iterator[pa.Table]:
    held: list[dict[str, str]] = []
    size = 0
    for one in annotations:
        data = one.text.encode()
        held.append({"file_id": one.file_id, "annotation": hashlib.sha256(data).hexdigest(), "text": one.text})
        if (size := size + len(data)) >= BATCH_BYTES:
            yield pa.Table.from_pylist(held, schema=SCHEMA)
            held, size = [], 0
    yield pa.Table.from_pylist(held, schema=SCHEMA)


def _name(dataset: str, drop: str, sha256: str) -> str:
    return f"{folder(dataset, drop)}/annotations/{sha256}.txt"
