"""Standard forms of clips in the lake: objects that live as long as a silver row names them, and are made once."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avlake.extractors import base
from avlake.lake import Lake
from avlake.pipelines import PIPELINES
from avlake.runner import new_run_id
from avlake.settings import Settings
from avlake.stages.commit import CommitReport, commit
from avlake.stages.contents import FOLDER, object_name
from avlake.stages.curate import curate
from avlake.stages.extract import PlanReport, measure_shard, plan
from avlake.stages.ingest import ingest
from avlake.stages.maintain import maintain
from avlake.tables import EXTRACTIONS
from clips import make_clip, moving_bar, noise_pictures

PIPELINE, DATASET, DROP, LATER = "talking_heads", "voxceleb", "2026-09-01", "2026-09-02"
TABLE = base.load("standardised").table
WHOLE = PIPELINES[PIPELINE]
SOUND = 0.2 * np.sin(np.arange(16_000) / 7)
TALKER = make_clip(moving_bar(), SOUND, seconds=1)
SILENT = make_clip(noise_pictures(1), seconds=1)
VOICE = make_clip(None, SOUND / 2)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    only = replace(WHOLE, extractors=("media", "standardised"))
    monkeypatch.setitem(PIPELINES, PIPELINE, only)
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "landing"
    deliver(folder, DROP, **{"id1/v1/00001": TALKER, "id1/v1/00002": SILENT, "id2/v2/00001": VOICE})
    return folder


def deliver(landing: Path, drop: str, **clips: bytes) -> None:
    for name, content in clips.items():
        file = landing / DATASET / drop / "dev/mp4" / f"{name}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def planned(settings: Settings, landing: Path, drop: str = DROP, **options: Any) -> PlanReport:
    run_id = new_run_id("test")
    ingest(settings, dataset=DATASET, source=str(landing), drop=drop, run_id=run_id)
    return plan(settings, pipeline=PIPELINE, drop=drop, run_id=run_id, **options)


def finish(settings: Settings, made: PlanReport) -> CommitReport:
    for shard in range(made.shards):
        measure_shard(settings, plan=made.plan, shard=shard, run_id="test")
    return commit(settings, plan=made.plan, run_id="test")


def rows(settings: Settings, drop: str = DROP) -> dict[str, dict[str, Any]]:
    """Rows of silver.standardised by path."""
    lake = Lake.open(settings)
    done = lake.rows(EXTRACTIONS, DATASET, drop).to_pylist()
    paths = {row["file_id"]: row["path"].removeprefix("dev/mp4/") for row in done}
    return {paths[row["file_id"]]: row for row in lake.rows(TABLE, DATASET, drop).to_pylist()}


def objects(settings: Settings) -> set[str]:
    return set(Lake.open(settings).store.list(FOLDER))


def named(*found: dict[str, Any]) -> set[str]:
    return {object_name(row[kind]) for row in found for kind in ("video", "audio") if row[kind]}


def test_each_row_names_objects_that_hold_what_it_says(settings: Settings, landing: Path) -> None:
    finish(settings, planned(settings, landing))
    lake, found = Lake.open(settings), rows(settings)
    kinds = {path: {kind for kind in ("video", "audio") if row[kind]} for path, row in found.items()}
    assert kinds == {
        "id1/v1/00001.mp4": {"video", "audio"},
        "id1/v1/00002.mp4": {"video"},
        "id2/v2/00001.mp4": {"audio"},
    }
    assert objects(settings) == named(*found.values())
    for row in found.values():
        for kind in ("video", "audio"):
            if row[kind]:
                data = lake.store.read(object_name(row[kind]))
                assert (hashlib.sha256(data).hexdigest(), len(data)) == (row[kind], row[f"{kind}_bytes"])
                with av.open(io.BytesIO(data)) as made:
                    assert bool(made.streams.video) == (kind == "video")


def test_a_second_run_measures_nothing_and_writes_nothing(settings: Settings, landing: Path) -> None:
    assert finish(settings, planned(settings, landing)).measured == 3
    lake = Lake.open(settings)

    def state() -> Any:
        infos = {name: lake.store.fs.info(lake.store.path(name)) for name in objects(settings)}
        return Lake.open(settings).log_version(TABLE.name), infos

    before = state()
    again = planned(settings, landing)
    assert (again.to_measure, again.unchanged) == (0, 3)
    assert not finish(settings, again).changed
    assert state() == before


def test_the_same_bytes_elsewhere_share_their_objects(settings: Settings, landing: Path) -> None:
    deliver(landing, DROP, **{"id3/v3/00009": TALKER})
    deliver(landing, LATER, **{"id1/v1/00007": SILENT})
    finish(settings, planned(settings, landing))
    later = planned(settings, landing, LATER)
    assert (later.to_measure, later.reused) == (0, 1)
    finish(settings, later)
    here, there = rows(settings), rows(settings, LATER)
    assert named(here["id1/v1/00001.mp4"]) == named(here["id3/v3/00009.mp4"])
    assert named(here["id1/v1/00002.mp4"]) == named(there["id1/v1/00007.mp4"])
    assert len(objects(settings)) == 4


def test_maintenance_keeps_what_is_named_and_removes_the_rest(settings: Settings, landing: Path) -> None:
    finish(settings, planned(settings, landing))
    found, before = rows(settings), objects(settings)
    maintain(settings, retention_h=0)
    assert objects(settings) == before
    (landing / DATASET / DROP / "dev/mp4/id1/v1/00001.mp4").unlink()
    finish(settings, planned(settings, landing))
    maintain(settings)
    assert objects(settings) == before  # an older version of the table, still kept, names them
    maintain(settings, retention_h=0)
    left = {path: row for path, row in found.items() if path != "id1/v1/00001.mp4"}
    assert rows(settings).keys() == left.keys()
    assert objects(settings) == named(*left.values()) < before


def test_other_parameters_make_other_objects_and_the_old_go(settings: Settings, landing: Path) -> None:
    finish(settings, planned(settings, landing))
    before = named(rows(settings)["id1/v1/00001.mp4"])
    made = planned(settings, landing, params={"standardised": {"fit": "crop"}})
    assert made.to_measure == 3
    finish(settings, made)
    now = rows(settings)["id1/v1/00001.mp4"]
    maintain(settings, retention_h=0)
    assert objects(settings) == named(*rows(settings).values())
    assert before - objects(settings) and named(now) & before  # the picture is another, the sound is the same


def test_a_shard_that_is_measured_again_makes_the_same_objects(settings: Settings, landing: Path) -> None:
    """A task was killed after it stored objects and before its result was noted."""
    made = planned(settings, landing)
    measure_shard(settings, plan=made.plan, shard=0, run_id="killed")
    before = objects(settings)
    lake = Lake.open(settings)
    [note] = [name for name in lake.store.list("_work") if name.endswith(".done.json")]
    lake.store.fs.rm_file(lake.store.path(note))
    finish(settings, made)
    assert objects(settings) == before == named(*rows(settings).values())


def decided(settings: Settings, run_id: str) -> bool:
    """Is gold another now? Its SQL looks at all that the pipeline measures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PIPELINES, PIPELINE, WHOLE)
        return curate(settings, pipeline=PIPELINE, run_id=run_id).changed


def test_gold_names_the_objects_and_stays_when_they_are_made_again(settings: Settings, landing: Path) -> None:
    finish(settings, planned(settings, landing))
    assert decided(settings, "first")
    gold = Lake.open(settings).scan("gold.talking_heads")
    assert gold is not None
    found, columns = rows(settings), ["path", "standard_video", "standard_audio"]
    expected = {(f"dev/mp4/{path}", row["video"], row["audio"]) for path, row in found.items()}
    assert {tuple(row.values()) for row in gold.to_table(columns=columns).to_pylist()} == expected
    for params in ({"standardised": {"crf": 40}}, None):  # away and back
        assert finish(settings, planned(settings, landing, params=params)).measured == 3
    assert named(*rows(settings).values()) == named(*found.values())
    assert not decided(settings, "second")
