"""A preview shows what gold would hold, and replaces nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from heads import Head, shelve

from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.curate import curate
from avlake.stages.preview import preview

PIPELINE = "talking_heads"
HEADS = [
    Head(),
    Head("mp4/ann/v2/00001.mp4", metrics={"speech_ratio": 0.6}),
    Head("mp4/bob/v3/00001.mp4", metrics={"speech_ratio": 0.4, "avg_blur_score": 10.0}),
    Head("mp4/bob/v3/00002.mp4", streams=("video",)),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))
    shelve(settings, HEADS)
    return settings


def everything(settings: Settings) -> dict[str, bytes]:
    store = Lake.open(settings).store
    return {name: store.read(name) for name in store.list() if not name.startswith("reports/")}


def test_it_says_what_gold_would_hold_and_replaces_nothing(settings: Settings) -> None:
    curate(settings, pipeline=PIPELINE, run_id="r1")
    before = everything(settings)
    shown = preview(settings, pipeline=PIPELINE, run_id="r/2", thresholds={"min_speech_ratio": 0.5})
    assert everything(settings) == before
    assert (shown.rows, shown.kept) == (4, 2)
    assert shown.reasons == {"no_audio": 1, "low_speech": 1, "blurry": 1}
    assert shown.sheet_uri.endswith("reports/talking_heads/preview-r_2/index.html")
    page = Path(shown.sheet_uri).read_text()
    assert all(head.path in page for head in HEADS)
    assert "0.5 (today)" in page
    assert "<script" not in page

    curated = curate(settings, pipeline=PIPELINE, run_id="r3", thresholds={"min_speech_ratio": 0.5})
    assert curated.rows["gold.talking_heads"] == shown.rows
    assert curated.kept["gold.talking_heads"] == shown.kept


def test_without_thresholds_it_takes_those_recorded(settings: Settings) -> None:
    curate(settings, pipeline=PIPELINE, run_id="r1", thresholds={"min_speech_ratio": 0.3, "min_blur_score": 0.0})
    assert preview(settings, pipeline=PIPELINE, run_id="r2").kept == 3


def test_nothing_to_look_at_is_said(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="voxforge_gender has no preview"):
        preview(settings, pipeline="voxforge_gender", run_id="r1")
    with pytest.raises(RequestError, match="min_speech"):
        preview(settings, pipeline=PIPELINE, run_id="r1", thresholds={"min_speech": 0.3})
    with pytest.raises(RequestError, match="run a drop"):
        preview(Settings(uri=str(tmp_path / "empty")), pipeline=PIPELINE, run_id="r1")
