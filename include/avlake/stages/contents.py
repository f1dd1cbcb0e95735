"""The bytes of bronze: small files as rows of bronze.contents, large ones as content-addressed objects.

bronze.contents is made to be read in sequence: uncompressed, in row groups of a few MiB, sorted by sha256 within each
64 MiB, with the text files (which labels are read from) in row groups of their own.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa

from avlake.ages import RETENTION_H, age_h
from avlake.errors import WorkError
from avlake.lake import Lake
from avlake.settings import MIB

FOLDER = "objects"
BUFFER_BYTES = 64 * MIB
ROW_GROUP_BYTES = 16 * MIB


class Content(NamedTuple):
    """A small file's bytes."""

    sha256: str
    data: bytes
    is_text: bool


def object_name(sha256: str) -> str:
    """Where a large file's bytes lie, relative to the lake."""
    return f"{FOLDER}/{sha256[:2]}/{sha256}"


def read_checked(file: IO[bytes], row: dict[str, Any]) -> bytes:
    """The bytes of the file that `row` describes.

    Raises:
        WorkError: if they are no longer those that were hashed.
    """
    data = file.read()
    _check(hashlib.sha256(data).hexdigest(), row)
    return data


def store_object(lake: Lake, file: IO[bytes], row: dict[str, Any]) -> None:
    """Write a large file's object unless it is there; through a private copy, so that its name never lies.

    An old object is written again: `avlake maintain` may be about to remove it, for no row may have named it till now.

    Raises:
        WorkError: if the bytes are no longer those that were hashed.
    """
    name = object_name(row["sha256"])
    if _is_young(lake, name):
        return
    with tempfile.NamedTemporaryFile(prefix="avlake-") as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        _check(hashlib.file_digest(copy, "sha256").hexdigest(), row)
        lake.store.upload(Path(copy.name), name)


def store_bytes(lake: Lake, data: bytes) -> str:
    """Write an object unless it is there, as `store_object` does; returns its sha256."""
    sha256 = hashlib.sha256(data).hexdigest()
    if not _is_young(lake, object_name(sha256)):
        lake.store.write(object_name(sha256), data)
    return sha256


def _is_young(lake: Lake, name: str) -> bool:
    """Is it there, and not so old that maintenance may be about to remove it?"""
    age = age_h(lake.store, name)
    return age is not None and age < RETENTION_H / 2


def row_groups(contents: Iterable[Content]) -> Iterator[pa.Table]:
    """Rows of bronze.contents, one table per row group; memory holds one buffer and one row group."""
    buffer: list[Content] = []
    held = 0
    for content in contents:
        buffer.append(content)
        held += len(content.data)
        if held >= BUFFER_BYTES:
            yield from _groups(buffer)
            buffer, held = [], 0
    yield from _groups(buffer)


def _groups(buffer: list[Content]) -> Iterator[pa.Table]:
    for is_text in (True, False):
        group: list[Content] = []
        size = 0
        for content in sorted(c for c in buffer if c.is_text == is_text):
            group.append(content)
            size += len(content.data)
            if size >= ROW_GROUP_BYTES:
                yield _table(group)
                group, size = [], 0
        if group:
            yield _table(group)


def _table(group: list[Content]) -> pa.Table:
    data = pa.array([c.data for c in group], pa.binary())
    return pa.table({"sha256": pa.array([c.sha256 for c in group], pa.string()), "content": data})


def _check(sha256: str, row: dict[str, Any]) -> None:
    if sha256 != row["sha256"]:
        raise WorkError(f"{row['source_uri']} changed while it was read; run again when it is complete")
