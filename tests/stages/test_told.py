"""What a drop's annotations say is a part of what is measured: other boxes measure their video again, and no other."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from talkers import CSV, DROP, MOUTHED, SPOKEN, Film, annotate, deliver

from avlake import warehouse
from avlake.ages import RETENTION_H
from avlake.errors import StaleRun
from avlake.extractors import base
from avlake.lake import Lake
from avlake.learn.base import learner_of
from avlake.media.sandbox import Sandbox
from avlake.pipelines import get_pipeline
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages import quarantine
from avlake.stages.commit import CommitReport, commit
from avlake.stages.extract import PlanReport, ShardReport, measure_shard, plan
from avlake.stages.forecast import list_source
from avlake.stages.ingest import ingest
from avlake.stages.pilot import run_pilot
from avlake.stages.train import measured_by
from avlake.stages.work import Plan, load_shard
from avlake.tables import EXTRACTIONS

PIPELINE, DATASET = "active_speaker", "ava"
ANN, BEN = Film("ann", heard=0), Film("ben", heard=1)
ANN_MP4, BEN_MP4 = "videos/ann.mp4", "videos/ben.mp4"
TRACKS, BOTH = ("face_tracks",), ("face_tracks", "media")
MODELS = Path(__file__).parents[2].parent / "shared/models"


@dataclass(frozen=True)
class World:
    """A landing zone, a lake, and one process that measures for all tests: each start takes seconds."""

    root: Path
    sandbox: Sandbox

    @property
    def settings(self) -> Settings:
        places = {"uri": str(self.root / "lake"), "warehouse": str(self.root / "warehouse.duckdb")}
        return Settings(**places, models=MODELS, jobs=1)

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def drop(self) -> Path:
        return self.landing / DATASET / DROP

    def annotate(self, *rows: str) -> None:
        annotate(self.drop / CSV, rows)

    def planned(self, run_id: str = "test", settings: Settings | None = None) -> PlanReport:
        place = settings or self.settings
        ingest(place, dataset=DATASET, source=str(self.landing), drop=DROP, run_id=run_id)
        return plan(place, pipeline=PIPELINE, drop=DROP, run_id=run_id)

    def measured(self, made: PlanReport, run_id: str = "test") -> list[ShardReport]:
        return [
            measure_shard(self.settings, plan=made.plan, shard=shard, run_id=run_id, sandbox=self.sandbox)
            for shard in range(made.shards)
        ]

    def finished(self, made: PlanReport, run_id: str = "test") -> CommitReport:
        assert not any(report.quarantined for report in self.measured(made, run_id))
        return commit(self.settings, plan=made.plan, run_id=run_id)

    def process(self, run_id: str = "test") -> dict[str, tuple[str, ...]]:
        """Take the drop to silver; by path the extractors that measured it."""
        made = self.planned(run_id)
        self.finished(made, run_id)
        lake = Lake.open(self.settings)
        chosen = Plan.load(lake, made.plan)
        return {item.path: item.extractors for shard in chosen.shards for item in load_shard(lake, chosen, shard)}

    def tracks(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of silver.face_tracks by path, in the order of their names."""
        lake = Lake.open(self.settings)
        paths = {row["file_id"]: row["path"] for row in lake.rows(EXTRACTIONS, DATASET, DROP).to_pylist()}
        found: dict[str, list[dict[str, Any]]] = {}
        for row in lake.rows(base.load("face_tracks").table, DATASET, DROP).to_pylist():
            found.setdefault(paths[row["file_id"]], []).append(row)
        return {path: sorted(rows, key=lambda row: row["track_id"]) for path, rows in found.items()}

    def lefts(self, path: str) -> list[float]:
        """The left edge of each track's first box."""
        return [round(row["x1"][0], 6) for row in self.tracks()[path]]

    def hashes(self) -> dict[str, str]:
        rows = Lake.open(self.settings).rows(EXTRACTIONS, DATASET, DROP).to_pylist()
        return {row["path"]: row["params_hash"] for row in rows if row["extractor"] == "face_tracks"}

    def notes(self) -> list[Path]:
        return sorted((self.root / "lake/_work" / DATASET / DROP / "annotations").glob("*"))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Settings(models=MODELS)) as box:
        yield box


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Path:
    """A drop of two films, and a lake that has measured it."""
    made = World(tmp_path_factory.mktemp("films"), sandbox)
    deliver(made.landing, ANN, BEN)
    assert made.process() == {ANN_MP4: BOTH, BEN_MP4: BOTH}
    return made.root


@pytest.fixture
def world(original: Path, tmp_path: Path, sandbox: Sandbox) -> World:
    """A copy of it that a test may change."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return World(tmp_path, sandbox)


@pytest.fixture
def empty(tmp_path: Path, sandbox: Sandbox) -> World:
    return World(tmp_path, sandbox)


def moved(*films: Film) -> list[str]:
    """Rows of films whose left faces are annotated a little further to the right."""
    return [row.replace("0.06,", "0.07,") for film in films for row in film.rows()]


def test_faces_are_where_the_annotation_says(world: World) -> None:
    for film in (ANN, BEN):
        found = world.tracks()[f"videos/{film.video_id}.mp4"]
        assert [row["track_id"] for row in found] == [film.track(0), film.track(1)]
        for face, row in enumerate(found):
            assert row["frame_timestamp"] == pytest.approx(film.times_s) and not any(row["problem"])
            assert set(row["label"]) == {SPOKEN if face == film.heard else MOUTHED} and row["source"] == "annotation"


def test_nothing_changed_is_nothing_to_do(world: World) -> None:
    shutil.rmtree(world.root / "lake/_work")
    made = world.planned()
    assert (made.to_measure, made.unchanged, made.said) == (0, 2, "annotations: 60 boxes of 2 videos")
    assert not world.finished(made).changed
    assert world.notes() == []  # of what is not measured none is kept
    assert list_source(world.settings, get_pipeline(PIPELINE), str(world.landing)).to_do == []


@pytest.mark.parametrize(
    ("was", "now"),
    [("0.06,0.1", "0.07,0.1"), (MOUTHED, "NOT_SPEAKING"), (BEN.track(0), "somebody")],
    ids=["box", "label", "name"],
)
def test_other_boxes_measure_their_video_again_and_no_other(world: World, was: str, now: str) -> None:
    before, hashes = world.tracks(), world.hashes()
    world.annotate(*ANN.rows(), *(row.replace(was, now) for row in BEN.rows()))
    assert world.process("changed") == {BEN_MP4: TRACKS}
    after = world.tracks()
    assert after[ANN_MP4] == before[ANN_MP4] and after[BEN_MP4] != before[BEN_MP4]
    assert {path for path, found in world.hashes().items() if found != hashes[path]} == {BEN_MP4}
    assert world.process("again") == {}


def test_the_same_boxes_written_otherwise_measure_nothing(world: World) -> None:
    (world.drop / CSV).write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*BEN.rows(), *reversed(ANN.rows())]).encode())
    assert world.planned().to_measure == 0
    (world.drop / CSV).unlink()
    with tarfile.open(world.drop / "ava_activespeaker_train_v1.0.tar.bz2", "w:bz2") as archive:
        for film in (ANN, BEN):
            text = "".join(f"{row}\n" for row in film.rows()).encode()
            member = tarfile.TarInfo(f"ava_activespeaker_train_v1.0/{film.video_id}-activespeaker.csv")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    made = world.planned("archive")
    assert (made.to_measure, made.said) == (0, "annotations: 60 boxes of 2 videos")


def test_a_large_csv_is_an_object_and_read_from_there(world: World) -> None:
    """Another lake, in which nothing is measured, to which all files are large."""
    place = world.settings.model_copy(update={"uri": str(world.root / "other"), "inline_max_bytes": 100})
    made = world.planned(settings=place)
    assert (made.to_measure, made.said) == (2, "annotations: 60 boxes of 2 videos")
    written = (world.root / "other/_work" / DATASET / DROP / "annotations").glob("*")
    assert sorted(file.name for file in written) == [file.name for file in world.notes()]


def test_identical_films_with_other_boxes_are_measured_apart_and_with_the_same_once(empty: World) -> None:
    folder = deliver(empty.landing, ANN)
    shutil.copy(folder / ANN_MP4, folder / "videos/other.mp4")
    other = [row.replace("ann,", "other,", 1) for row in moved(ANN)]
    annotate(folder / "more.csv", other)
    assert empty.process("first") == {ANN_MP4: BOTH, "videos/other.mp4": BOTH}
    shutil.copy(folder / ANN_MP4, folder / "videos/same.mp4")
    annotate(folder / "more.csv", [*other, *(row.replace("ann,", "same,", 1) for row in ANN.rows())])
    made = empty.planned("later")
    assert (made.to_measure, made.reused) == (0, 1)
    empty.finished(made, "later")
    assert empty.lefts(ANN_MP4) == empty.lefts("videos/same.mp4") == [0.06, 0.56]
    assert empty.lefts("videos/other.mp4") == [0.07, 0.56]


@pytest.mark.skipif(not (MODELS / "blaze_face_short_range.tflite").is_file(), reason="no face detector's model")
def test_a_csv_that_comes_later_measures_its_video_again(empty: World) -> None:
    folder = deliver(empty.landing, ANN, BEN)
    empty.annotate(*ANN.rows())
    made = empty.planned("first")
    assert made.said == "annotations: 30 boxes of 1 video; 1 video without annotations"
    empty.finished(made, "first")
    assert {row["source"] for row in empty.tracks().get(BEN_MP4, [])} <= {"detector"}
    annotate(folder / "ben-activespeaker.csv", BEN.rows())
    assert empty.process("later") == {BEN_MP4: TRACKS}
    assert [row["source"] for row in empty.tracks()[BEN_MP4]] == ["annotation"] * 2
    (folder / "ben-activespeaker.csv").unlink()
    assert empty.process("gone") == {BEN_MP4: TRACKS}


def test_without_a_face_detector_only_what_is_not_annotated_waits_for_one(empty: World) -> None:
    deliver(empty.landing, ANN, BEN)
    empty.annotate(*ANN.rows())
    lacking = empty.settings.model_copy(update={"models": empty.root / "none"})
    made = empty.planned(settings=lacking)
    assert made.said == (
        "annotations: 30 boxes of 1 video; 1 video without annotations; "
        "no blaze_face_short_range.tflite for what is not annotated: run `avlake models pull`"
    )
    with Sandbox(lacking) as box:
        measure_shard(lacking, plan=made.plan, shard=0, run_id="test", sandbox=box)
    assert commit(lacking, plan=made.plan, run_id="test").quarantined == 1
    assert list(empty.tracks()) == [ANN_MP4]
    ((path, stage, error_class, error, *_),) = quarantine.listed(Lake.open(lacking))
    assert (path, stage, error_class) == (BEN_MP4, "face_tracks", "no_face_detector")
    assert "avlake models pull" in error and "avlake quarantine --requeue" in error
    assert empty.planned("later").to_measure == 0
    assert quarantine.requeue(Lake.open(lacking)) == empty.planned("requeued").to_measure == 1


def test_a_pilot_measures_its_films_with_what_is_told_of_them(empty: World) -> None:
    """Without it the faces would be searched for, here without a detector."""
    deliver(empty.landing, ANN)
    deliver(empty.landing, BEN, drop="2026-09-02")
    settings = empty.settings.model_copy(update={"models": empty.root / "none"})
    pipeline, source = get_pipeline(PIPELINE), str(empty.landing)
    films = [unit for unit in list_source(settings, pipeline, source).to_do if unit.entry.path != CSV]
    pilot = run_pilot(settings, pipeline, pipeline.dataset.open_source(source, settings), films)
    assert sorted((u.drop, u.path, u.files, u.failed) for u in pilot.units) == [
        (DROP, ANN_MP4, 1, 0),
        ("2026-09-02", BEN_MP4, 1, 0),
    ]
    assert pilot.failures == []


def test_a_killed_run_goes_on_unless_boxes_have_changed(world: World) -> None:
    world.annotate(*moved(ANN, BEN))
    killed = world.planned("killed")
    assert [report.files for report in world.measured(killed, "killed")] == [2]
    (again,) = world.measured(world.planned("again"), "again")
    assert again == world.measured(killed, "killed")[0]  # its seconds, too: it was not measured again
    stale = world.planned("stale")
    world.annotate(*ANN.rows(), *moved(BEN))
    assert world.process("changed") == {BEN_MP4: TRACKS}
    assert (world.lefts(ANN_MP4), world.lefts(BEN_MP4)) == ([0.06, 0.56], [0.07, 0.56])
    with pytest.raises(StaleRun):
        commit(world.settings, plan=stale.plan, run_id="stale")


def test_a_note_that_is_gone_ends_its_run_and_the_next_writes_it_again(world: World) -> None:
    for file in world.notes():
        file.unlink()
    world.annotate(*moved(ANN, BEN))
    made = world.planned()
    gone, old = world.notes()
    gone.unlink()
    with pytest.raises(StaleRun, match=r"annotations/[0-9a-f]{64}\.txt is gone.*start a new one"):
        world.measured(made)
    before = time.time() - RETENTION_H * 3600 * 0.75
    os.utime(old, (before, before))  # maintenance would remove it before long
    made = world.planned("next")
    assert gone.exists() and old.stat().st_mtime > before + 3600
    assert world.finished(made, "next").changed


def test_what_does_not_fit_is_said_and_what_fits_is_learned_from_together(world: World) -> None:
    strange = ["ann,0.00,0.1,0.1,0.2,0.2,SINGING,x", "ann,soon,0.1,0.1,0.2,0.2,SINGING,x", "?"]
    world.annotate(*ANN.rows(), *BEN.rows(), *Film("lost").rows(), *strange)
    said: list[str] = []
    run(world.settings, pipeline=PIPELINE, source=str(world.landing), train=False, say=said.append)
    assert (
        f"{DROP}  annotations: 61 boxes of 2 videos; 30 boxes of 1 video that is not there; 1 unknown label; "
        "2 malformed rows"
    ) in said
    assert len(set(world.hashes().values())) == 2
    with warehouse.connect(world.settings) as con:
        learner = learner_of(get_pipeline(PIPELINE).learner)
        measured = measured_by(con, Lake.open(world.settings).store, learner)
    assert measured["face_tracks"].params_hash == base.load("face_tracks")().params_hash
