"""The calibrated decision: nothing told of a labelled clip was learned from it, and what is stated holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from avlake.errors import WorkError
from avlake.learn import calibration
from avlake.learn.calibration import NEVER, Clips, calibrate, choose_threshold, lacking


@pytest.fixture(autouse=True)
def fold_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in a fifth of the time."""
    monkeypatch.setattr(calibration, "REPEATS", 1)


def clips(n: int = 80, *, seed: int = 0, **columns: Any) -> tuple[Clips, list[str]]:
    """Half of them are effects; the others have music that scores higher, with some overlap."""
    rng = np.random.default_rng(seed)
    human = ["sfx" if i % 2 else "sfx+music" for i in range(n)]
    music = np.where(np.arange(n) % 2, rng.beta(1, 30, n), rng.beta(4, 8, n))
    made = {
        "speech_score": np.full(n, 0.01),
        "music_score": music,
        "speech_ratio": np.zeros(n),
        "speaks": np.zeros(n, bool),
        "sound": np.array(["dog barking"] * n, object),
        "youtube_id": np.array([f"video {i // 2}" for i in range(n)]),
    }
    return Clips(**(made | columns)), human


def test_a_clip_is_judged_by_folds_without_its_video() -> None:
    known, human = clips()
    before = calibrate(known, human, min_precision=0.9)
    video = known.youtube_id == "video 3"
    other = [("sfx+music" if one == "sfx" else "sfx") if mine else one for one, mine in zip(human, video, strict=True)]
    # One of each class is in the video: folds, which balance classes, stay as they are.
    after = calibrate(known, other, min_precision=0.9)
    assert np.array_equal(before.p[video], after.p[video])
    assert np.array_equal(before.threshold[video], after.threshold[video])
    assert not np.array_equal(before.p[~video], after.p[~video])


def test_what_is_stated_holds_on_other_clips() -> None:
    known, human = clips(240)
    made = calibrate(known, human, min_precision=0.95)
    others, truth = clips(2000, seed=1)
    kept = made.probability(others) >= made.others_threshold
    right = np.array([one == "sfx" for one in truth])
    assert right[kept].mean() >= 0.95 and kept[right].mean() > 0.8
    held_out = made.p >= made.threshold
    assert abs(kept[right].mean() - held_out[np.array(human) == "sfx"].mean()) < 0.1


def test_the_same_labels_give_the_same_decision() -> None:
    known, human = clips()
    one, two = (calibrate(known, human, min_precision=0.9) for _ in range(2))
    assert np.array_equal(one.p, two.p) and one.others_threshold == two.others_threshold


@pytest.mark.parametrize(
    ("columns", "ruled_out"),
    [
        ({"speaks": True}, True),
        ({"speech_score": 0.1}, True),
        ({"speech_score": 0.1, "sound": "baby crying"}, False),
        ({"speech_score": 0.05, "speech_ratio": 0.01, "sound": "baby crying"}, True),
        ({"speech_score": 0.04, "speech_ratio": 0.01}, False),
        ({"speech_score": 0.09, "sound": None}, False),
    ],
)
def test_speech_that_a_detector_hears_is_never_kept(columns: dict[str, Any], ruled_out: bool) -> None:
    known, human = clips()
    made = calibrate(known, human, min_precision=0.9)
    one, _ = clips(2, **{name: np.array([value] * 2) for name, value in columns.items()})
    assert (made.probability(one) == 0).all() == ruled_out


def test_a_label_of_music_makes_music_likelier() -> None:
    sounds = np.array(["dog barking" if i % 2 else "playing acoustic guitar" for i in range(80)], object)
    known, human = clips(sound=sounds)
    made = calibrate(known, human, min_precision=0.9)
    told = [made.probability(clips(2, sound=np.array([sound] * 2, object))[0]) for sound in ("orchestra", "rain")]
    assert (told[0] < told[1]).all()


def test_what_was_not_measured_has_no_probability() -> None:
    known, human = clips()
    made = calibrate(known, human, min_precision=0.9)
    assert np.isnan(made.probability(clips(2, music_score=np.array([np.nan, 0.0]))[0])).tolist() == [True, False]


def test_too_few_labels_are_counted() -> None:
    known, human = clips(30)
    assert lacking(human, known.youtube_id).startswith(
        "of measured clips 15 are labelled as nothing but effects and 15"
    )
    assert lacking([], np.array([], str)).startswith("of measured clips 0")
    assert lacking(human * 4, np.array(["one video"] * 120))
    assert not lacking(human * 2, np.array([f"video {i}" for i in range(60)]))
    with pytest.raises(WorkError):
        calibrate(clips(2)[0], ["sfx", "sfx"], min_precision=0.9)


def test_a_threshold_allows_for_one_more_mistake() -> None:
    p = np.linspace(0.99, 0.01, 50)
    y = np.arange(50) < 40
    assert choose_threshold(p, y, 0.9) == p[42]  # 40 of 43, and 40 of 44 is still above 0.9
    assert choose_threshold(p, y, 0.98) == NEVER  # 40 of 41 is not
    assert choose_threshold(np.zeros(50), y, 0.5) == NEVER  # what is ruled out is not let in
    tied = np.full(50, 0.5)
    assert choose_threshold(tied, y, 0.7) == 0.5 and choose_threshold(tied, y, 0.8) == NEVER
