"""The proof is a training like any other: once for the same tables, its rows in gold.curation_impact, no failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from avlake.delivery import WHOLE, Delivery, Incoming
from avlake.errors import RequestError
from avlake.extractors.speaker_features import SpeakerFeatures
from avlake.lake import Lake
from avlake.learn import artifacts, curation
from avlake.learn.impact import Clips, Design
from avlake.settings import Settings
from avlake.stages.train import load_model, train
from avlake.tables import EXTRACTIONS
from avlake.warehouse import publish
from worlds import World, noise, tables

PIPELINE = "talking_heads"
GAIN = World(videos=12).draw(0, noise)
Edit = Callable[..., None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = replace(curation.LEARNER, design=Design(seeds=4, draws=5, replicates=200))
    monkeypatch.setattr(curation, "LEARNER", learner)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lake without drops, whose warehouse knows of clips all the same."""
    return published(tmp_path, GAIN)


def published(folder: Path, clips: Clips, *, without: tuple[str, ...] = ()) -> Settings:
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))
    made = tables(clips)
    ids = made["gold.talking_heads"]["file_id"].to_pylist()
    ops = [
        {"file_id": i, "extractor": "speaker_features", "status": "ok", "params_hash": SpeakerFeatures().params_hash}
        for i in ids
    ]
    made["ops.extractions"] = pa.Table.from_pylist(ops, schema=EXTRACTIONS.schema)
    shown = {name: whole(table) for name, table in made.items() if name not in without}
    publish(settings, lambda: Delivery(shown))
    return settings


def whole(table: pa.Table) -> Incoming:
    return Incoming({WHOLE: "1"}, lambda slices: ds.dataset(table if slices else table.slice(0, 0)))


def impact(settings: Settings) -> list[dict[str, Any]]:
    data = Lake.open(settings).scan("gold.curation_impact")
    return data.to_table().to_pylist() if data is not None else []


def verdict(settings: Settings, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Lake.open(settings).store.read(f"models/{PIPELINE}/{run_id}/verdict.json"))
    return found


def test_a_proof_leaves_its_rows_its_verdict_and_its_cards(settings: Settings) -> None:
    report = train(settings, pipeline=PIPELINE, run_id="first")
    assert (report.changed, report.model) == (True, "mfcc_svc")
    assert report.metrics.keys() == {
        f"accuracy_{arm}" for arm in ("all", "kept", "random", "kept_minus_all", "kept_minus_random")
    }
    assert report.metrics["accuracy_kept_minus_all"] > 0.1
    rows = impact(settings)
    keys = [(r["model"], r["split"], r["metric"]) for r in rows]
    assert len(keys) == len(set(keys)) > 40
    assert {r["run_id"] for r in rows} == {"first"}
    assert Lake.open(settings).scan("gold.model_runs") is None
    files = artifacts.read_files(Lake.open(settings).store, f"models/{PIPELINE}/first")
    assert files.keys() == {"verdict.json", "metrics.json", "card.md", "data_card.md", "drift.json"}
    assert f"{len(GAIN.y)} rows, {GAIN.kept.sum()} of them kept" in files["data_card.md"].decode()


def test_unchanged_tables_prove_nothing_again_and_repeating_gives_the_same(settings: Settings) -> None:
    first = train(settings, pipeline=PIPELINE, run_id="first")
    assert train(settings, pipeline=PIPELINE, run_id="second") == replace(first, changed=False)
    store = Lake.open(settings).store
    before, rows = store.read(f"models/{PIPELINE}/first/verdict.json"), impact(settings)
    store.delete(f"models/{PIPELINE}/chosen.json")
    assert train(settings, pipeline=PIPELINE, run_id="first").changed
    assert store.read(f"models/{PIPELINE}/first/verdict.json") == before
    assert impact(settings) == rows


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE gold.talking_heads SET kept = NOT kept, reject_reason = CASE WHEN kept THEN 'blurry' END",
        "UPDATE silver.speaker_features SET mfcc_2_mean = -mfcc_2_mean",
    ],
)
def test_another_choice_or_other_measurements_are_compared_anew(
    settings: Settings, edit_warehouse: Edit, statement: str
) -> None:
    train(settings, pipeline=PIPELINE, run_id="first")
    edit_warehouse(settings, statement)
    assert train(settings, pipeline=PIPELINE, run_id="second").changed
    assert {r["run_id"] for r in impact(settings)} == {"first", "second"}


def test_where_nothing_can_be_learned_the_run_says_so(settings: Settings, edit_warehouse: Edit) -> None:
    edit_warehouse(settings, "UPDATE gold.talking_heads SET kept = video_id = 'v0'")
    report = train(settings, pipeline=PIPELINE, run_id="first")
    assert (report.model, report.metrics) == ("none", {})
    assert [(r["metric"], r["value"], r["n"]) for r in impact(settings)] == [("trainable", 0.0, 4)]
    said = verdict(settings, "first")["words"][0]
    assert "4 are kept, and speaker identification cannot be trained on what was kept: 1 speaker in 4 clips" in said


@pytest.mark.parametrize("without", [("silver.speaker_features",), ("silver.speaker_features", "ops.extractions")])
def test_clips_that_were_all_measured_elsewhere_leave_nothing_to_learn_from(
    tmp_path: Path, without: tuple[str, ...]
) -> None:
    settings = published(tmp_path, GAIN, without=without)
    assert train(settings, pipeline=PIPELINE, run_id="first").model == "none"
    assert "0 speakers in 0 clips" in verdict(settings, "first")["reason"]
    assert not train(settings, pipeline=PIPELINE, run_id="second").changed


def test_no_file_is_predicted_from_a_proof(settings: Settings) -> None:
    train(settings, pipeline=PIPELINE, run_id="first")
    with pytest.raises(RequestError, match=r"its decisions are in gold\.talking_heads"):
        load_model(Lake.open(settings).store, PIPELINE)
