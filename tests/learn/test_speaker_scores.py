"""Figures with intervals that draw scenes, paired differences, kinds of faces."""

from __future__ import annotations

import time

import numpy as np
import pytest

from avlake.learn.average_precision import average_precision
from avlake.learn.metrics import Score, with_draws
from avlake.learn.speaker_scores import Faces, scores_of_faces


def made(scenes: int = 60, each: int = 40, seed: int = 0) -> tuple[Faces, dict[str, np.ndarray]]:
    """Scenes of two faces, of which one is heard in most moments; models that know little, more and most."""
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.arange(scenes), each)
    n = len(scene)
    y = (np.tile(np.arange(each) < each // 2, scenes)) & (rng.random(n) < 0.8)
    of_scene = rng.normal(0, 1, scenes)[scene]  # what makes faces of a scene alike
    said = {name: y * skill + of_scene + rng.normal(0, 1, n) for name, skill in (("network", 3.0), ("loudness", 1.0))}
    said["always_speaking"] = np.ones(n)
    return Faces(y, np.char.add("v/", scene.astype(str)), rng.uniform(20, 200, n), rng.integers(1, 6, n)), said


def by_name(scores: list[Score]) -> dict[tuple[str, str], Score]:
    found = {(score.model, score.metric): score for score in scores}
    assert len(found) == len(scores)
    return found


def test_every_model_has_its_figure_with_an_interval_around_it() -> None:
    faces, said = made()
    found = by_name(scores_of_faces(faces, said, split="cv"))
    for model, p in said.items():
        score = found[model, "average_precision"]
        near = 1e-12 if len(np.unique(p)) > 1 else 0.02  # where all are equal, their order counts
        assert score.value == pytest.approx(average_precision(faces.y, p), abs=near)
        assert score.ci_low < score.value < score.ci_high and score.ci_high - score.ci_low < 0.3
        assert (score.split, score.n) == ("cv", len(faces.y))


def test_always_speaking_has_the_share_of_faces_that_are_heard_however_rows_are_sorted() -> None:
    faces, said = made()
    order = np.argsort(~faces.y, kind="stable")  # the positives first: the metric itself would give 1
    best = Faces(faces.y[order], faces.scene[order], faces.face_px[order], faces.faces_on_screen[order])
    (score,) = (
        score
        for score in scores_of_faces(best, {"always_speaking": said["always_speaking"]}, split="cv")
        if score.metric == "average_precision"
    )
    assert score.value == pytest.approx(faces.y.mean(), abs=0.03) and score.ci_low < score.value < score.ci_high


def test_an_interval_is_that_of_tables_with_scenes_drawn_again() -> None:
    """Weights give what writing every drawn scene's rows again gives, where scores are not equal."""
    faces, said = made(scenes=12, each=10)
    names, code = np.unique(faces.scene, return_inverse=True)
    again = []
    for counts in with_draws(np.zeros(len(names), dtype=int))[1:].astype(int):
        rows = np.repeat(np.arange(len(code)), counts[code])
        again.append(average_precision(faces.y[rows], said["network"][rows]))
    score = by_name(scores_of_faces(faces, said, split="cv"))["network", "average_precision"]
    assert (score.ci_low, score.ci_high) == pytest.approx(np.quantile(again, (0.025, 0.975)), abs=1e-9)


def test_scenes_and_not_faces_are_drawn() -> None:
    """The same faces as if each were a scene of its own give a far narrower interval: they are not independent."""
    faces, said = made(scenes=30, each=80)
    alone = Faces(faces.y, np.arange(len(faces.y)), faces.face_px, faces.faces_on_screen)
    wide, narrow = (
        by_name(scores_of_faces(f, said, split="cv"))["network", "average_precision"] for f in (faces, alone)
    )
    assert wide.ci_high - wide.ci_low > 2 * (narrow.ci_high - narrow.ci_low)


def test_a_difference_is_paired() -> None:
    faces, said = made()
    said["network_again"] = said["network"] + np.random.default_rng(5).normal(0, 0.05, len(faces.y))
    found = by_name(scores_of_faces(faces, said, split="cv"))
    gap = found["network_minus_loudness", "average_precision"]
    own, other = (found[name, "average_precision"] for name in ("network", "loudness"))
    assert gap.value == pytest.approx(own.value - other.value) and gap.ci_low > 0
    twin = found["network_minus_network_again", "average_precision"]
    assert twin.ci_high - twin.ci_low < (own.ci_high - own.ci_low) / 5
    assert {model for model, _ in found if "_minus_" in model} == {
        f"network_minus_{name}" for name in ("loudness", "always_speaking", "network_again")
    }
    assert not [m for m, metric in found if "_minus_" in m and metric != "average_precision"]


def test_of_faces_by_size_and_by_how_many_are_on_screen() -> None:
    faces, said = made()
    found = by_name(scores_of_faces(faces, said, split="cv"))
    px, count = faces.face_px, faces.faces_on_screen
    kinds = {"small": px < 64, "middle": (px >= 64) & (px <= 128), "large": px > 128}
    kinds |= {"1_faces": count == 1, "2_faces": count == 2, "3_faces": count >= 3}
    for kind, some in kinds.items():
        score = found["network", f"average_precision_{kind}"]
        assert score.n == some.sum() > 0
        assert score.value == pytest.approx(average_precision(faces.y[some], said["network"][some]))


def test_what_a_model_did_not_judge_is_not_held_against_it() -> None:
    faces, said = made()
    some = np.arange(len(faces.y)) < 1200
    said["network"] = np.where(some, said["network"], np.nan)
    found = by_name(scores_of_faces(faces, said, split="cv_unseen_talkers"))
    assert found["network", "average_precision"].n == 1200
    assert found["loudness", "average_precision"].n == len(faces.y)
    gap = found["network_minus_loudness", "average_precision"]
    own, other = (average_precision(faces.y[some], said[name][some]) for name in ("network", "loudness"))
    assert (gap.n, gap.value) == (1200, pytest.approx(own - other))


def test_without_both_classes_or_faces_there_is_no_figure() -> None:
    faces, said = made(scenes=4)
    one_class = Faces(np.ones_like(faces.y), faces.scene, faces.face_px, faces.faces_on_screen)
    assert scores_of_faces(one_class, said, split="cv") == []
    nothing = Faces(*(np.empty(0, kind) for kind in (bool, int, float, int)))
    assert scores_of_faces(nothing, {"network": np.empty(0)}, split="cv") == []
    silent = {"network": np.full(len(faces.y), np.nan), "loudness": said["loudness"]}
    assert {score.model for score in scores_of_faces(faces, silent, split="cv")} == {"loudness"}
    assert not [s for s in scores_of_faces(faces, {"loudness": said["loudness"]}, split="cv") if "minus" in s.model]


def test_one_scene_has_no_interval() -> None:
    faces, said = made(scenes=1)
    score = by_name(scores_of_faces(faces, said, split="test"))["network", "average_precision"]
    assert score.ci_low is None and score.ci_high is None and 0 < score.value <= 1


def test_it_is_the_same_each_time_and_takes_a_moment() -> None:
    faces, said = made(scenes=60, each=150)
    began = time.perf_counter()
    first = scores_of_faces(faces, {"network": said["network"]}, split="cv")
    assert (
        time.perf_counter() - began < 10
    )  # about a second on an idle machine: 1,000 draws of 9,000 faces, three times
    assert scores_of_faces(faces, {"network": said["network"]}, split="cv") == first


def test_of_very_many_faces_there_are_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    faces, said = made(scenes=10)
    full = by_name(scores_of_faces(faces, said, split="cv"))["network", "average_precision"]
    monkeypatch.setattr("avlake.learn.speaker_scores.MOST_CELLS", 1)
    fewer = by_name(scores_of_faces(faces, said, split="cv"))["network", "average_precision"]
    assert fewer.value == full.value and fewer.ci_low == pytest.approx(full.ci_low, abs=0.05)
