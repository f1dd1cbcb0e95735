"""talking_heads in a real Airflow: a drop measured and decided unasked, then gold that waits for a person's answer."""

import csv
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from avlake.lake import Lake
from avlake.orchestration.assets import WHOLE
from avlake.orchestration.drops import find_work
from avlake.orchestration.follow import Follower
from avlake.orchestration.local import prepare, submit
from avlake.orchestration.server import Server
from avlake.pipelines import get_pipeline
from avlake.settings import Settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]

PIPELINE, GOLD = "talking_heads", "talking_heads_gold"
DROP = "2026-09-01"
SHARED = Path(__file__).parents[2].parent / "shared"
COLUMNS = ("filepath_video", "speaker_id", "face_presence_ratio", "avg_blur_score", "speech_ratio")
MEASURED = [(1, 80, 1), (1, 80, 0.6), (0.5, 80, 1)]  # the first is kept; the second with a lower threshold


class World:
    """An Airflow without a landing zone of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.server = folder, Server(folder / "airflow")
        models = SHARED / "models"
        self.settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), models=models)
        self.lake = Lake.open(self.settings)
        settings = {"URI": self.settings.uri, "WAREHOUSE": self.settings.warehouse, "MODELS": str(models)}
        self.airflow = self.server.start({f"AVLAKE_{name}": value for name, value in settings.items()})
        prepare(self.airflow, PIPELINE, self.server.log)

    def start_gold(self, **conf: object) -> str:
        run_id = self.airflow.trigger(GOLD, key=WHOLE, conf=conf)
        assert run_id
        return run_id

    def states(self, run_id: str) -> dict[str, str]:
        return {task["task_id"]: task["state"] for task in self.airflow.task_instances(GOLD, run_id)}

    def question(self, run_id: str) -> dict[str, object]:
        """What a person is asked, once the task waits."""
        while self.states(run_id)["approve"] != "awaiting_input":
            assert self.states(run_id)["preview"] not in ("failed", "upstream_failed")
            time.sleep(0.5)
        time.sleep(2)  # Airflow loses an answer that comes in the second in which the task begins to wait
        return self.airflow._request("GET", f"{self._task(run_id)}/hitlDetails")

    def answer(self, run_id: str, option: str, **thresholds: object) -> None:
        said = {"chosen_options": [option], "params_input": thresholds}
        self.airflow._request("PATCH", f"{self._task(run_id)}/hitlDetails", json=said)

    def end(self, run_id: str) -> dict[str, str]:
        """How the run's tasks ended."""
        while any(run["dag_run_id"] == run_id for run in self.airflow.active_runs(GOLD)):
            time.sleep(0.5)
        return self.states(run_id)

    def kept(self) -> list[str]:
        rows = self.lake.scan("gold.talking_heads").to_table(columns=["path", "kept"]).to_pylist()
        return sorted(row["path"] for row in rows if row["kept"])

    def _task(self, run_id: str) -> str:
        return f"/dags/{GOLD}/dagRuns/{run_id}/taskInstances/approve/-1"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("heads"))
    yield world
    world.server.stop()


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *((f"mp4/a/v{i}/1.mp4", "a", *m) for i, m in enumerate(MEASURED))])
    return str(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared recordings and models here")
def test_a_drop_is_measured_decided_and_judged(world):
    delivered = sorted(
        (SHARED / "data" / "landing" / "voxceleb").glob("*/dev/mp4/*/*/*"), key=lambda p: p.stat().st_size
    )
    for clip in delivered[:1]:
        target = world.folder / "landing" / "voxceleb" / DROP / Path(*clip.parts[-5:])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, target)
    since, work = (
        datetime.now(UTC),
        find_work(get_pipeline(PIPELINE), world.settings, str(world.folder / "landing"), None),
    )
    submit(world.airflow, PIPELINE, work)
    follower = Follower(world.airflow, PIPELINE, since, frozenset(work.drops))
    assert [run["state"] for run in follower.drops()] == ["success"]
    (run,) = follower.downstream("_gold")
    expected = {
        "scores": "skipped",
        "preview": "skipped",
        "approve": "skipped",
        "curate": "success",
        "publish": "success",
    }
    assert world.states(run["dag_run_id"]) == expected
    assert {run["state"] for run in follower.downstream("_train")} == {"success"}
    assert world.lake.scan("gold.talking_heads").count_rows() == 1
    assert world.lake.scan("gold.curation_impact").count_rows() > 0
    assert Path(follower.result("_train", "report")).is_file()


def test_gold_is_replaced_by_what_a_person_approved_and_is_told_who(world, scores):
    run_id = world.start_gold(scores=scores, approval=True)
    question = world.question(run_id)
    before = world.lake.log_version("gold.talking_heads")
    assert question["options"] == ["Approve", "Reject"] and "| kept | 1 |" in question["body"]
    assert question["params"]["min_speech_ratio"]["value"] == 0.9
    shown = {name: param["value"] for name, param in question["params"].items()}
    world.answer(run_id, "Approve", **shown | {"min_speech_ratio": 0.5})
    assert world.end(run_id) == dict.fromkeys(("scores", "preview", "approve", "curate", "publish"), "success")
    assert {"mp4/a/v0/1.mp4", "mp4/a/v1/1.mp4"} <= set(world.kept())
    assert world.lake.log_version("gold.talking_heads") != before
    (row,) = world.lake.scan("governance.thresholds").to_table().to_pylist()
    assert row["who"] == "admin" and '"min_speech_ratio": 0.5' in row["values"]


def test_a_rejection_leaves_gold_as_it_is(world):
    before, kept = world.lake.log_version("gold.talking_heads"), world.kept()
    run_id = world.start_gold(approval=True, min_speech_ratio=0.0, min_face_presence_ratio=0.0)
    assert world.question(run_id)["params"]["min_speech_ratio"]["value"] == 0.0
    world.answer(run_id, "Reject")
    ended = world.end(run_id)
    assert (ended["approve"], ended["curate"], ended["publish"]) == ("success", "skipped", "skipped")
    assert (world.lake.log_version("gold.talking_heads"), world.kept()) == (before, kept)
    assert world.lake.scan("governance.thresholds").count_rows() == 1
