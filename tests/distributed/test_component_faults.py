"""Parts of a running stack die, and the backfill ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pyarrow as pa
import pytest
from stack import WORKERS, until
from world import PIPELINE, World

from avlake.extractors import base
from avlake.lake import Lake
from avlake.runner import run
from avlake.settings import Settings
from avlake.tables import EXTRACTIONS

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(1200)]

DROPS = ("2026-03-01", "2026-03-02", "2026-03-03")
OUTAGE_S = 20
# Heartbeats are missed for 30 s and looked at every 5 s, then a task waits 10 to 20 s; the rest is a loaded machine.
NOTICED_BOUND_S, WORKER_BOUND_S, SCHEDULER_BOUND_S, REDIS_BOUND_S, STORE_BOUND_S = 60, 90, 90, 90, OUTAGE_S + 90
COMMITTING = {
    "before it reads the log": rb"GET /\S*silver\S*_delta_log",
    "with its commit on the way": rb"PUT /\S*silver\S*_delta_log",
}

Said = Callable[[str], None]


def contents(lake: Lake, name: str) -> pa.Table:
    """All rows and all columns of a table, in one order."""
    table = lake.scan(name).to_table()
    table = table.select(sorted(table.column_names))
    order = [(field.name, "ascending") for field in table.schema if not pa.types.is_nested(field.type)]
    return table.sort_by(order)


def state(world: World) -> dict[str, Any]:
    """What may not change: every table's newest commit and its rows, and the warehouse that is shown."""
    rows = {name: hashlib.sha256(str(contents(world.lake, name).to_pylist()).encode()) for name in world.lake.tables()}
    found = {name: (world.lake.log_version(name), digest.hexdigest()) for name, digest in rows.items()}
    return found | {"warehouse": world.warehouse.resolve().name}


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The same drops, through no Airflow, into a folder."""
    for drop in DROPS:
        world.deliver(drop, speakers=8, utterances=4, faults=["truncated", "empty_wav"])
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=2)
    run(settings, pipeline=PIPELINE, source=str(world.folder / "landing"), train=False)
    return Lake.open(settings)


@pytest.mark.usefixtures("alive")
def test_a_backfill_survives_the_death_of_every_part(world: World, undisturbed: Lake, measured: Said) -> None:
    follower = world.submit(*DROPS, files_per_task=2)

    def shards(*states: str) -> list[dict[str, Any]]:
        return [task for task in world.tasks(follower, "silver.measure") if task["state"] in states]

    def after(since: datetime, column: str, *states: str) -> list[float]:
        """Seconds from `since` to the moments in `column`, of the shards in which it is later."""
        return [seconds(task[column], since) for task in shards(*states) if late(task[column], since)]

    def in_the_middle() -> None:
        open_ones = shards("scheduled", "queued", "running", "up_for_retry")
        assert len(open_ones) > 3, "extraction is over before the fault: make the drops larger"

    until(lambda: shards("success"), "extraction has begun")
    in_the_middle()
    dead = datetime.now(UTC)
    world.stack.kill("airflow-scheduler")
    world.stack.start("airflow-scheduler")
    back = datetime.now(UTC)
    first = min(until(lambda: after(back, "queued_when", "queued", "running", "success"), "shards are queued again"))
    took = first + (back - dead).total_seconds()
    measured(f"the scheduler is killed and started: it queued its first shard after {took:.0f} s")
    assert took < SCHEDULER_BOUND_S

    in_the_middle()
    dead = datetime.now(UTC)
    world.stack.stop("redis")
    world.stack.start("redis")
    back = datetime.now(UTC)
    first = min(until(lambda: after(back, "start_date", "running", "success"), "shards begin after Redis is back"))
    took = first + (back - dead).total_seconds()
    measured(f"Redis is restarted: the next shard began after {took:.0f} s")
    assert took < REDIS_BOUND_S

    in_the_middle()
    dead = datetime.now(UTC)
    world.stack.kill("store")
    time.sleep(OUTAGE_S)
    world.stack.start("store")
    back = datetime.now(UTC)
    first = min(until(lambda: after(back, "end_date", "success"), "shards end after the store is back"))
    took = first + (back - dead).total_seconds()
    measured(f"the store refuses connections for {OUTAGE_S} s: the next shard ended after {took:.0f} s")
    assert took < STORE_BOUND_S

    # Last, because it takes longest to be noticed.
    in_the_middle()
    victims = until(lambda: caught(world, WORKERS[0], shards), "a worker measures")
    dead = datetime.now(UTC)
    world.stack.kill(WORKERS[0])

    def of_victims(*states: str) -> list[dict[str, Any]]:
        found = [task for task in shards(*states) if key(task) in victims]
        return found if len(found) == len(victims) else []

    failed = until(lambda: of_victims("up_for_retry"), "its death is noticed")
    noticed = max(seconds(task["end_date"], dead) for task in failed)
    again = until(lambda: of_victims("queued", "running", "success"), "its shards are queued again")
    queued = max(seconds(task["queued_when"], dead) for task in again)
    measured(
        f"a worker is killed: noticed after {noticed:.0f} s, its {len(victims)} shards queued after {queued:.0f} s"
    )
    assert noticed < NOTICED_BOUND_S
    assert queued < WORKER_BOUND_S
    world.stack.start(WORKERS[0])

    world.finish(follower)
    whole = (datetime.now(UTC) - follower.since).total_seconds()
    tries = sum(task["try_number"] - 1 for task in world.tasks(follower, "silver.measure"))
    measured(
        f"all of it: {len(shards('success'))} shards, {tries} of them tried again, gold and a model in {whole:.0f} s"
    )
    assert_as_undisturbed(world.lake, undisturbed)
    assert len(world.lake.scan("gold.model_runs").to_table(columns=["run_id"])["run_id"].unique()) == 1


def caught(world: World, worker: str, shards: Callable[..., list[dict[str, Any]]]) -> set[tuple[str, int]]:
    """The shards that a worker measures; where there are any, it is left stopped, so that none of them can end."""
    stopped = world.stack.tree(worker)
    pids = {process.pid for process in stopped}
    if not any(task["pid"] in pids for task in shards("running")):
        return set()
    signal_all(stopped, psutil.Process.suspend)
    if not (found := {key(task) for task in shards("running") if task["pid"] in pids}):
        signal_all(stopped, psutil.Process.resume)
    return found


def assert_as_undisturbed(lake: Lake, undisturbed: Lake) -> None:
    """Gold is equal in all rows and columns; silver and ops have each row once."""
    mine, theirs = (contents(one, "gold.gender_windows") for one in (lake, undisturbed))
    assert mine.num_rows > 0
    assert mine.equals(theirs)
    keys = {e.table.name: e.table.key for e in base.all_extractors().values()} | {EXTRACTIONS.name: EXTRACTIONS.key}
    with duckdb.connect() as con:
        for name in sorted(keys.keys() & set(lake.tables())):
            con.register("rows", lake.scan(name))
            columns = ", ".join(("drop_date", *keys[name]))
            counted = f"SELECT count(*), count(DISTINCT ({columns})) FROM rows"
            rows, distinct = con.execute(counted).fetchone()
            assert rows == distinct == undisturbed.scan(name).count_rows(), name


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("moment", COMMITTING)
def test_a_zombie_changes_nothing(world: World, moment: str, measured: Said) -> None:
    drop = f"2026-04-{list(COMMITTING).index(moment) + 1:02d}"
    world.deliver(drop, speakers=2, utterances=2)
    world.airflow.pause(f"{PIPELINE}_train", True)  # a model of four recordings more says nothing here
    follower = world.submit(drop)
    until(lambda: [t for t in world.tasks(follower, "silver.plan") if t["state"] == "success"], "the drop is planned")
    hold = world.folder / "hold"
    (hold / "hold").write_bytes(COMMITTING[moment])
    port = int(until(lambda: (hold / "held").exists() and (hold / "held").read_text(), "the commit is on its way"))

    task = psutil.Process(client_on(port))
    worker = world.stack.tree(world.worker_of(task.pid))
    task.suspend()
    signal_all(worker, psutil.Process.suspend)  # its supervisor too, which would report that it lives
    stopped = datetime.now(UTC)
    assert uncommitted(world.lake, drop)
    try:
        runs = [*follower.drops(), *follower.downstream("_gold")]
        assert {run["state"] for run in runs} == {"success"}
        (commit,) = world.tasks(follower, "silver.commit")
        assert (commit["state"], commit["try_number"]) == ("success", 2)
        took = seconds(commit["queued_when"], stopped)
        measured(f"a task is stopped {moment}: its retry was queued after {took:.0f} s")
        assert took < WORKER_BOUND_S
        before = state(world)
    finally:
        world.airflow.pause(f"{PIPELINE}_train", False)
        (hold / "held").unlink()
        task.resume()  # alone at first, so that no supervisor ends it before it has tried
        with contextlib.suppress(psutil.TimeoutExpired):
            task.wait(20)
        signal_all(worker, psutil.Process.resume)
    until(lambda: not task.is_running(), "the zombie has ended")
    assert state(world) == before
    assert "Returned value" in first_log(world.folder, commit)  # it did go on, and found its own rows committed


def uncommitted(lake: Lake, drop: str) -> bool:
    return all(lake.drop_version(e.table, "voxforge", drop) == 0 for e in base.all_extractors().values())


def client_on(port: int) -> int:
    """The pid of the process that connects from this port."""
    found = (c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.pid)
    return next(c.pid for c in found if c.raddr and c.raddr.port != port)


def first_log(folder: Path, task: dict[str, Any]) -> str:
    where = folder / "logs" / f"dag_id={task['dag_id']}" / f"run_id={task['dag_run_id']}" / f"task_id={task['task_id']}"
    return next(where.rglob("attempt=1.log")).read_text()


def signal_all(processes: Collection[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            send(process)


def key(task: dict[str, Any]) -> tuple[str, int]:
    return task["dag_run_id"], task["map_index"]


def late(told: str | None, moment: datetime) -> bool:
    return told is not None and datetime.fromisoformat(told) > moment


def seconds(told: str, since: datetime) -> float:
    return (datetime.fromisoformat(told) - since).total_seconds()
