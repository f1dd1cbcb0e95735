"""What `make run` says before and after: the forecast, and what it came to."""

from __future__ import annotations

from pathlib import Path

from avlake.datasets import synthetic
from avlake.orchestration.drops import Work
from avlake.orchestration.summary import Watch
from avlake.pipelines import get_pipeline
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages.forecast import list_source, make_pilot

PIPELINE = get_pipeline("voxforge_gender")


def test_a_run_is_set_beside_its_forecast(tmp_path: Path) -> None:
    source = str(tmp_path / "landing")
    synthetic.write_drop(tmp_path / "landing", "2026-09-01", speakers=4, utterances=1)
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=1)
    work = Work(source, ("2026-09-01",), {"source": source}, source)
    before = Watch(PIPELINE.name, settings, work)
    assert "avlake plan voxforge_gender --source" in before.announced() and before.compared() == [before.announced()]

    make_pilot(settings, PIPELINE, source, list_source(settings, PIPELINE, source), size=4)
    watch = Watch(PIPELINE.name, settings, work)
    assert "4 media files, from a pilot of 4 files" in watch.announced()
    run(settings, pipeline=PIPELINE.name, source=source, train=False)
    lines = {line[2:17].strip(): line for line in watch.compared() if line.startswith("  ")}
    assert lines.keys() == {"media files", "media", "CPU, measuring", "time"}
    assert lines["media files"].endswith("inside") and lines["media"].endswith("inside")
