"""Rows of silver.labels, and runs that race to commit them from processes of their own.

Processes, because deltalake holds the GIL: threads of one process would commit one after the other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pyarrow as pa

from avlake.errors import StaleRun
from avlake.fragments import Fragment
from avlake.lake import Lake
from avlake.storage import open_store
from avlake.tables import LABELS

Drop = tuple[str, str]
DROP: Drop = ("voxforge", "2026-09-01")
OTHER: Drop = ("voxforge", "2026-09-02")
SPAWN = multiprocessing.get_context("spawn")
RACERS = 4


def label_rows(*values: str, drop: Drop = DROP) -> pa.Table:
    rows = [
        {"file_id": f"f{i}", "dataset": drop[0], "drop_date": drop[1], "name": "gender", "value": v}
        for i, v in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, schema=LABELS.schema)


def write(lake: Lake, *values: str, drop: Drop = DROP) -> list[Fragment]:
    return [lake.write_fragment(LABELS, *drop, [label_rows(*values, drop=drop)])]


def values(lake: Lake, drop: Drop = DROP) -> list[str]:
    return sorted(lake.rows(LABELS, *drop)["value"].to_pylist())


class Racers:
    """Processes that commit at the same moment."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(RACERS, mp_context=SPAWN)
        list(self._pool.map(time.sleep, [0.2] * RACERS))  # they have imported what they need

    def commit(self, lake: Lake, runs: Sequence[tuple[Drop, list[Fragment], int]]) -> list[str]:
        """`won`, `equal` (no commit needed) or `stale` of each (drop, fragments, expected version)."""
        start = time.time() + 0.3
        waiting = [self._pool.submit(_commit, lake.store.uri, dict(os.environ), *run, start) for run in runs]
        return [future.result(60) for future in waiting]

    def close(self) -> None:
        self._pool.shutdown()


def _commit(uri: str, env: dict[str, str], drop: Drop, fragments: list[Fragment], expected: int, start: float) -> str:
    os.environ.update(env)
    lake = Lake(open_store(uri))
    time.sleep(max(0.0, start - time.time()))
    try:
        return "won" if lake.commit_drop(LABELS, *drop, fragments, expected_version=expected) else "equal"
    except StaleRun:
        return "stale"


def commit_and_die(lake: Lake, fragments: list[Fragment], expected: int) -> int:
    """Commit in a process that is killed before it can tell anybody; its exit code."""
    process = SPAWN.Process(target=_commit_and_die, args=(lake.store.uri, dict(os.environ), fragments, expected))
    process.start()
    process.join(60)
    return process.exitcode or 0


def _commit_and_die(uri: str, env: dict[str, str], fragments: list[Fragment], expected: int) -> None:
    _commit(uri, env, DROP, fragments, expected, 0.0)
    os.kill(os.getpid(), signal.SIGKILL)
