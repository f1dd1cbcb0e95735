"""What `discover_drops` compares: a drop as it lies in the landing zone, and as bronze holds it."""

import http.server
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException

from avlake.datasets.synthetic import write_drop
from avlake.lake import Lake
from avlake.orchestration.discover import bronze_fingerprints, fingerprint, start_gold, start_runs
from avlake.pipelines import PIPELINES, get_pipeline
from avlake.settings import Settings
from avlake.stages import human
from avlake.stages.commit import commit
from avlake.stages.extract import measure_shard, plan
from avlake.stages.ingest import ingest
from avlake.stages.thresholds import adopt
from avlake.stages.unmeasured import unmeasured
from avlake.tables import EXTRACTIONS
from clips import make_clip

DROPS = ("2026-03-01", "2026-03-02")
VOXFORGE = get_pipeline("voxforge_gender").dataset


def delivered(landing: Path, drop: str, settings: Settings) -> str:
    entries = VOXFORGE.open_source(str(landing), settings).entries(drop)
    return fingerprint((entry.path, entry.version) for entry in entries)


def test_bronze_is_behind_until_a_delivery_is_ingested_and_again_when_it_comes_back(tmp_path):
    settings = Settings(uri=str(tmp_path / "lake"), jobs=1)
    landing, lake = tmp_path / "landing", Lake.open(settings)
    first, second = (write_drop(tmp_path / f"{n}", DROPS[0], speakers=2, utterances=1, seed=n) for n in (1, 2))
    write_drop(landing, DROPS[1], speakers=1, utterances=1, faults=["truncated"])
    (landing / "voxforge" / DROPS[1] / "notes.txt").write_text("a file beside the archives")
    assert bronze_fingerprints(lake, "voxforge") == {}

    def ingest_all() -> None:
        for drop in DROPS:
            ingest(settings, dataset="voxforge", source=str(landing), drop=drop, run_id="test")

    for delivery in (first, second, first):
        target = landing / "voxforge" / DROPS[0]
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(delivery, target)
        assert bronze_fingerprints(lake, "voxforge").get(DROPS[0]) != delivered(landing, DROPS[0], settings)
        ingest_all()
        assert bronze_fingerprints(lake, "voxforge") == {drop: delivered(landing, drop, settings) for drop in DROPS}
    assert bronze_fingerprints(lake, "another") == {}


class Answers(http.server.BaseHTTPRequestHandler):
    """Airflow's REST API, as far as discovery asks: nothing runs, and whatever is to be started is."""

    started: ClassVar[list[str]] = []
    run_ids: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self._say({"dag_runs": [], "total_entries": 0})

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("dagRuns"):
            if said["dag_run_id"] in self.run_ids:
                self._say({"detail": "there is a run of this id"}, status=409)
                return
            self.run_ids.append(said["dag_run_id"])
            self.started.append(self.path.split("/")[-2])
        self._say({"access_token": "token", "dag_run_id": "started"})

    def log_message(self, *_: object) -> None: ...

    def _say(self, answer: dict[str, object], status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


@pytest.fixture
def airflow(monkeypatch):
    """An Airflow that starts each run once."""
    monkeypatch.setattr(Answers, "started", [])
    monkeypatch.setattr(Answers, "run_ids", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        connection = json.dumps({"conn_type": "http", "host": url, "login": "avlake", "password": "secret"})
        monkeypatch.setenv("AIRFLOW_CONN_AVLAKE_AIRFLOW", connection)
        yield Answers
        server.shutdown()


def test_a_missing_model_file_holds_back_those_that_need_it_alone(airflow, tmp_path, monkeypatch):
    landing = tmp_path / "landing"
    write_drop(landing, DROPS[0], speakers=1, utterances=1)
    for clip in ("voxceleb/{}/mp4/ann/v1/00001.mp4", "vggsound/{}/ann_000001.mp4", "podcasts/{}/one.mp3"):
        path = landing / clip.format(DROPS[0])
        path.parent.mkdir(parents=True)
        path.write_bytes(b"clip")
    monkeypatch.setenv("AVLAKE_URI", str(tmp_path / "lake"))
    monkeypatch.setenv("AVLAKE_LANDING", str(landing))
    monkeypatch.setenv("AVLAKE_MODELS", str(tmp_path / "models"))
    needed = {"talking_heads": r"blaze_face_short_range\.tflite", "sound_effects": "yamnet", "podcast_outros": "yamnet"}
    for name, model in needed.items():
        with pytest.raises(AirflowFailException, match=rf"{name} has drops .*{model}.*avlake models pull"):
            start_runs(name)
    assert airflow.started == []
    assert start_runs("voxforge_gender") == {"drops": 1, "started": 1}
    assert airflow.started == ["voxforge_gender"]
    for dataset in ("voxceleb", "vggsound", "podcasts"):
        shutil.rmtree(landing / dataset)
    assert [start_runs(name) for name in needed] == [{"drops": 0, "started": 0}] * len(needed)


def test_clips_newly_sampled_start_a_run_for_their_drop_once(airflow, tmp_path, monkeypatch):
    landing, settings = tmp_path / "landing", Settings(uri=str(tmp_path / "lake"), jobs=1)
    lake, heads = Lake.open(settings), get_pipeline("talking_heads")
    monkeypatch.setitem(PIPELINES, heads.name, replace(heads, extractors=("media", "fingerprints")))  # need no model
    monkeypatch.setenv("AVLAKE_URI", settings.uri)
    monkeypatch.setenv("AVLAKE_LANDING", str(landing))
    for drop, speaker, clips in ((DROPS[0], "ann", 3), (DROPS[1], "bob", 1)):
        for clip in range(clips):
            path = landing / "voxceleb" / drop / "mp4" / speaker / "v1" / f"{clip}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            content = make_clip(None, np.linspace(0, 0.1 * (clip + 1), 8000))
            path.write_bytes(b"no clip" if clip == 2 else content)

    def discovered() -> list[str]:
        """By kind and drop, the runs that are started now."""
        before = len(airflow.run_ids)
        assert start_runs(heads.name)["drops"] == 2
        return [run_id.rpartition("__")[0] for run_id in airflow.run_ids[before:]]

    def take(drop: str, **thresholds: object) -> None:
        """What a run over a drop does, or one over gold that changes the sample."""
        ingest(settings, dataset="voxceleb", source=str(landing), drop=drop, run_id="test")
        adopt(lake, heads, thresholds, who="avlake", run_id=str(thresholds))
        planned = plan(settings, pipeline=heads.name, drop=drop, run_id="test")
        for shard in range(planned.shards):
            measure_shard(settings, plan=planned.plan, shard=shard, run_id="test")
        commit(settings, plan=planned.plan, run_id="test")

    assert discovered() == [f"discovered__{drop}" for drop in DROPS]
    take(DROPS[0], sampling="per_speaker", clips_per_speaker=1)
    take(DROPS[1])
    assert discovered() == []
    adopt(lake, heads, {"sampling": "all"}, who="avlake", run_id="gold")
    assert discovered() == [f"sampled__{DROPS[0]}"]
    assert discovered() == []  # a run that failed is not repeated
    take(DROPS[0])
    assert unmeasured(lake, heads) == {}  # the broken clip was looked at
    assert discovered() == []


def test_labels_that_wait_start_gold_once(airflow, tmp_path, monkeypatch):
    lake = Lake.open(Settings(uri=str(tmp_path / "lake")))
    monkeypatch.setenv("AVLAKE_URI", str(tmp_path / "lake"))

    def look() -> list[dict[str, int]]:
        return [start_gold(name) for name in ("sound_effects", "podcast_outros")]

    none = {"labels": 0, "started": 0}
    human.submit(lake, "podcasts", [human.Said("one.mp3", "outro_start_s", "60")] * 2, who="ann")
    lake.store.write(f"{human.INBOX}/notes.txt", b"not ours")
    assert look() == [none, {"labels": 2, "started": 0}]  # there is nothing to make gold of
    row = {"dataset": "podcasts", "drop_date": DROPS[0], "path": "one.mp3", "extractor": "media", "status": "ok"}
    made = pa.Table.from_pylist([row], schema=EXTRACTIONS.schema)
    fragment = lake.write_fragment(EXTRACTIONS, "podcasts", DROPS[0], [made])
    lake.commit_drop(EXTRACTIONS, "podcasts", DROPS[0], [fragment], expected_version=0)
    assert look() == [none, {"labels": 2, "started": 1}]
    assert look() == [none, {"labels": 2, "started": 0}]  # a run that failed is not repeated
    human.submit(lake, "podcasts", [human.Said("two.mp3", "outro_start_s", "none")], who="ben")
    assert look() == [none, {"labels": 3, "started": 1}]
    human.fold(lake, "podcasts")
    assert look() == [none, none]
    assert airflow.started == ["podcast_outros_gold"] * 2 and len(set(airflow.run_ids)) == 2
