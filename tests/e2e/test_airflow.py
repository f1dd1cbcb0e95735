"""A real Airflow: its scheduler, its REST API, its task processes, and what a power cut does to them."""

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from avlake.datasets.synthetic import write_drop
from avlake.lake import Lake
from avlake.orchestration.drops import find_work
from avlake.orchestration.follow import Follower
from avlake.orchestration.local import prepare, submit
from avlake.orchestration.server import Server
from avlake.pipelines import get_pipeline
from avlake.runner import run as run_without_airflow
from avlake.settings import Settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]

PIPELINE = "voxforge_gender"
DROPS = ("2026-03-01", "2026-03-02")
BAD_DROP = "2026-03-04"


def settings_in(folder: Path) -> Settings:
    return Settings(
        uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), models=folder / "models", jobs=2
    )


class World:
    """A landing zone, a lake, and the Airflow that fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.landing = folder / "landing"
        self.settings = settings_in(folder)
        self.lake = Lake.open(self.settings)
        self.server = Server(folder / "airflow")
        for drop in DROPS:
            write_drop(self.landing, drop, utterances=2, faults=["truncated", "empty_wav", "unknown_gender"])

    def start(self) -> None:
        environment = {
            "AVLAKE_URI": self.settings.uri,
            "AVLAKE_WAREHOUSE": self.settings.warehouse,
            "AVLAKE_LANDING": str(self.landing),
        }
        self.airflow = self.server.start(environment)
        prepare(self.airflow, PIPELINE, self.server.log)

    def submit(self, drop: str | None = None, **conf: object) -> Follower:
        work = find_work(get_pipeline(PIPELINE), self.settings, str(self.landing), drop)
        work.conf.update(conf)
        since = datetime.now(UTC)
        submit(self.airflow, PIPELINE, work)
        return Follower(self.airflow, PIPELINE, since, frozenset(work.drops))

    def tasks(self, dag: str, run: dict[str, object], task_id: str) -> list[dict[str, object]]:
        found = self.airflow.task_instances(f"{PIPELINE}{dag}", str(run["dag_run_id"]))
        return [task for task in found if task["task_id"] == task_id]

    def versions(self) -> dict[str, int]:
        """The log versions of all tables that hold results."""
        return {name: self.lake.log_version(name) for name in self.lake.tables() if name != "ops.runs"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.server.stop()


def gold(lake: Lake) -> pa.Table:
    table = lake.scan("gold.gender_windows").to_table()
    return table.select(sorted(table.column_names)).sort_by([("file_id", "ascending"), ("window_index", "ascending")])


def test_killed_in_the_middle_of_a_backfill_it_finishes_by_itself(world, tmp_path):
    world.start()
    follower = world.submit(files_per_task=5)
    assert [(b["from_date"][:10], b["to_date"][:10]) for b in world.airflow.backfills(PIPELINE)] == [DROPS]

    def extracting() -> bool:
        runs = world.airflow.runs(PIPELINE, follower.since)
        found = [task["state"] for run in runs for task in world.tasks("", run, "silver.measure")]
        return found.count("success") >= 2 and len(found) - found.count("success") >= 2

    while not extracting():
        time.sleep(0.2)
    world.server.kill()
    assert world.server.session is None

    world.start()
    follower.airflow = world.airflow
    assert [run["state"] for run in follower.drops()] == ["success", "success"]
    gold_runs = follower.downstream("_gold")
    train_runs = follower.downstream("_train")
    assert {run["state"] for run in gold_runs + train_runs} == {"success"}

    undisturbed = settings_in(tmp_path)
    run_without_airflow(undisturbed, pipeline=PIPELINE, source=str(world.landing), train=False)
    assert gold(world.lake).num_rows > 0
    assert gold(world.lake).equals(gold(Lake.open(undisturbed)))

    trained = world.lake.scan("gold.model_runs").to_table(columns=["run_id"])["run_id"].unique()
    assert len(trained) == 1
    assert world.lake.store.exists(f"models/{PIPELINE}/chosen.json")


def test_a_second_run_of_the_same_drop_does_nothing(world):
    before = world.versions()
    follower = world.submit(DROPS[0])
    (run,) = follower.drops()
    assert run["state"] == "success"
    assert follower.counts("silver.plan")["to_measure"] == 0
    assert [task["state"] for task in world.tasks("", run, "silver.commit")] == ["skipped"]
    assert follower.downstream("_gold") == []
    assert world.versions() == before


def test_discovery_follows_a_drop_to_and_fro(world):
    """A new delivery is a run, an unchanged one is none, and one that comes back is one again."""
    drop = "2026-03-03"
    first, second = (write_drop(world.folder / f"{n}", drop, speakers=1, utterances=1, seed=n) for n in (1, 2))
    world.airflow.pause("discover_drops", False)

    def discover() -> dict[str, int]:
        since = datetime.now(UTC)
        world.airflow.trigger("discover_drops", key=None)
        while not (runs := world.airflow.runs("discover_drops", since)) or any(
            run["state"] in ("queued", "running") for run in runs
        ):
            time.sleep(0.5)
        return world.airflow.xcom("discover_drops", runs[-1]["dag_run_id"], PIPELINE)

    def run_of(delivery: Path) -> str:
        """What the one run is called that this delivery starts."""
        since, target = datetime.now(UTC), world.landing / "voxforge" / drop
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(delivery, target)  # with its times: the same delivery again
        assert discover() == {"drops": len(DROPS) + 1, "started": 1}
        (run,) = Follower(world.airflow, PIPELINE, since, frozenset([drop])).drops()
        assert run["state"] == "success"
        assert discover() == {"drops": len(DROPS) + 1, "started": 0}
        return str(run["dag_run_id"])

    names = [run_of(delivery) for delivery in (first, second, first)]
    world.airflow.pause("discover_drops", True)
    assert all(name.startswith(f"discovered__{drop}__") for name in names)
    assert len(set(names)) == 3


def test_a_drop_over_its_failure_budget_is_red_and_its_good_rows_are_kept(world):
    folder = write_drop(world.landing, BAD_DROP, speakers=9, utterances=2)
    for archive in sorted(folder.iterdir())[:7]:
        archive.write_bytes(archive.read_bytes()[:2000])
    follower = world.submit(BAD_DROP)
    (run,) = follower.drops()
    assert run["state"] == "failed"
    task, log = follower.failure()
    assert task["task_id"] == "silver.budget"
    assert any("7 of" in line for line in log)

    def curated() -> bool:
        runs = world.airflow.runs(f"{PIPELINE}_gold", follower.since)
        return bool(runs) and runs[-1]["state"] == "success"

    while not curated():
        time.sleep(0.5)
    rows = gold(world.lake).filter(pa.compute.field("drop_date") == BAD_DROP)
    assert len(rows["file_id"].unique()) == 4


def test_stop_leaves_nothing_running(world):
    members = world.server.session.members()
    assert world.server.stop()
    assert [process for process in members if process.is_running() and process.status() != "zombie"] == []
