"""Fragments: Parquet files that a task has written and nobody has committed yet."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from avlake.storage import Store
from avlake.tables import PARTITION, Table

ROW_GROUP_BYTES = 4 << 20  # unpacked: Arrow reads up to 64 of them ahead


@dataclass(frozen=True)
class Fragment:
    """One Parquet file; `path` is relative to the table's folder."""

    path: str
    rows: int
    size_bytes: int
    stats: str  # Delta's per-file statistics, JSON: numRecords, and min and max of the key


def arrow_filesystem(store: Store) -> pafs.FileSystem:
    """The store as pyarrow sees it: its own C++ code for a folder, fsspec for the rest."""
    return pafs.LocalFileSystem() if store.is_local else pafs.PyFileSystem(pafs.FSSpecHandler(store.fs))


def parquet_format(store: Store) -> ds.ParquetFileFormat:
    """How the store's files are read: from a folder as needed; from afar in few large requests, kept until the end."""
    return ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=not store.is_local)
    )


def write_fragment(store: Store, table: Table, drop: tuple[str, str] | None, batches: Iterable[pa.Table]) -> Fragment:
    """Write one file; memory is bounded by the largest batch.

    A row group has at most `ROW_GROUP_BYTES`, but for bytes, where it is a batch: that is what a reader takes at once.
    """
    folder = "".join(f"{k}={v}/" for k, v in zip(PARTITION, drop, strict=True)) if drop else ""
    path = f"{folder}{uuid.uuid4().hex}.parquet"
    target = store.path(f"{table.path}/{path}")
    schema = stored_schema(table)
    # Times are left out: Delta wants them rounded to milliseconds, and no table is searched by them.
    ranged = (f.name for f in schema if f.name in table.key and not pa.types.is_timestamp(f.type))
    ranges: dict[str, list[Any]] = {name: [] for name in ranged}
    rows = 0
    form = {
        "compression": "none" if pa.binary() in schema.types else "zstd",
        "use_dictionary": [f.name for f in schema if f.type == pa.string()],  # dictionaries help text and slow floats
    }
    with store.explained():
        store.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
    with store.explained(), pq.ParquetWriter(target, schema, filesystem=arrow_filesystem(store), **form) as writer:
        for batch in batches:
            part = pa.Table.from_arrays([batch[f.name].cast(f.type) for f in schema], schema=schema)
            if part.num_rows:
                fits = part.num_rows * ROW_GROUP_BYTES // max(1, part.nbytes)
                writer.write_table(part, row_group_size=part.num_rows if pa.binary() in schema.types else max(1, fits))
                rows += part.num_rows
                for name, seen in ranges.items():
                    seen += [v for v in pc.min_max(part[name]).as_py().values() if v is not None]
    stats = {
        "numRecords": rows,
        "minValues": {name: min(seen) for name, seen in ranges.items() if seen},
        "maxValues": {name: max(seen) for name, seen in ranges.items() if seen},
    }
    with store.explained():
        return Fragment(path, rows, int(store.fs.size(target)), json.dumps(stats))


def copy_path(path: str, version: int) -> str:
    """The name under which a live fragment takes part in a drop's commit `version`; the same in every attempt."""
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{hashlib.sha256(f'{path} {version}'.encode()).hexdigest()[:32]}.parquet"


def copy_fragment(store: Store, table: Table, fragment: Fragment, path: str) -> Fragment:
    """The same rows under another name, which never holds half of them."""
    source, target = f"{table.path}/{fragment.path}", f"{table.path}/{path}"
    if store.is_local:
        store.upload(Path(store.path(source)), target)
    else:
        store.fs.cp_file(store.path(source), store.path(target))
    return replace(fragment, path=path)


def missing(store: Store, table: Table, paths: Collection[str]) -> set[str]:
    """Those of some files that the store does not have, told from one listing of each folder."""
    start = len(table.path) + 1
    folders = {f"{table.path}/{path}".rpartition("/")[0] for path in paths}
    return set(paths) - {name[start:] for folder in folders for name in store.list(folder)}


def read_contents(store: Store, name: str, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """(sha256, bytes) of the `wanted` rows of a file of bronze.contents; takes out of `wanted` what it has found."""
    with store.explained(), pq.ParquetFile(store.path(name), filesystem=arrow_filesystem(store)) as file:
        for group in range(file.num_row_groups):
            here = file.read_row_group(group, columns=["sha256"])["sha256"].to_pylist()
            if wanted.isdisjoint(here):
                continue
            content = file.read_row_group(group, columns=["content"])["content"]
            for sha256, value in zip(here, content, strict=True):
                if sha256 in wanted:
                    wanted.discard(sha256)
                    yield sha256, value.as_py()


def digest(store: Store, table: Table, paths: Collection[str]) -> object:
    """An order-free fingerprint of the rows in some files; bytes are represented by their sha256 beside them."""
    if not paths:
        return (0,)
    schema = pa.schema([f for f in stored_schema(table) if f.type != pa.binary()])
    full = [store.path(f"{table.path}/{path}") for path in paths]
    files = ds.dataset(full, schema=schema, format=parquet_format(store), filesystem=arrow_filesystem(store))
    with duckdb.connect(":memory:") as con:
        con.register("files", files.scanner(batch_readahead=1, fragment_readahead=1))
        return con.execute("SELECT count(*), sum(hash(f)), bit_xor(hash(f)) FROM files AS f").fetchone()


def stored_schema(table: Table) -> pa.Schema:
    """The columns inside the files: a partition's columns are in the folder names alone."""
    return pa.schema([f for f in table.schema if not (table.per_drop and f.name in PARTITION)])
