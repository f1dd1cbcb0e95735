"""A landing zone, a lake, and the stack that fills it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stack import WORKERS, Stack

from avlake.datasets.synthetic import write_drop
from avlake.lake import Lake
from avlake.orchestration.drops import Work
from avlake.orchestration.follow import Follower
from avlake.orchestration.local import prepare, submit
from avlake.settings import Settings
from avlake.storage import open_store

PIPELINE = "voxforge_gender"


class World:
    """All that a test looks at, as a client sees it that does not go through the proxy."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        self.folder, self.stack, self.airflow = folder, stack, stack.airflow
        prepare(self.airflow, PIPELINE, stack.log("airflow-scheduler"))
        self.warehouse = folder / "warehouse" / "avlake.duckdb"
        self.lake = Lake.open(Settings(uri=stack.values["AVLAKE_URI"]))

    def deliver(self, drop: str, **size: Any) -> None:
        write_drop(self.folder / "landing", drop, **size)
        landing = open_store(self.stack.values["AVLAKE_LANDING"])
        for file in (self.folder / "landing" / "voxforge" / drop).iterdir():
            landing.upload(file, f"voxforge/{drop}/{file.name}")

    def submit(self, *drops: str, **conf: Any) -> Follower:
        source, since = self.stack.values["AVLAKE_LANDING"], datetime.now(UTC)
        submit(self.airflow, PIPELINE, Work(source, drops, {"source": source, **conf}, ""))
        return Follower(self.airflow, PIPELINE, since, frozenset(drops))

    def tasks(self, follower: Follower, task_id: str) -> list[dict[str, Any]]:
        """Instances of a task of the drops' Dag."""
        runs = self.airflow.runs(PIPELINE, follower.since)
        found = (task for run in runs for task in self.airflow.task_instances(PIPELINE, run["dag_run_id"]))
        return [task for task in found if task["task_id"] == task_id]

    def worker_of(self, pid: int) -> str:
        return next(name for name in WORKERS if pid in {process.pid for process in self.stack.tree(name)})

    def finish(self, follower: Follower) -> None:
        """Wait until everything that the drops set off is over, and in order."""
        runs = [*follower.drops(), *follower.downstream("_gold"), *follower.downstream("_train")]
        assert {run["state"] for run in runs} == {"success"}, follower.failure()
