"""An extractor whose model files people may bring: without them nothing asks for it, with them only it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avlake import doctor
from avlake.extractors.panns_tags import LABELS, WEIGHTS
from avlake.lake import Lake
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages.commit import commit
from avlake.stages.extract import measure_shard, plan
from avlake.stages.forecast import list_source
from avlake.stages.ingest import ingest
from avlake.stages.work import Plan, load_shard
from brought import bring, made_up
from clips import make_clip

PIPELINE, DATASET, DROP = "sound_effects", "vggsound", "2026-11-01"
YAMNET = Path(__file__).parents[2].parent / "shared/models/yamnet.tflite"
ALWAYS = {"media", "audio_tags", "speech"}
pytestmark = pytest.mark.skipif(not YAMNET.is_file(), reason="no yamnet.tflite beside the checkout")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    landing, models = tmp_path / "landing" / DATASET / DROP, tmp_path / "models"
    landing.mkdir(parents=True)
    models.mkdir()
    (models / YAMNET.name).symlink_to(YAMNET)
    hiss = 0.1 * np.random.default_rng(1).standard_normal(32_000)
    (landing / "abcdefghijk_000010.mp4").write_bytes(make_clip(None, hiss))
    made = Settings(uri=str(tmp_path / "lake"), models=models, landing=str(tmp_path / "landing"))
    ingest(made, dataset=DATASET, source=made.landing, drop=DROP, run_id="ingest")
    return made


def measure(settings: Settings, run_id: str) -> list[tuple[str, ...]]:
    """Plan, measure and commit; the extractors of each file that was measured."""
    lake = Lake.open(settings)
    report = plan(settings, pipeline=PIPELINE, drop=DROP, run_id=run_id)
    made = Plan.load(lake, report.plan)
    asked = [item.extractors for shard in made.shards for item in load_shard(lake, made, shard)]
    for shard in range(report.shards):
        assert measure_shard(settings, plan=report.plan, shard=shard, run_id=run_id).quarantined == 0
    commit(settings, plan=report.plan, run_id=run_id)
    return asked


def tags(settings: Settings, table: str) -> list[dict[str, Any]]:
    data = Lake.open(settings).scan(f"silver.{table}")
    return data.to_table().to_pylist() if data is not None else []


def examined(settings: Settings) -> doctor.Check:
    return next(check for check in doctor.examine(settings) if check.what == "panns_tags")


def to_do(settings: Settings) -> int:
    """Files that a forecast counts."""
    return len(list_source(settings, get_pipeline(PIPELINE), None).to_do)


def test_it_is_measured_once_its_files_are_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in ("_libraries", "_side_by_side"):
        monkeypatch.setattr(doctor, slow, lambda *given: [])
    assert [set(extractors) for extractors in measure(settings, "without")] == [ALWAYS]
    assert measure(settings, "again") == [] and to_do(settings) == 0
    assert len(tags(settings, "audio_tags")) == 3 and tags(settings, "panns_tags") == []
    check = examined(settings)
    assert check.ok and "goes without it" in check.found and WEIGHTS in check.found

    bring(settings.models, made_up(np.full((257, 64), 0.01, np.float32)))
    assert to_do(settings) == 1 and examined(settings).ok
    assert measure(settings, "with") == [("panns_tags",)]
    assert measure(settings, "with again") == [] and to_do(settings) == 0
    (row,) = tags(settings, "panns_tags")
    assert not row["trusted"] and len(row["scores"]) == 527
    assert len(tags(settings, "audio_tags")) == 3

    (settings.models / LABELS).unlink()
    assert measure(settings, "one file gone") == [] and to_do(settings) == 0
    assert tags(settings, "panns_tags") == [row]
    check = examined(settings)
    assert not check.ok and LABELS in check.found and "https://" in (check.mend or "")
