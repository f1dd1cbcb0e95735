"""Podcast outros from landing to prediction, on a few real episodes; and what a takedown does to what was found."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import episodes
import pyarrow as pa
import pytest

from avlake import warehouse
from avlake.lake import Lake
from avlake.learn import outros
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages import labelling, takedowns
from avlake.stages.curate import curate
from avlake.stages.evaluate import drift, evaluate
from avlake.stages.predict import predict
from avlake.stages.publish import publish
from avlake.stages.train import TrainReport, train
from avlake.tables import PODCAST_OUTROS

PIPELINE = "podcast_outros"
SHARED = Path(__file__).parents[2].parent / "shared"
REAL = SHARED / "data/landing/podcasts/2026-09-01"
# Three with an outro, one of them under speech at first, and two without.
NAMES = tuple(f"episode_dev_{n:03}.mp3" for n in (1, 2, 11, 14, 17))
needs_real = pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not there: real episodes")


@pytest.fixture(scope="module")
def truth() -> dict[str, float | None]:
    with (SHARED / "data/truth/podcasts.csv").open() as file:
        return {r["file"]: float(r["outro_start_s"]) if r["outro_start_s"] else None for r in csv.DictReader(file)}


@pytest.fixture(scope="module")
def heard(
    tmp_path_factory: pytest.TempPathFactory, truth: dict[str, float | None]
) -> Iterator[tuple[Settings, TrainReport, TrainReport]]:
    """Five real episodes in a lake; trained before, and after people said where the outros start."""
    folder = tmp_path_factory.mktemp("podcasts")
    drop = folder / "landing/podcasts/2026-09-01"
    drop.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(REAL / name, drop / name)
    (drop / "empty.mp3").touch()
    labels = folder / "labels.csv"
    labels.write_text(
        "item,name,value\n" + "".join(f"{name},outro_start_s,{truth[name] or 'none'}\n" for name in NAMES)
    )
    settings = Settings(
        uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), models=str(SHARED / "models"), jobs=1
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVLAKE_MODELS", str(SHARED / "models"))
        patch.setattr(outros, "LEARNER", replace(outros.LEARNER, candidates=1))
        run(settings, pipeline=PIPELINE, source=str(folder / "landing"), train=False)
        before = train(settings, pipeline=PIPELINE, run_id="before")
        labelling.import_file(settings, file=str(labels), who="a test", pipeline=PIPELINE)
        curate(settings, pipeline=PIPELINE, run_id="labelled")
        publish(settings, run_id="labelled")
        after = train(settings, pipeline=PIPELINE, run_id="after")
        publish(settings, run_id="after")
        yield settings, before, after


def found(settings: Settings) -> dict[str, dict[str, Any]]:
    con = warehouse.connect(settings)
    try:
        rows = con.execute("FROM gold.podcast_outros ORDER BY path").to_arrow_table().to_pylist()
    finally:
        con.close()
    return {row["path"]: row for row in rows}


@needs_real
def test_outros_are_found_and_none_is_invented(
    heard: tuple[Settings, TrainReport, TrainReport], truth: dict[str, float | None]
) -> None:
    settings, before, after = heard
    rows = found(settings)
    assert tuple(rows) == NAMES
    for name, row in rows.items():
        said, known = row["outro_start_s"], truth[name]
        assert (said is None) == (known is None)
        assert said is None or known is None or abs(said - known) <= 2
        assert row["label_outro_start_s"] == known and row["label_has_outro"] is (known is not None)
        assert row["run_id"] == "after" and 0 < row["confidence"] <= 1
    assert before.metrics == {} and before.words[0].startswith("unverified")
    assert after.metrics["outro_within_2_s"] == 1 and after.metrics["outro_invented"] == 0
    assert "segment_macro_f1" in after.metrics  # of three episodes with music: whatever it is, it is said
    assert train(settings, pipeline=PIPELINE, run_id="again").changed is False


@needs_real
def test_a_second_run_measures_and_trains_nothing(heard: tuple[Settings, TrainReport, TrainReport]) -> None:
    settings, _, after = heard
    Lake.open(settings).store.write(f"reports/{PIPELINE}/index.html", b"a page is there")
    said: list[str] = []
    run(settings, pipeline=PIPELINE, source=str(Path(settings.uri).parent / "landing"), say=said.append)
    assert any("extract: nothing to do" in line for line in said)
    assert f"model  {after.model_uri}; gold is unchanged, nothing to train" in said


@needs_real
def test_files_outside_the_lake_are_judged_as_those_in_it(
    heard: tuple[Settings, TrainReport, TrainReport], tmp_path: Path
) -> None:
    settings, _, _ = heard
    row = found(settings)["episode_dev_014.mp3"]
    seconds = tmp_path / "two seconds.mp3"
    seconds.write_bytes((REAL / "episode_dev_000.mp3").read_bytes()[:24_000])
    files = [str(REAL / "episode_dev_014.mp3"), str(seconds), str(tmp_path / "nowhere.mp3")]
    in_lake, short, missing = predict(settings, pipeline=PIPELINE, files=files)
    assert in_lake.answer == {name: row[name] for name in ("outro_start_s", "intro_end_s", "confidence")}
    assert short.error is None and short.answer["outro_start_s"] is None
    assert missing.error is not None and set(missing.answer.values()) == {None}


@needs_real
def test_evaluate_and_drift_speak_of_episodes(heard: tuple[Settings, TrainReport, TrainReport]) -> None:
    settings, _, _ = heard
    scores = {s.metric: s for s in evaluate(settings, pipeline=PIPELINE)}
    assert scores["outro_within_2_s"].n == 3 and scores["outro_invented"].n == 2
    (one,) = drift(settings, pipeline=PIPELINE)
    assert one.groups == len(NAMES) and "episodes" in one.why


def test_what_was_taken_down_leaves_what_was_found(tmp_path: Path) -> None:
    settings = episodes.make_lake(tmp_path)
    rows = [{"file_id": episodes.file_id(path), "dataset": "podcasts", "path": path} for path in episodes.PATHS]
    episodes.put(settings, PODCAST_OUTROS, rows)
    gone, *left = episodes.PATHS
    assert takedowns.add(settings, files=[f"podcasts/{gone}"], reason="asked to", who="a test")[0].new
    report = curate(settings, pipeline=PIPELINE, run_id="after")
    assert report.changed
    data = Lake.open(settings).scan(PODCAST_OUTROS.name)
    assert data is not None and sorted(data.to_table().column("path").to_pylist()) == sorted(left)
    assert data.schema.equals(pa.schema(PODCAST_OUTROS.schema))
    version = Lake.open(settings).table_version(PODCAST_OUTROS)
    curate(settings, pipeline=PIPELINE, run_id="again")
    assert Lake.open(settings).table_version(PODCAST_OUTROS) == version
