"""What `avlake` alone says to do next, over lakes at each point of the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avlake import overview
from avlake.datasets import synthetic
from avlake.lake import Lake
from avlake.learn.artifacts import Chosen, choose
from avlake.pipelines import PIPELINES, get_pipeline
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages.commit import commit
from avlake.stages.extract import measure_shard, plan
from avlake.stages.human import fold
from avlake.stages.ingest import ingest
from avlake.stages.labelling import import_file
from avlake.tables import LABELS, MODEL_RUNS, Table
from clips import make_clip

DROP = "2026-09-01"


def next_step(settings: Settings) -> str:
    return overview.text(settings).partition("Next  ")[2]


def test_the_next_step_goes_on_where_a_run_stopped(tmp_path: Path) -> None:
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=1)
    for name, pipeline in PIPELINES.items():
        assert f"avlake run {name} --source FOLDER  # with FOLDER/{pipeline.dataset.name}/" in next_step(settings)
    synthetic.write_drop(tmp_path / "landing", DROP, speakers=2, utterances=1)
    source = str(tmp_path / "landing")
    ingest(settings, dataset="voxforge", source=source, drop=DROP, run_id="stopped")
    assert next_step(settings) == f"avlake run voxforge_gender --source FOLDER  # not measured yet: {DROP}"
    run(settings, pipeline="voxforge_gender", source=source, train=False)
    assert next_step(settings) == "avlake train voxforge_gender"


def test_what_nobody_has_labelled_is_to_be_labelled_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=1)
    lake, effects = Lake.open(settings), get_pipeline("sound_effects")
    monkeypatch.setitem(PIPELINES, effects.name, replace(effects, extractors=("media",)))  # needs no model
    clip = tmp_path / "landing" / "vggsound" / DROP / "dog_000010.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(make_clip(None, np.linspace(0, 1, 8000)))
    ingest(settings, dataset="vggsound", source=str(tmp_path / "landing"), drop=DROP, run_id="test")
    planned = plan(settings, pipeline=effects.name, drop=DROP, run_id="test")
    measure_shard(settings, plan=planned.plan, shard=0, run_id="test")
    commit(settings, plan=planned.plan, run_id="test")
    assert next_step(settings) == "avlake run sound_effects --source FOLDER  # measured, and no gold made of it yet"
    for table in (Table("gold.sound_effects", "clips", ("file_id",), LABELS.schema, per_drop=False), MODEL_RUNS):
        lake.replace_table(table, [table.schema.empty_table()], expected_version=lake.table_version(table))
    choose(lake.store, effects.name, Chosen("r", "key", "plain", "gold", "models/sound_effects/r"))
    assert next_step(settings).startswith("avlake labels import FILE --by NAME --pipeline sound_effects")
    (tmp_path / "truth.csv").write_text("video_id,class\ndog_000010,sfx\n")
    import_file(settings, file=str(tmp_path / "truth.csv"), who="ann")
    assert next_step(settings).startswith("avlake run sound_effects --source FOLDER  # labels have come")
    fold(lake, "podcasts")
    assert "labels have come" in next_step(settings)  # the effects' gold has not seen them
    fold(lake, "vggsound")
    assert next_step(settings).startswith('avlake sql "SELECT * FROM gold.model_runs')
