"""The learner of active speakers, through the face that stages know: what it leaves, refuses and says."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from speaker_world import MEASURED, TABLE, World, measured, moving, two_talkers
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util

from avlake.errors import Quarantined, WorkError
from avlake.learn.base import FaceLearner, FaceModel, Trained, silent
from avlake.learn.speaker_checkpoints import ABOUT
from avlake.learn.speakers import LEARNER
from avlake.stages.train import headline

BASELINES = {"always_speaking", "loudness", "motion_x_energy"}
TALKERS = ("ann", "bob", "cy", "di", "eve", "flo")


def trained(
    world: World, folder: Path, progress: Callable[[str, int, int], None] = silent, **options: object
) -> Trained:
    place = world.place(folder, **{"epochs": 2, **options})
    return LEARNER.train(world.con(), MEASURED, progress, place)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Trained, list[tuple[str, int, int]]]:
    """A training with everything there is: talkers named, talking heads, comparisons."""
    world, told = two_talkers(videos=6, n=16, talkers=TALKERS, heads=9), list[tuple[str, int, int]]()
    return world, trained(world, tmp_path_factory.mktemp("lake"), lambda *said: told.append(said)), told


def test_every_model_is_scored_on_what_it_has_not_seen(whole: tuple[World, Trained, object]) -> None:
    _, one, _ = whole
    models: dict[str, set[str]] = {}
    for score in one.scores:
        models.setdefault(score.split, set()).add(score.model)
        assert 0 <= abs(score.value) <= 1 and score.n > 0
    variants = {"cv": "network_with_pretraining", "cv_unseen_talkers": "network_without_augmentation"}
    for split, variant in variants.items():
        others = BASELINES | {variant}
        assert models[split] == {"network", *others, *(f"network_minus_{name}" for name in others)}
    assert models.keys() == variants.keys()
    assert json.loads(one.files["metrics.json"]) == [vars(score) for score in one.scores]
    figures = headline(json.loads(one.files["metrics.json"]), one.model)
    assert figures.keys() == {"average_precision", "average_precision_unseen_talkers"}


def scalars(event: Any) -> list[tuple[str, float]]:
    return [(value.tag, tensor_util.make_ndarray(value.tensor).item()) for value in event.summary.value]


def test_what_it_leaves(whole: tuple[World, Trained, object], tmp_path: Path) -> None:
    _, one, _ = whole
    description, curves = (json.loads(one.files[name]) for name in ("features.json", "curves.json"))
    assert description["videos"] == [f"v{i}" for i in range(6)] and description["drops"] == ["ava/2026-01-01"]
    assert 500_000 < description["parameters"] < 1_200_000
    assert description["counts"]["audible_faces"] == description["counts"]["other_faces"] == 6 * 16
    assert description["counts"]["talkers"] == 6 and description["counts"]["talking_heads"] == 9
    assert description["pretraining"] == {"scenes": 9, "least": 8, "used": False}
    assert {"network_videos_1", "network_all", "pretraining", "network_without_augmentation_talkers_1"} <= curves.keys()
    assert curves["network_videos_1"][0].keys() == {"epoch", "loss", "validation_loss", "validation_ap"}
    events = {name for name in one.files if name.startswith("tensorboard/")}
    assert {name.split("/")[1] for name in events} == curves.keys()
    log = tmp_path / "events.out.tfevents.avlake"
    log.write_bytes(one.files["tensorboard/network_videos_1/events.out.tfevents.avlake"])
    read = {tag: value for event in EventFileLoader(str(log)).Load() for tag, value in scalars(event)}
    assert read["loss/train"] == pytest.approx(curves["network_videos_1"][-1]["loss"])
    assert read["average_precision/validation"] == pytest.approx(curves["network_videos_1"][-1]["validation_ap"])
    table = pq.read_table(io.BytesIO(one.files["predictions.parquet"]))
    assert len(table) == 6 * 2 * 16 and not table["network"].null_count
    assert {"file_id", "track_id", "frame_timestamp", "label", "y", "subject_id", *BASELINES} <= {*table.column_names}
    assert np.array_equal(table["y"].to_numpy() == 1, table["label"].to_numpy() == "SPEAKING_AUDIBLE")
    said = json.loads(one.files["verdict.json"])["words"]
    assert said[0].startswith("On scenes none of whose talkers it had seen, average precision is")
    card = one.files["card.md"].decode()
    assert all(sentence in card for sentence in said) and "| network_minus_loudness |" in card


def test_a_held_out_video_is_judged_by_a_network_that_has_not_seen_it(whole: tuple[World, Trained, object]) -> None:
    world, one, _ = whole
    table = pq.read_table(io.BytesIO(one.files["predictions.parquet"])).to_pandas()
    checkpoints = [name for name in one.files if name.startswith("checkpoints/")]
    assert len(checkpoints) == 5
    for name in checkpoints:
        model = LEARNER.checkpoint(one.files[name], name)
        (held, *more) = sorted({f"v{i}" for i in range(6)} - model.videos)
        for video in (held, *more):
            rows = [row for row in world.silver if row["file_id"] == video]
            boxes = model.boxes({"face_tracks": measured(rows)}).to_pandas()
            both = boxes.merge(table[table.video_id == video], on=["track_id", "frame_timestamp"])
            assert len(both) == 2 * 16 and np.allclose(both["score"], both["network"], atol=1e-5)


def test_progress_counts_the_whole(whole: tuple[World, Trained, list[tuple[str, int, int]]]) -> None:
    *_, told = whole
    done, totals = [said[1] for said in told], {said[2] for said in told}
    assert done == sorted(done) and len(totals) == 1 and done[-1] in totals
    assert "train network, videos fold 2 of 5" in {said[0] for said in told}


def test_the_model_judges_and_watches_for_drift(whole: tuple[World, Trained, object]) -> None:
    world, one, _ = whole
    model = LEARNER.load(one.files)
    assert isinstance(LEARNER, FaceLearner) and isinstance(model, FaceModel)
    assert model.measured == MEASURED and model.drops == ("ava/2026-01-01",) and "v3" in model.videos
    stranger = World()
    stranger.add("x", "a", opens=moving(50, 12), heard=moving(51, 12), audible=None, problems=[3])
    table = model.boxes({"face_tracks": measured(stranger.silver)})
    assert table.column_names == ["track_id", "frame_timestamp", "x1", "y1", "x2", "y2", "score"]
    assert len(table) == 11 and ((p := table["score"].to_numpy()) >= 0).all() and (p <= 1).all()
    with pytest.raises(Quarantined, match="none of its faces"):
        stranger.silver[0] |= {"crops": b"", "crop_bytes": [0] * 12}
        model.boxes({"face_tracks": measured(stranger.silver)})
    (drift,) = model.drift(world.con())
    assert drift.drop == "ava/2026-01-01" and drift.verdict == "steady" and drift.windows == 6 * 2 * 16


def test_it_goes_on_with_what_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that stops in the last training does none of the others again."""
    world, told = two_talkers(videos=3, n=12), list[tuple[str, int, int]]()

    def stop(what: str, done: int, total: int) -> None:
        if what == "train network":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(world, tmp_path, stop, compare=False)
    notes = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "_training" / "speakers").iterdir()}
    assert notes.keys() == {f"network_videos_{i}.safetensors" for i in (1, 2, 3)}
    one = trained(world, tmp_path, lambda *said: told.append(said), compare=False)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "_training" / "speakers").iterdir()}
    assert {name: after[name] for name in notes} == notes
    assert (
        one.files["model.safetensors"] == trained(world, tmp_path / "other", compare=False).files["model.safetensors"]
    )


def test_pre_trained_where_asked_and_said_where_it_cannot_be(tmp_path: Path) -> None:
    world = two_talkers(videos=3, n=12, heads=8)
    one = trained(world, tmp_path / "a", pretrain=True, epochs=1)
    assert json.loads(one.files["features.json"])["pretraining"]["used"]
    assert {score.model for score in one.scores} >= {"network_without_pretraining", "network_without_augmentation"}
    few = trained(two_talkers(videos=3, n=12, heads=2), tmp_path / "b", pretrain=True, epochs=1, compare=False)
    said = " ".join(json.loads(few.files["verdict.json"])["words"])
    assert "the lake has 2 scenes of talking heads" in said and "face_tracks.measure=true" in said
    assert "Nobody has said who the tracks show" in said


def test_too_little_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="no labelled face to learn from: ingest"):
        trained(two_talkers(videos=0, heads=1), tmp_path)
    one = two_talkers(videos=1)
    with pytest.raises(WorkError, match="two of each are needed"):
        trained(one, tmp_path)
    silence = World()
    for video in range(3):
        silence.add(f"v{video}", "a", opens=moving(video, 12), heard=moving(video, 12), audible=False)
    with pytest.raises(WorkError, match="0 videos have faces that are heard and 3 have others"):
        trained(silence, tmp_path)


def test_strangers_nobody_else_speaks_for_are_not_judged(tmp_path: Path) -> None:
    """Whoever is left to learn from when two are held out is never heard: of that nothing can be learned."""
    world = World()
    for video, (names, heard) in enumerate(((("ann", "bob"), 0), (("ann", "bob"), 0), (("cy", "di"), None))):
        for track, name in enumerate(names):
            opens, said = moving(video * 2 + track, 12), moving(video * 2, 12)
            world.add(f"v{video}", f"{track}", opens=opens, heard=said, audible=track == heard, talker=name)
    one = trained(world, tmp_path, compare=False, epochs=1)
    figures = {(score.split, score.model): score.n for score in one.scores if score.metric == "average_precision"}
    assert figures["cv", "network"] == 3 * 2 * 12
    unseen = pq.read_table(io.BytesIO(one.files["predictions.parquet"])).to_pandas().groupby("subject_id")
    assert unseen["network_unseen_talkers"].count().to_dict() == {"ann": 0, "bob": 0, "cy": 12, "di": 12}


def test_of_many_videos_gold_s_own_split_judges(tmp_path: Path) -> None:
    world = two_talkers(videos=30, n=6)
    for row in world.gold:
        number = int(row["video_id"][1:])
        row["split"] = "test" if number >= 26 else "validation" if number >= 22 else "train"
    one = trained(world, tmp_path, compare=False, epochs=1)
    assert {score.split for score in one.scores} == {"test"}
    assert one.files.keys() >= {"checkpoints/network_split.safetensors"}
    held = LEARNER.checkpoint(one.files["checkpoints/network_split.safetensors"], "checkpoint")
    assert held.videos == {f"v{i}" for i in range(26)}
    assert {score.n for score in one.scores if score.metric == "average_precision"} == {4 * 2 * 6}


def test_damaged_and_foreign_models_are_refused(whole: tuple[World, Trained, object]) -> None:
    _, one, _ = whole
    good = one.files["model.safetensors"]
    header = json.loads(good[8 : 8 + int.from_bytes(good[:8], "little")])
    about, tensors = json.loads(header["__metadata__"][ABOUT]), load_tensors(good)

    def said(**changes: object) -> bytes:
        return save_tensors(tensors, {ABOUT: json.dumps(about | changes)})

    name = next(name for name, tensor in sorted(tensors.items()) if tensor.ndim == 2)
    other = tensors | {name: tensors[name][:1]}
    endless = tensors | {name: np.full_like(tensors[name], np.inf)}
    wrong = {
        b"": "damaged",
        good[:-10]: "damaged",
        b"no model at all" * 100: "damaged",
        said(network=99): "version 99 of the network",
        said(kind="cats"): "a checkpoint of cats",
        said(measured=[1]): "does not say what it was trained on",
        save_tensors(tensors, {"format": "pt"}): "no checkpoint of active_speaker",
        save_tensors({"a": np.zeros(3)}, {ABOUT: json.dumps(about)}): "another network",
        save_tensors(other, {ABOUT: json.dumps(about)}): f"{name} is torch.float32",
        save_tensors(endless, {ABOUT: json.dumps(about)}): "not finite",
    }
    for data, reason in wrong.items():
        with pytest.raises(WorkError, match=reason):
            LEARNER.checkpoint(data, "some.safetensors")
    with pytest.raises(WorkError, match=r"lacks model\.safetensors"):
        LEARNER.load({})
    with pytest.raises(WorkError, match=r"reference.npz is damaged"):
        LEARNER.load({**one.files, "reference.npz": b"PK"})


def test_another_way_to_train_is_another_identity() -> None:
    assert LEARNER.identity() == replace(LEARNER).identity() != replace(LEARNER, version=99).identity()
    assert LEARNER.table == TABLE
