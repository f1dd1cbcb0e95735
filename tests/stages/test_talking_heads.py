"""Gold of talking heads: every clip that opened has a row that says whether it is kept and each reason why not."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import Head, shelve

from avlake.errors import RequestError
from avlake.extractors import base
from avlake.lake import Lake
from avlake.pipelines import get_pipeline
from avlake.runner import new_run_id, run
from avlake.settings import Settings
from avlake.stages.curate import CurateReport, curate
from avlake.stages.export import export
from avlake.stages.publish import publish

PIPELINE = "talking_heads"
SHARED = Path(__file__).parents[2].parent / "shared"
NEXT_FLOAT32_BELOW_09 = float(np.nextafter(np.float32(0.9), np.float32(0)))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=2)


def gold(settings: Settings, table: str = "talking_heads") -> dict[str, dict[str, Any]]:
    """Rows by path."""
    data = Lake.open(settings).scan(f"gold.{table}")
    assert data is not None
    return {row["path"]: row for row in data.to_table().to_pylist()}


def decide(settings: Settings, **thresholds: Any) -> CurateReport:
    return curate(settings, pipeline=PIPELINE, run_id=new_run_id("test"), thresholds=thresholds or None)


@pytest.mark.parametrize(
    ("head", "reasons"),
    [
        (Head(), None),
        (Head(metrics={"face_presence_ratio": 0.99, "avg_blur_score": 50.0, "speech_ratio": 0.9}), None),
        (Head(metrics={"speech_ratio": NEXT_FLOAT32_BELOW_09}), "low_speech"),
        (Head(metrics={"face_presence_ratio": 0.5}), "low_face_presence"),
        (Head(metrics={"face_presence_ratio": 0.0, "avg_blur_score": None}), "no_face"),
        (Head(metrics={"face_presence_ratio": 0.02, "avg_blur_score": 20.0}), "no_face,blurry"),
        (Head(metrics={"face_presence_ratio": None}), "face_not_measured,blur_not_measured"),
        (Head(metrics={"avg_blur_score": None}), "blur_not_measured"),
        (Head(metrics={"avg_blur_score": 49.99}), "blurry"),
        (Head(metrics={"speech_ratio": 0.0}), "no_speech"),
        (Head(metrics={"speech_ratio": None}), "speech_not_measured"),
        (Head(streams=("video",)), "no_audio"),
        (Head(streams=("audio",)), "no_video"),
        (Head(streams=("video",), metrics={"face_presence_ratio": 0.5, "avg_blur_score": 1.0}),
         "low_face_presence,blurry,no_audio"),
    ],
)  # fmt: skip
def test_every_reason_is_given_and_only_those(settings: Settings, head: Head, reasons: str | None) -> None:
    shelve(settings, [head])
    decide(settings)
    row = gold(settings)[head.path]
    assert (row["reject_reason"], row["kept"]) == (reasons, reasons is None)


def test_a_threshold_of_zero_asks_for_nothing(settings: Settings) -> None:
    bad = {"face_presence_ratio": 0.0, "avg_blur_score": None, "speech_ratio": 0.0}
    shelve(settings, [Head(metrics=bad), Head("mp4/bob/v/1.mp4", streams=("audio",))])
    decide(settings, min_face_presence_ratio=0, min_blur_score=0, min_speech_ratio=0)
    assert all(row["kept"] for row in gold(settings).values())
    decide(settings, min_blur_score=50)
    assert {row["reject_reason"] for row in gold(settings).values()} == {"no_face", "no_video"}


def test_a_row_has_its_place_its_metrics_and_its_standard_form(settings: Settings) -> None:
    head = Head("dev/mp4/ann/v1/00001.mp4", metrics={"avg_blur_score": 61.5})
    shelve(settings, [head, Head("dev/mp4/ann/v1/torn.mp4", opens=False)])
    decide(settings)
    rows = gold(settings)
    assert rows.keys() == {head.path}  # one that did not open is in quarantine, and in the manifest
    row = rows[head.path]
    assert (row["subject_id"], row["video_id"], row["split_group"]) == ("ann", "v1", "ann/v1")
    assert row["avg_blur_score"] == 61.5 and row["duration_s"] == 3.0 and row["source"].endswith(head.path)
    assert row["standard_video"] == "v" * 64 and row["standard_audio"] == "a" * 64
    assert gold(settings, "talking_heads_manifest").keys() == {head.path, "dev/mp4/ann/v1/torn.mp4"}


@pytest.mark.parametrize(
    ("heads", "best"),
    [
        # of equals the earliest drop, then path
        ([Head("mp4/a/v/2.mp4", "2026-09-01"), Head("mp4/a/v/1.mp4", "2026-09-02")], 0),
        ([Head("mp4/a/v/2.mp4"), Head("mp4/a/v/1.mp4")], 1),
        ([Head("mp4/a/v/1.mp4"), Head("mp4/a/v/2.mp4", metrics={"avg_blur_score": 99.0})], 1),
        ([Head("mp4/a/v/1.mp4", metrics={"avg_blur_score": 99.0}), Head("mp4/a/v/2.mp4", size_px=(640, 480))], 1),
        ([Head("mp4/a/v/1.mp4", metrics={"speech_ratio": 0.1}, size_px=(640, 480)), Head("mp4/a/v/2.mp4")], 1),
        ([Head("mp4/a/v/1.mp4"), Head("mp4/b/w/2.mp4"), Head("mp4/c/x/3.mp4")], 0),
    ],
)
def test_of_duplicates_the_best_is_kept(settings: Settings, heads: list[Head], best: int) -> None:
    twins = [Head(**{**vars(head), "content": "same"}) for head in heads]
    shelve(settings, [*twins, Head("mp4/z/v/9.mp4")])
    decide(settings)
    rows = gold(settings)
    for number, twin in enumerate(twins):
        row = rows[twin.path]
        assert row["kept"] == (number == best)
        assert row["duplicate_of"] == (None if number == best else twins[best].file_id)
        assert ("duplicate" in (row["reject_reason"] or "").split(",")) == (number != best)
    assert len({rows[twin.path]["split"] for twin in twins}) == 1
    assert rows["mp4/z/v/9.mp4"]["kept"] and rows["mp4/z/v/9.mp4"]["duplicate_of"] is None


def test_a_source_video_and_a_cluster_are_each_in_one_split(settings: Settings) -> None:
    heads = [Head(f"mp4/s{i % 7}/v{i // 3}/{i}.mp4", content=f"c{i % 25}") for i in range(60)]
    shelve(settings, heads)
    decide(settings)
    for table, names in (("talking_heads", ("split_group", "cluster")), ("talking_heads_manifest", ("split_group",))):
        for name in names:
            splits: dict[str, set[str]] = {}
            for row in gold(settings, table).values():
                splits.setdefault(row[name], set()).add(row["split"])
            assert all(len(found) == 1 for found in splits.values()), name
    both = gold(settings), gold(settings, "talking_heads_manifest")
    assert {p: r["split"] for p, r in both[0].items()} == {p: r["split"] for p, r in both[1].items()}


def test_what_is_sampled_is_all_that_gold_decides_about(settings: Settings) -> None:
    shelve(settings, [Head(f"mp4/s{i}/v{j}/{j}.mp4") for i in range(4) for j in range(i + 1)])
    decide(settings, sampling="per_speaker", clips_per_speaker=2)
    manifest = gold(settings, "talking_heads_manifest")
    sampled = {path for path, row in manifest.items() if row["kept"]}
    assert len(manifest) == 10 and gold(settings).keys() == sampled
    assert {row["reject_reason"] for path, row in manifest.items() if path not in sampled} == {"not_sampled"}
    decide(settings, sampling="all")
    assert len(gold(settings)) == 10


def test_gold_is_equal_whoever_builds_it_and_whenever(settings: Settings) -> None:
    shelve(settings, [Head(f"mp4/s{i}/v/{i}.mp4", content=f"c{i // 2}") for i in range(8)])
    assert decide(settings).changed and not decide(settings).changed
    decide(settings, min_blur_score=90)
    assert decide(settings, min_blur_score=50).changed and not decide(settings).changed


@pytest.mark.parametrize("wrong", [{"sampling": "some"}, {"min_blur_score": -1}, {"min_speech": 0.5}])
def test_thresholds_that_cannot_be_are_refused(settings: Settings, wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong))):
        decide(settings, **wrong)


def test_the_manifest_exports_as_csv_and_as_lines_of_json(settings: Settings, tmp_path: Path) -> None:
    shelve(settings, [Head("mp4/ann/v/1.mp4"), Head("mp4/bob/v/1.mp4", streams=("video",))])
    decide(settings)
    publish(settings, run_id="test")
    for form in ("csv", "jsonl"):
        to = tmp_path / f"manifest.{form}"
        export(settings, table="gold.talking_heads", to=str(to), form=form)
        lines = to.read_text().splitlines()
        rows = list(csv.DictReader(lines)) if form == "csv" else [json.loads(line) for line in lines]
        assert {(row["path"], row["subject_id"], row["reject_reason"] or None) for row in rows} == {
            ("mp4/ann/v/1.mp4", "ann", None),
            ("mp4/bob/v/1.mp4", "bob", "no_audio"),
        }
        assert {float(row["face_presence_ratio"]) for row in rows} == {1.0}


# --- real clips, real models


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shared drops, measured and decided once, without a least sharpness."""
    models = Path(os.environ.get("AVLAKE_MODELS") or SHARED / "models")
    wanted = {file for name in get_pipeline(PIPELINE).extractors for file in base.load(name).models}
    if lacking := sorted(file for file in wanted if not (models / file).exists()):
        pytest.skip(f"needs {', '.join(lacking)}: `avlake models pull`")
    if not (SHARED / "data/landing/voxceleb").is_dir():
        pytest.skip("needs ../shared/data")
    folder = tmp_path_factory.mktemp("real")
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), models=models, jobs=2)
    source = str(SHARED / "data/landing")
    run(settings, pipeline=PIPELINE, source=source, train=False, thresholds={"min_blur_score": 0})
    return settings


def truth() -> dict[str, dict[str, str]]:
    """Rows of the truth by drop and path."""
    with (SHARED / "data/truth/voxceleb.csv").open() as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def decided(settings: Settings) -> dict[str, dict[str, Any]]:
    return {f"{row['drop_date']}/{row['path']}": row for row in gold(settings).values()}


def test_every_real_clip_is_decided_as_the_truth_says(real: Settings) -> None:
    rows, known = decided(real), truth()
    assert rows.keys() == known.keys()
    good = {p: float(t["face_ratio"]) >= 0.99 and float(t["speech_ratio"] or 0) >= 0.9 for p, t in known.items()}
    agreed = [p for p in rows if rows[p]["kept"] == good[p]]
    assert len(agreed) >= 0.95 * len(rows), {p: rows[p]["reject_reason"] for p in rows.keys() - set(agreed)}


def test_real_clips_lack_what_the_truth_says_they_lack(real: Settings) -> None:
    for path, row in decided(real).items():
        said, reasons = truth()[path], (row["reject_reason"] or "").split(",")
        assert ("no_audio" in reasons) == (said["speech_ratio"] == ""), path
        if said["speech_ratio"]:
            assert ("no_speech" in reasons) == (float(said["speech_ratio"]) == 0), path
        assert ("no_face" in reasons) == (float(said["face_ratio"]) < 0.05), path


def test_another_threshold_measures_nothing(real: Settings) -> None:
    said: list[str] = []
    source = str(SHARED / "data/landing")
    before = Lake.open(real).scan("ops.extractions").to_table()  # type: ignore[union-attr]
    again = run(
        real, pipeline=PIPELINE, source=source, train=False, thresholds={"min_speech_ratio": 0.5}, say=said.append
    )
    assert sum("nothing to do" in line for line in said) == len(again.drops) == 2
    after = Lake.open(real).scan("ops.extractions").to_table()  # type: ignore[union-attr]
    assert after.equals(before)
    assert again.gold.changed
