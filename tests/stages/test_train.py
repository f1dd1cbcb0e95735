"""Training, once per (gold, code, parameters), whatever is repeated or killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avlake import warehouse
from avlake.datasets import synthetic
from avlake.errors import RequestError, WorkError
from avlake.extractors.voice_features import VoiceFeatures
from avlake.lake import Lake
from avlake.learn import artifacts, gender
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages.evaluate import drift, evaluate
from avlake.stages.train import TrainReport, load_model, train

PIPELINE = "voxforge_gender"
pytestmark = pytest.mark.usefixtures("fast")

MODEL_FILES = {"model.skops", "features.json", "metrics.json", "card.md", "drift.json"}


def model_runs(settings: Settings) -> list[dict[str, Any]]:
    data = Lake.open(settings).scan("gold.model_runs")
    return data.to_table().to_pylist() if data is not None else []


def test_training_leaves_a_model_its_scores_and_its_card(trained: tuple[Settings, TrainReport]) -> None:
    settings, report = trained
    assert report.changed
    assert report.metrics["speaker_balanced_accuracy"] > 0.8
    store = Lake.open(settings).store
    files = artifacts.read_files(store, f"models/{PIPELINE}/first")
    assert files.keys() >= MODEL_FILES
    description = json.loads(files["features.json"])
    assert description["measured"]["voice_features"]["params_hash"] == VoiceFeatures().params_hash
    assert description["groups"] == {
        "female": 5,
        "male": 5,
    }  # the unknown speaker and the truncated archive are neither
    assert len(description["features"]) == 60
    assert f"{report.metrics['file_balanced_accuracy']:.3f}" in files["card.md"].decode()


def test_every_score_is_a_row_of_model_runs(trained: tuple[Settings, TrainReport]) -> None:
    settings, report = trained
    rows = [r for r in model_runs(settings) if r["run_id"] == "first"]
    keys = [(r["model"], r["split"], r["metric"]) for r in rows]
    assert len(keys) == len(set(keys))
    assert {(r["model"], r["split"]) for r in rows} == {
        ("logistic_regression", "cv"),
        ("svm", "cv"),
        ("always_the_majority", "cv"),
        (report.model, "leaky_random"),
    }
    found = {r["metric"]: r for r in rows if (r["model"], r["split"]) == (report.model, "cv")}
    for metric, value in report.metrics.items():
        assert found[metric]["value"] == value
        assert found[metric]["ci_low"] <= value <= found[metric]["ci_high"]


def test_unchanged_gold_trains_nothing(trained: tuple[Settings, TrainReport]) -> None:
    settings, first = trained
    again = train(settings, pipeline=PIPELINE, run_id="second")
    assert again == replace(first, changed=False)
    assert not Lake.open(settings).store.list(f"models/{PIPELINE}/second")


def test_a_training_killed_before_the_choice_is_the_same_when_repeated(copy: Settings) -> None:
    store = Lake.open(copy).store
    before, scores = model_runs(copy), store.read(f"models/{PIPELINE}/first/metrics.json")
    store.delete(f"models/{PIPELINE}/chosen.json")
    again = train(copy, pipeline=PIPELINE, run_id="first")
    assert again.changed
    assert model_runs(copy) == before
    assert store.read(f"models/{PIPELINE}/first/metrics.json") == scores


def test_other_parameters_train_again(copy: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    selection = replace(gender.LEARNER.selection, n_features=10)
    monkeypatch.setattr(gender, "LEARNER", replace(gender.LEARNER, selection=selection))
    assert train(copy, pipeline=PIPELINE, run_id="second").changed
    chosen, model = load_model(Lake.open(copy).store, PIPELINE)
    assert chosen.run_id == "second"
    assert len(model.features) == 10


def test_a_new_drop_trains_again_and_is_judged_by_the_old_model_first(copy: Settings, tmp_path: Path) -> None:
    synthetic.write_drop(tmp_path / "landing", "2026-09-02", speakers=4, utterances=2, seed=9)
    run(copy, pipeline=PIPELINE, source=str(tmp_path / "landing"), drop="2026-09-02", train=False)
    assert train(copy, pipeline=PIPELINE, run_id="second").changed
    looked = json.loads(Lake.open(copy).store.read(f"models/{PIPELINE}/second/drift.json"))
    assert [d["drop"] for d in looked] == ["voxforge/2026-09-02"]
    assert [d.drop for d in drift(copy, pipeline=PIPELINE)] == ["voxforge/2026-09-01", "voxforge/2026-09-02"]


def test_a_model_of_another_version_of_the_extractor_is_refused(
    trained: tuple[Settings, TrainReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VoiceFeatures, "version", VoiceFeatures.version + 1)
    with pytest.raises(WorkError, match="learned from voice_features"):
        load_model(Lake.open(trained[0]).store, PIPELINE)
    with pytest.raises(WorkError, match="another version of voice_features"):
        train(trained[0], pipeline=PIPELINE, run_id="other")


def test_gold_measured_in_two_ways_is_refused(copy: Settings, edit_warehouse: Callable[..., None]) -> None:
    edit_warehouse(
        copy,
        """UPDATE ops.extractions SET params_hash = 'other' WHERE extractor = 'voice_features'
        AND file_id = (SELECT min(file_id) FROM gold.gender_windows)""",
    )
    with pytest.raises(WorkError, match="mixes 2 versions or parameters"):
        train(copy, pipeline=PIPELINE, run_id="mixed")


def test_a_damaged_model_is_refused(copy: Settings) -> None:
    store = Lake.open(copy).store
    store.write(f"models/{PIPELINE}/first/model.skops", b"damaged")
    with pytest.raises(WorkError, match=r"model\.skops cannot be read"):
        load_model(store, PIPELINE)
    store.delete(f"models/{PIPELINE}/first/model.skops")
    with pytest.raises(WorkError, match=r"lacks model\.skops"):
        load_model(store, PIPELINE)


def test_evaluation_tells_heard_speakers_from_unheard(copy: Settings, edit_warehouse: Callable[..., None]) -> None:
    heard = evaluate(copy, pipeline=PIPELINE, drop="2026-09-01")
    assert {s.split for s in heard} == {"voxforge/2026-09-01, seen groups"}
    accuracy = {s.metric: s.value for s in heard}
    assert accuracy["file_accuracy"] > 0.9
    edit_warehouse(
        copy, "UPDATE gold.gender_windows SET subject_id = 'new ' || subject_id WHERE subject_id < 'synthetic05'"
    )
    assert {s.split for s in evaluate(copy, pipeline=PIPELINE)} == {
        "voxforge/all drops, seen groups",
        "voxforge/all drops, unseen groups",
    }
    with pytest.raises(WorkError, match="no window"):
        evaluate(copy, pipeline=PIPELINE, drop="2026-10-01")


def test_nothing_published_and_nothing_trained_say_what_to_run(tmp_path: Path) -> None:
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))
    with pytest.raises(RequestError, match="no warehouse"):
        train(settings, pipeline=PIPELINE, run_id="x")
    with pytest.raises(RequestError, match=f"avlake train {PIPELINE}"):
        evaluate(settings, pipeline=PIPELINE)
    with pytest.raises(RequestError, match="no pipeline"):
        train(settings, pipeline="nonsense", run_id="x")


REAL = Path(__file__).parents[2].parent / "shared/data/landing"


@pytest.mark.train
@pytest.mark.skipif(not REAL.exists(), reason=f"no real recordings in {REAL}")
def test_real_speech_meets_the_bar_on_unheard_speakers(tmp_path: Path) -> None:
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=2)
    run(settings, pipeline=PIPELINE, source=str(REAL))
    with warehouse.connect(settings) as con:
        found = dict(
            con.execute(
                """SELECT metric, value FROM gold.model_runs WHERE split = 'cv'
                AND model = (SELECT any_value(model) FROM gold.model_runs WHERE params IS NOT NULL)"""
            ).fetchall()
        )
    assert found["file_accuracy"] >= 0.92
    assert found["speaker_accuracy"] >= 20 / 22
