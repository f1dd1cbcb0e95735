"""What `avlake` alone says to do next, over lakes at each point of the way."""

from __future__ import annotations

from pathlib import Path

from avlake import overview
from avlake.datasets import synthetic
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages.ingest import ingest

DROP = "2026-09-01"


def next_step(settings: Settings) -> str:
    return overview.text(settings).partition("Next  ")[2]


def test_the_next_step_goes_on_where_a_run_stopped(tmp_path: Path) -> None:
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=1)
    assert "avlake run talking_heads --source FOLDER  # with" in next_step(settings)
    synthetic.write_drop(tmp_path / "landing", DROP, speakers=2, utterances=1)
    source = str(tmp_path / "landing")
    ingest(settings, dataset="voxforge", source=source, drop=DROP, run_id="stopped")
    assert next_step(settings) == f"avlake run voxforge_gender --source FOLDER  # not measured yet: {DROP}"
    run(settings, pipeline="voxforge_gender", source=source, train=False)
    assert next_step(settings) == "avlake train voxforge_gender"
