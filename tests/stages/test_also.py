"""Measurements that a pipeline takes for others: only where they are asked for, and kept by runs that do not ask."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from avlake.errors import RequestError
from avlake.extractors.face_tracks import FaceTracks
from avlake.extractors.faces import MODEL
from avlake.lake import Lake
from avlake.media.sandbox import Sandbox
from avlake.pipelines import MEASURE, PIPELINES, get_pipeline
from avlake.settings import Settings
from avlake.stages.commit import CommitReport, commit
from avlake.stages.extract import PlanReport, measure_shard, plan
from avlake.stages.ingest import ingest

PIPELINE, DATASET, DROP = "talking_heads", "voxceleb", "2026-09-01"
SHARED = Path(__file__).parents[2].parent / "shared"
CLIPS = sorted((SHARED / "data/landing" / DATASET).glob("*/**/*.mp4"))
ASKED = {"face_tracks": {MEASURE: True, "stride": 5}}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setitem(PIPELINES, PIPELINE, replace(get_pipeline(PIPELINE), extractors=("media",)))
    yield Settings(uri=str(tmp_path / "lake"), models=SHARED / "models", landing=str(tmp_path / "landing"))


@pytest.mark.skipif(
    not (CLIPS and (SHARED / "models" / MODEL).is_file()), reason="no shared/data or no model beside it"
)
def test_face_tracks_of_talking_heads_are_kept_by_runs_that_do_not_ask_for_them(settings: Settings) -> None:
    clip = Path(settings.landing) / DATASET / DROP / "mp4/ann/v1/00001.mp4"
    clip.parent.mkdir(parents=True)
    shutil.copy(CLIPS[0], clip)
    with Sandbox(settings) as box:

        def process(params: dict[str, dict[str, object]] | None) -> tuple[PlanReport, CommitReport]:
            ingest(settings, dataset=DATASET, source=settings.landing, drop=DROP, run_id="run")
            made = plan(settings, pipeline=PIPELINE, drop=DROP, run_id="run", params=params)
            for shard in range(made.shards):
                measure_shard(settings, plan=made.plan, shard=shard, run_id="run", sandbox=box)
            return made, commit(settings, plan=made.plan, run_id="run")

        def tracks() -> list[str]:
            return sorted(Lake.open(settings).rows(FaceTracks.table, DATASET, DROP)["track_id"].to_pylist())

        assert process(None)[0].to_measure == 1 and tracks() == []
        assert process(ASKED)[0].to_measure == 1 and (found := tracks())
        for params in (None, ASKED, {"face_tracks": {MEASURE: "false"}}):
            made, done = process(params)
            assert made.to_measure == 0 and not done.changed and tracks() == found
        other = clip.with_name("00002.mp4")
        shutil.copy(CLIPS[1], other)
        assert process(None)[0].to_measure == 1 and tracks() == found
        clip.unlink()
        process(None)
        assert tracks() == []  # with its film


def test_what_asks_for_a_measurement_is_true_or_false() -> None:
    chosen = get_pipeline(PIPELINE)
    assert "face_tracks" not in chosen.configured() and "face_tracks" in chosen.configured(ASKED)
    with pytest.raises(RequestError, match="measure: true or false, not 'perhaps'"):
        chosen.configured({"face_tracks": {MEASURE: "perhaps"}})
    with pytest.raises(RequestError, match="stride"):
        chosen.configured({"face_tracks": {MEASURE: "yes", "stride": 0}})
