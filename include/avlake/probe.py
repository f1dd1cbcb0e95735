"""Does a store keep the promise that the lake stands on: of several conditional creates, exactly one succeeds?

A Delta commit is `PUT` of the next log number with `If-None-Match: *` (a hard link in a folder). A store that ignores
the header, or that looks first and writes later, lets two writers win, and one drop's rows are gone without a word. So
a store is tried once, with racing writers, before anything is written to it. What passed is remembered in the store
itself, and costs later processes one GET.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from avlake.errors import AvlakeError, RequestError, WorkError
from avlake.storage import Store

FOLDER = "_probe"
ROUNDS, WRITERS = 3, 8  # 24 creates: a store that checks first and writes 1 ms later loses a round of 8 all but surely
ATTEMPTS = 3  # of a round that nobody won: a PUT whose answer was lost is sent again, and refused by its own bytes
_passed: set[str] = set()


def check(store: Store) -> None:
    """Make sure, once per process, that the store answers, can be written and honours conditional creates.

    Raises:
        RequestError: naming the setting, for a store that is missing, closed to us, read-only or not safe for a lake.
        WorkError: for one that does not answer.
    """
    mark = _mark(store)
    if mark in _passed:
        return
    if not _is_remembered(store, mark):
        race(store)
        store.write(mark, json.dumps({"store": store.uri, "conditional_create": "one of racing writers wins"}).encode())
    _passed.add(mark)


def forget() -> None:
    """Let this process ask each store again."""
    _passed.clear()


def race(store: Store) -> None:
    """Let writers race for a name, round after round; leaves nothing behind.

    Raises:
        RequestError: when two win, when a name is taken twice, or when what is read is not what the winner wrote.
    """
    folder = f"{FOLDER}/race-{uuid.uuid4().hex}"
    try:
        for number in range(ROUNDS):
            _round(store, f"{folder}/{number}")
    except BaseException as error:
        with contextlib.suppress(AvlakeError, OSError):
            store.delete(folder)
        if isinstance(error, FileNotFoundError):
            raise RequestError(
                f"{store.uri}: {store.endpoint} answers, but not as such a store does; correct the endpoint's address"
            ) from None
        raise
    store.delete(folder)


def _round(store: Store, name: str) -> None:
    for attempt in range(ATTEMPTS):
        tried, gate = f"{name}-{attempt}", threading.Barrier(WRITERS)

        def write(writer: int, tried: str = tried, gate: threading.Barrier = gate) -> bool:
            gate.wait()
            return store.create(tried, _content(writer))

        with ThreadPoolExecutor(WRITERS) as pool:
            won = [writer for writer, first in enumerate(pool.map(write, range(WRITERS))) if first]
        if len(won) > 1:
            raise _unsafe(store, f"{len(won)} of {WRITERS} racing writers were told that they were first")
        if won:
            if store.read(tried) != _content(won[0]):
                raise _unsafe(store, "what is read is not what the first writer wrote")
            if store.create(tried, b"late"):
                raise _unsafe(store, "a later create of a name that is taken succeeded")
            return
    raise WorkError(f"{store.uri}: of {WRITERS} racing writers none succeeded, {ATTEMPTS} times; run again")


def _content(writer: int) -> bytes:
    return f"writer {writer}".encode()


def _unsafe(store: Store, seen: str) -> RequestError:
    how = "hard links" if store.is_local else "conditional puts (If-None-Match)"
    return RequestError(
        f"{store.uri}: this store does not honour {how}: {seen}. A lake would lose commits there; "
        "set AVLAKE_URI to another store (S3, MinIO, Ceph, Azure) or a local folder"
    )


def _mark(store: Store) -> str:
    where = f"{store.endpoint or ''} {store.root}"
    return f"{FOLDER}/{hashlib.sha256(where.encode()).hexdigest()[:32]}.json"


def _is_remembered(store: Store, mark: str) -> bool:
    try:
        store.hasty().read(mark)
    except FileNotFoundError:
        return False
    return True
