"""Following runs: one line of progress per stage, on a terminal and in a log file alike."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TextIO

from avlake.errors import WorkError
from avlake.orchestration.client import ACTIVE, Airflow

POLL_S = 1.5
QUIET_S = 6.0  # the scheduler turns an asset event into a run within its next loops
OVER = ("success", "skipped", "failed", "upstream_failed", "removed")


@dataclass(frozen=True)
class Stage:
    """A task of one of the pipeline's Dags, and the counts of its result that people want to see."""

    dag: str  # the Dag's name after the pipeline's
    task_id: str
    label: str
    unit: str
    counts: tuple[str, ...] = ()
    optional: bool = False  # not shown where no run had it to do


STAGES = (
    Stage("", "bronze.ingest", "ingest", "drops", ("files", "archives", "quarantined")),
    Stage("", "silver.plan", "plan", "drops", ("to_measure", "reused", "unchanged")),
    Stage("", "silver.measure", "extract", "shards"),
    Stage("", "silver.commit", "commit", "drops", ("files", "measured", "quarantined")),
    Stage("_gold", "approve", "approve", "runs", optional=True),
    Stage("_gold", "curate", "curate", "runs"),
    Stage("_gold", "publish", "publish", "runs"),
    Stage("_train", "train", "train", "runs"),
    Stage("_train", "report", "report", "runs"),
)


class Board:
    """One line per stage: rewritten in place on a terminal, printed when it changes elsewhere."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._lines: dict[str, str] = {}
        self._height = 0

    def show(self, lines: dict[str, str]) -> None:
        changed = {label: text for label, text in lines.items() if self._lines.get(label) != text}
        self._lines = lines
        if not self._out.isatty():
            for label, text in changed.items():
                print(f"  {label:<9}{text}", file=self._out, flush=True)
        elif changed:
            up = f"\x1b[{self._height}F" if self._height else ""
            text = "".join(f"\x1b[2K  {label:<9}{text}\n" for label, text in lines.items())
            self._out.write(up + text)
            self._out.flush()
            self._height = len(lines)


@dataclass
class Follower:
    """The runs of one pipeline's three Dags since a moment."""

    airflow: Airflow
    pipeline: str
    since: datetime
    keys: frozenset[str]  # the drops' dates
    board: Board = field(default_factory=Board)
    _counted: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)

    def drops(self) -> list[dict[str, Any]]:
        """Wait until every drop's run is over; the runs."""
        while True:
            runs = self._runs("")
            self._show()
            if runs and not any(run["state"] in ACTIVE for run in runs):
                return runs
            time.sleep(POLL_S)

    def downstream(self, dag: str) -> list[dict[str, Any]]:
        """Wait until all runs of the pipeline's other Dags are over, and none of `dag` has come for a while."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_S:
            self._show()
            if any(run["state"] in ACTIVE for name in ("_gold", "_train") for run in self._runs(name)):
                quiet_since = time.monotonic()
            time.sleep(POLL_S)
        return self._runs(dag)

    def result(self, dag: str, task_id: str) -> Any:
        """What the task returned in the newest run in which it returned anything."""
        for run in reversed(self._runs(dag)):
            if (value := self.airflow.xcom(run["dag_id"], run["dag_run_id"], task_id)) is not None:
                return value
        return None

    def rejected(self) -> bool:
        """Did the newest gold run that asked a person end without approval?"""
        answer = self.result("_gold", "approve")
        return bool(answer) and "Approve" not in answer["chosen_options"]

    def counts(self, task_id: str) -> Counter[str]:
        """The numbers that a task returned, summed over all runs."""
        total: Counter[str] = Counter()
        for (_, counted), numbers in self._counted.items():
            total.update(numbers if counted == task_id else {})
        return total

    def failure(self) -> tuple[dict[str, Any], list[str]] | None:
        """The first task that failed, and its log."""
        for dag in ("", "_gold", "_train"):
            for run in self._runs(dag):
                if run["state"] == "failed":
                    tasks = self.airflow.task_instances(run["dag_id"], run["dag_run_id"])
                    for task in tasks:
                        if task["state"] == "failed":
                            return task, self.airflow.log(task)
                    raise WorkError(f"the run {run['dag_run_id']} of {run['dag_id']} failed without a failed task")
        return None

    def _runs(self, dag: str) -> list[dict[str, Any]]:
        runs = self.airflow.runs(f"{self.pipeline}{dag}", self.since)
        if dag:
            return runs
        newest = {run["partition_key"]: run for run in runs if run["partition_key"] in self.keys}
        return list(newest.values())

    def _show(self) -> None:
        found: dict[Stage, list[dict[str, Any]]] = {stage: [] for stage in STAGES}
        for dag in ("", "_gold", "_train"):
            stages = {stage.task_id: stage for stage in STAGES if stage.dag == dag}
            for run in self._runs(dag):
                for task in self.airflow.task_instances(run["dag_id"], run["dag_run_id"]):
                    if stage := stages.get(task["task_id"]):
                        found[stage].append(task)
        shown = {stage: tasks for stage, tasks in found.items() if _begun(tasks, stage.optional)}
        self.board.show({stage.label: self._line(stage, tasks) for stage, tasks in shown.items()})

    def _line(self, stage: Stage, tasks: list[dict[str, Any]]) -> str:
        states = Counter(task["state"] for task in tasks)
        over = sum(states[state] for state in OVER)
        parts = [f"{over}/{len(tasks)} {stage.unit}"]
        if states["skipped"]:
            parts.append(f"{states['skipped']} with nothing to do")
        if failed := states["failed"] + states["upstream_failed"]:
            parts.append(f"{failed} FAILED")
        for task in tasks:
            if task["state"] == "awaiting_input":
                where = f"dags/{task['dag_id']}/runs/{task['dag_run_id']}/tasks/{task['task_id']}/required_actions"
                parts.append(f"waiting for a person: {self.airflow.url}/{where}")
        if states["up_for_retry"]:
            parts.append(f"{states['up_for_retry']} to be tried again")
        if states["success"] and over == len(tasks) and stage.task_id != "silver.measure":
            total = self._count(stage, tasks)
            parts += [f"{total[name]:,} {name.replace('_', ' ')}" for name in stage.counts]
            if total["unchanged_runs"] == states["success"]:
                parts.append("nothing changed")
        return ", ".join(parts)

    def _count(self, stage: Stage, tasks: list[dict[str, Any]]) -> Counter[str]:
        for task in tasks:
            if (task["dag_run_id"], stage.task_id) not in self._counted:
                value = self.airflow.xcom(task["dag_id"], task["dag_run_id"], task["task_id"])
                found = value if isinstance(value, dict) else {}
                numbers = {name: n for name, n in found.items() if isinstance(n, int) and not isinstance(n, bool)}
                numbers["unchanged_runs"] = int(found.get("changed") is False)
                self._counted[task["dag_run_id"], stage.task_id] = numbers
        return self.counts(stage.task_id)


def _begun(tasks: list[dict[str, Any]], optional: bool) -> bool:
    not_yet = (None, "scheduled", "queued", *(("skipped",) if optional else ()))
    return any(task["state"] not in not_yet for task in tasks)
