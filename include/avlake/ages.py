"""How old files in the store are. The young may belong to a running task: what nobody refers to yet is not litter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from avlake.storage import Store

RETENTION_H = 168  # longer than any run takes; also for how long an older version of a table can be read


class Found(NamedTuple):
    """A file; `name` is relative to the store."""

    name: str
    size_bytes: int
    age_h: float


def listed(store: Store, folder: str) -> Iterator[Found]:
    """Every file below a folder."""
    start, now = len(store.path().rstrip("/")) + 1, time.time()
    with store.explained():
        try:
            found = store.fs.find(store.path(folder), detail=True)
        except FileNotFoundError:
            return
    for path, info in found.items():
        yield Found(path[start:], info["size"] or 0, (now - _modified_s(info)) / 3600)


def folders(store: Store, folder: str) -> list[str]:
    """The folders right below a folder, by their names in the store."""
    start = len(store.path().rstrip("/")) + 1
    with store.explained():
        try:
            found = store.fs.ls(store.path(folder), detail=True)
        except FileNotFoundError:
            return []
    return sorted(info["name"].rstrip("/")[start:] for info in found if info["type"] == "directory")


def age_h(store: Store, name: str) -> float | None:
    """Hours since a file was written; None if there is none."""
    with store.explained():
        try:
            return (time.time() - _modified_s(store.fs.info(store.path(name)))) / 3600
        except FileNotFoundError:
            return None


def _modified_s(info: dict[str, Any]) -> float:
    at = info.get("LastModified") or info.get("last_modified") or info["mtime"]  # S3, Azure, a folder
    return float(at) if isinstance(at, int | float) else at.timestamp()
