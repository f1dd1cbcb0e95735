"""Clusters of near duplicates, kept in the lake until what they were found in changes: of all gold, they cost most.

They are a note, not a table: gold is the same without it, only later.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from importlib import resources

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from avlake.lake import Lake
from avlake.stages import duplicates
from avlake.stages.publish import incoming
from avlake.stages.takedowns import Excluded

FOLDER = "clusters"
SOURCES = ("bronze.files", "silver.fingerprints")
CODE = ("duplicates.py", "library.py", "matching.py")
SCHEMA = pa.schema([("file_id", pa.string()), ("cluster", pa.string())])


def near_duplicates(
    con: duckdb.DuckDBPyConnection, dataset: str, *, lake: Lake, read: Mapping[str, ds.FileSystemDataset], out: Excluded
) -> None:
    """Create the relation `near_duplicates` as `duplicates.near_duplicates` does, which is asked only where it must be.

    Args:
        read: the tables of the lake that `con` shows, by name, with the files that were `out` still in them.
    """
    slices = {
        name: {part: mark for part, mark in incoming(read[name], out).slices.items() if part.startswith(f"{dataset}/")}
        for name in SOURCES
        if name in read
    }
    if not any(slices.values()):
        con.register("no_clusters", SCHEMA.empty_table())
        con.execute("CREATE TABLE near_duplicates AS FROM no_clusters")
        return
    code = [hashlib.sha256(resources.files("avlake.stages").joinpath(name).read_bytes()).hexdigest() for name in CODE]
    key = hashlib.sha256(json.dumps([code, slices], sort_keys=True).encode()).hexdigest().encode()
    name = f"{FOLDER}/{dataset}.parquet"
    if (known := _kept(lake, name, key)) is not None:
        con.register("known_clusters", known)
        con.execute("CREATE TABLE near_duplicates AS FROM known_clusters")
        return
    duplicates.near_duplicates(con, dataset)
    found = con.sql("SELECT file_id, cluster FROM near_duplicates ORDER BY ALL").to_arrow_table()
    sink = io.BytesIO()
    pq.write_table(found.cast(SCHEMA).replace_schema_metadata({b"key": key}), sink, compression="zstd")
    lake.store.write(name, sink.getvalue())


def _kept(lake: Lake, name: str, key: bytes) -> pa.Table | None:
    """The clusters of that key; None if others are kept, or none that can be read."""
    if not lake.store.exists(name):
        return None
    try:
        kept = pq.read_table(io.BytesIO(lake.store.read(name)))
    except pa.ArrowInvalid:
        return None
    return kept if (kept.schema.metadata or {}).get(b"key") == key else None
