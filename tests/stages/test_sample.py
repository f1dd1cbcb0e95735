"""Which clips are sampled: known before anything is measured, the same on every machine, and all that is measured."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import Head, shelve

from avlake import warehouse
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.learn.diagnosis import MIN_CLIPS, diagnose
from avlake.pipelines import PIPELINES, get_pipeline
from avlake.runner import RunReport, run
from avlake.settings import Settings
from avlake.stages import sample, takedowns
from avlake.stages.curate import curate
from avlake.stages.ingest import ingest
from avlake.thresholds import Sampling, TalkingHeadsThresholds
from clips import make_clip

DROP, LATER = "2026-09-01", "2026-09-02"
PIPELINE = "talking_heads"
# Speaker s0 has one clip, s1 two, and so on; every two of them are of one video.
HEADS = [Head(f"mp4/s{i}/v{j // 2}/{j}.mp4", DROP if j % 2 else LATER) for i in range(6) for j in range(i + 1)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=2)


def sampled(settings: Settings, **thresholds: Any) -> list[Head]:
    """The clips that the manifest keeps."""
    curate(settings, pipeline=PIPELINE, run_id=str(thresholds), thresholds={"sampling": "all", **thresholds})
    data = Lake.open(settings).scan("gold.talking_heads_manifest")
    assert data is not None
    rows = data.to_table().to_pylist()
    assert {row["path"] for row in rows} == {head.path for head in HEADS}
    kept = {row["path"] for row in rows if row["kept"]}
    return [head for head in HEADS if head.path in kept]


def drawn(head: Head, seed: int = 0) -> str:
    return hashlib.sha256(f"{seed}/{head.file_id}".encode()).hexdigest()


def test_all_are_sampled_unless_somebody_says_otherwise(settings: Settings) -> None:
    shelve(settings, HEADS)
    assert sampled(settings) == HEADS


def test_random_clips_are_the_first_of_the_draw(settings: Settings) -> None:
    shelve(settings, HEADS)
    found = sampled(settings, sampling="random", sample_clips=5)
    assert sorted(map(drawn, found)) == sorted(map(drawn, HEADS))[:5]
    other = sampled(settings, sampling="random", sample_clips=5, sample_seed=1)
    assert sorted(drawn(head, 1) for head in other) == sorted(drawn(head, 1) for head in HEADS)[:5]
    assert other != found
    assert sampled(settings, sampling="random", sample_clips=1000, sample_seed=0) == HEADS


def test_top_speakers_are_those_with_most_clips(settings: Settings) -> None:
    shelve(settings, HEADS)
    found = sampled(settings, sampling="top_speakers", top_speakers=2)
    assert Counter(head.path.split("/")[1] for head in found) == {"s5": 6, "s4": 5}


def test_at_most_so_many_clips_of_each_speaker(settings: Settings) -> None:
    shelve(settings, HEADS)
    found = sampled(settings, sampling="per_speaker", clips_per_speaker=3)
    assert Counter(head.path.split("/")[1] for head in found) == {f"s{i}": min(i + 1, 3) for i in range(6)}


def test_a_later_drop_pushes_out_and_reorders_nobody(settings: Settings, tmp_path: Path) -> None:
    thresholds = TalkingHeadsThresholds(sampling="random", sample_clips=5)
    early = Settings(uri=str(tmp_path / "early"))
    shelve(early, [head for head in HEADS if head.drop == DROP])
    shelve(settings, HEADS)

    def paths(where: Settings) -> set[str]:
        from avlake.stages import bounded

        with bounded.connect() as con:
            assert sample.restrict(con, Lake.open(where), get_pipeline(PIPELINE), thresholds)
            return {path for (path,) in con.execute("SELECT path FROM clips WHERE sampled").fetchall()}

    of_first_drop = {head.path for head in HEADS if head.drop == DROP}
    assert len(paths(early)) == len(paths(settings)) == 5
    assert paths(settings) & of_first_drop <= paths(early)  # so all of them are measured already


# --- what is measured


@pytest.fixture
def modelless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline without what needs model files."""
    whole = PIPELINES[PIPELINE]
    less = replace(whole, extractors=("media", "fingerprints"), gold=("talking_heads_manifest",))
    monkeypatch.setitem(PIPELINES, PIPELINE, less)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three speakers with 1, 2 and 3 clips in each of two drops; sound alone."""
    folder = tmp_path_factory.mktemp("landing")
    rng = np.random.default_rng(0)
    for drop in (DROP, LATER):
        for speaker in range(3):
            for clip in range(speaker + 1):
                path = folder / "voxceleb" / drop / "mp4" / f"s{speaker}" / f"v{drop}" / f"{clip}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(make_clip(None, 0.1 * rng.standard_normal(8000)))
    return folder


def work(settings: Settings, landing: Path, said: list[str] | None = None, **thresholds: Any) -> RunReport:
    say = (said if said is not None else []).append
    return run(settings, pipeline=PIPELINE, source=str(landing), train=False, thresholds=thresholds or None, say=say)


def measured(settings: Settings) -> dict[str, str]:
    """By path the run that measured it."""
    data = Lake.open(settings).scan("ops.extractions")
    rows = data.to_table().to_pylist() if data else []
    return {row["path"]: row["run_id"] for row in rows if row["extractor"] == "media" and row["status"] == "ok"}


@pytest.mark.usefixtures("modelless")
def test_only_what_is_sampled_is_measured_and_what_was_measured_stays(settings: Settings, landing: Path) -> None:
    said: list[str] = []
    first = work(settings, landing, said, sampling="per_speaker", clips_per_speaker=1)
    assert len(measured(settings)) == 3
    assert not any(drop.partial for drop in first.drops.values())
    assert sum(drop.measured for drop in first.drops.values()) == 3
    assert first.gold.kept["gold.talking_heads_manifest"] == 3
    assert any(line.startswith("sample  at most 1 clip per speaker: 3 of 12 clips") for line in said)
    before = measured(settings)
    more = work(settings, landing, sampling="top_speakers", top_speakers=1)
    assert before.items() <= measured(settings).items() and len(measured(settings)) == 8
    assert more.gold.kept["gold.talking_heads_manifest"] == 6
    held = measured(settings)
    work(settings, landing, sampling="random", sample_clips=1)
    assert held.items() <= measured(settings).items() and len(measured(settings)) <= 9


@pytest.mark.usefixtures("modelless")
def test_another_threshold_measures_nothing(settings: Settings, landing: Path) -> None:
    work(settings, landing)
    before, said = measured(settings), []
    again = work(settings, landing, said, min_blur_score=0, min_speech_ratio=0.5)
    assert len(before) == 12 and measured(settings) == before
    assert sum("nothing to do" in line for line in said) == 2
    assert not any(drop.changed for drop in again.drops.values())


@pytest.mark.usefixtures("modelless")
def test_the_recorded_sample_is_the_default(settings: Settings, landing: Path) -> None:
    work(settings, landing, sampling="per_speaker", clips_per_speaker=1)
    work(settings, landing)
    assert len(measured(settings)) == 3


@pytest.mark.usefixtures("modelless")
def test_a_hopeless_task_stops_before_anything_is_measured_and_says_why(settings: Settings, landing: Path) -> None:
    said: list[str] = []
    with pytest.raises(RequestError, match="none has 2 source videos and 3 clips"):
        work(settings, landing, said, require_trainable=True, sampling="per_speaker", clips_per_speaker=1)
    assert measured(settings) == {}
    assert any(line.startswith("clips  12 clips of 3 speakers and 6 source videos in 2 drops") for line in said)
    assert any(line.startswith("task  hopeless: 3 speakers in 3 clips") for line in said)
    manifest = Lake.open(settings).scan("gold.talking_heads_manifest")
    assert manifest is not None and manifest.count_rows() == 12
    shown = warehouse.select(settings, "SELECT count(*) FROM gold.talking_heads_manifest WHERE kept")[1]
    assert shown == [(3,)]
    work(settings, landing)  # what was refused does not hold from now on; s1 and s2 have two videos and enough clips
    assert len(measured(settings)) == 12


def test_the_lines_of_an_analysis(settings: Settings) -> None:
    shelve(settings, HEADS)
    found = sample.analyse(Lake.open(settings), get_pipeline(PIPELINE), Sampling(sampling="random", sample_clips=4))
    assert (found.drops, found.clips, found.speakers, found.sampled) == (2, 21, 6, 4)
    assert (found.fewest, found.median, found.most) == (1, 3.5, 6)
    assert found.videos == sum(-(-(i + 1) // 2) for i in range(6))


def test_who_was_taken_down_takes_no_place_though_a_drop_has_no_labels_yet(settings: Settings, tmp_path: Path) -> None:
    shelve(settings, [Head("mp4/ann/v1/1.mp4"), Head("mp4/bob/v1/1.mp4")])
    takedowns.add(settings, subjects=["voxceleb/ann"], reason="asked", who="ada")
    landing = tmp_path / "landing" / "voxceleb" / LATER
    for person in ("ann", "bob"):
        (landing / "mp4" / person / "v2").mkdir(parents=True)
        (landing / "mp4" / person / "v2" / "1.mts").write_bytes(person.encode())
    ingest(settings, dataset="voxceleb", source=str(tmp_path / "landing"), drop=LATER, run_id="test")
    found = sample.analyse(Lake.open(settings), get_pipeline(PIPELINE), Sampling())
    assert (found.clips, found.speakers, found.sampled) == (2, 1, 2)


def test_video_outside_the_layout_is_named(settings: Settings, tmp_path: Path) -> None:
    landing = tmp_path / "landing" / "voxceleb" / DROP
    for path in (
        "mp4/ann/v1/1.mp4",
        "mp4/ann/v1/._2.mp4",
        "talks/b.rmvb",
        "talks/a.mp4",
        "a.txt",
    ):
        (landing / path).parent.mkdir(parents=True, exist_ok=True)
        (landing / path).write_text(path)
    ingest(settings, dataset="voxceleb", source=str(tmp_path / "landing"), drop=DROP, run_id="test")
    found = sample.analyse(Lake.open(settings), get_pipeline(PIPELINE), Sampling())
    assert (found.clips, found.outside) == (1, 2)
    assert "outside  2 video files not in the layout, e.g. talks/a.mp4: left out" in found.lines()


# --- the diagnosis itself


def clips(*per_speaker: tuple[int, int]) -> tuple[list[str], list[str]]:
    """Subjects and videos of speakers with (clips, videos) each."""
    pairs = [(f"s{i}", f"v{j % n}") for i, (m, n) in enumerate(per_speaker) for j in range(m)]
    return [subject for subject, _ in pairs], [video for _, video in pairs]


@pytest.mark.parametrize(
    ("per_speaker", "trainable"),
    [
        ([], False),
        ([(50, 10)], False),
        ([(5, 1), (5, 1), (5, 1)], False),
        ([(5, 2), (5, 1), (5, 1)], False),
        ([(5, 2), (5, 2)], True),
        ([(MIN_CLIPS - 1, 2)] * 10, False),
        ([(MIN_CLIPS, 2)] * 10, True),
        ([(1, 1)] * 89 + [(11, 11)], False),
        ([(1, 1)] * 80 + [(2, 2)] * 10, False),
        ([(1, 1)] * 85 + [(3, 3)] * 5, False),
        ([(1, 1)] * 1000 + [(5, 5)] * 10, True),  # a small share, and enough all the same
    ],
)
def test_what_can_be_trained(per_speaker: list[tuple[int, int]], trainable: bool) -> None:
    found = diagnose(*clips(*per_speaker))
    assert found.trainable == trainable
    assert found.speakers == len(per_speaker) and found.clips == sum(n for n, _ in per_speaker)
    assert found.reason.startswith(f"{found.speakers} speaker")


def test_videos_of_one_name_are_of_their_speakers() -> None:
    found = diagnose(["ann", "bob"], ["v", "v"])
    assert found.videos == 2 and found.usable_speakers == 0
