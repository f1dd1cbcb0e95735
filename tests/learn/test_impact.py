"""The comparison finds the effects that were planted in made-up worlds, and none where there is none."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from avlake.learn.impact import (
    HELPS,
    HURTS,
    METRICS,
    NOTHING,
    Clips,
    Design,
    Interval,
    comparable,
    hold_out,
    per_trial,
    try_all,
)
from avlake.learn.proxy import identify
from worlds import FAST, Array, World, compared, hum, nearest_mean, noise, reversed_choice

AGAINST_ALL, AGAINST_RANDOM = "kept_minus_all", "kept_minus_random"


def verdicts(found: list[dict[str, Interval]], comparison: str) -> Counter[str]:
    """How often each verdict falls, in whichever metric."""
    return Counter(figure[f"{metric}_{comparison}"].verdict for figure in found for metric in METRICS)


def at_most_by_chance(worlds: int) -> int:
    """So many false verdicts of 95 % intervals only one series of worlds in a thousand exceeds."""
    return int(binom.ppf(0.999, worlds, 0.05))


def test_a_planted_gain_is_found() -> None:
    found = [compared(World(videos=9).draw(seed, noise), identify) for seed in range(20)]
    for comparison in (AGAINST_ALL, AGAINST_RANDOM):
        counted = verdicts(found, comparison)
        assert counted[HELPS] >= 36, (comparison, counted)
        assert counted[HURTS] == 0


def test_a_planted_harm_is_found() -> None:
    worlds = [reversed_choice(World(videos=9).draw(seed, hum)) for seed in range(10)]
    found = [compared(clips, identify) for clips in worlds]
    for comparison in (AGAINST_ALL, AGAINST_RANDOM):
        counted = verdicts(found, comparison)
        assert counted[HURTS] >= 18, (comparison, counted)
        assert counted[HELPS] == 0


# Very many tested videos leave no doubt about which of two sets of clips is better, and much whether a rule is.
FEW_OF_MANY = World(speakers=5, videos=40, voice=0.5, room=0.1, share=0.05)


@pytest.mark.parametrize(("world", "worlds"), [(World(), 200), (FEW_OF_MANY, 100)])
def test_a_random_choice_is_shown_to_do_nothing_in_19_of_20_worlds(world: World, worlds: int) -> None:
    found = [compared(world.draw(seed)) for seed in range(worlds)]
    for metric in METRICS:
        false = sum(figure[f"{metric}_{AGAINST_RANDOM}"].verdict != NOTHING for figure in found)
        assert false <= at_most_by_chance(len(found)), (metric, false)


def test_a_smaller_set_is_worse_than_all_and_no_worse_than_as_small_a_one() -> None:
    found = [compared(World(videos=12, clips=2, share=0.2).draw(seed)) for seed in range(20)]
    assert verdicts(found, AGAINST_ALL)[HURTS] >= 36
    assert verdicts(found, AGAINST_RANDOM)[NOTHING] >= 36


def test_where_nothing_is_rejected_nothing_differs() -> None:
    found = compared(World(share=1.1).draw(0))
    for metric in METRICS:
        assert found[f"{metric}_kept"] == found[f"{metric}_all"]
        for comparison in (AGAINST_ALL, AGAINST_RANDOM):
            gap = found[f"{metric}_{comparison}"]
            assert (gap.value, gap.verdict) == (0, NOTHING)
            assert gap.high - gap.low < 1e-9


def test_no_video_is_learned_from_and_tested_and_every_arm_knows_every_speaker() -> None:
    clips = World().draw(1)
    learned: list[tuple[Array, Array]] = []

    def spy(X: Array, y: Array, unseen: Array) -> Array:
        learned.append((X, unseen))
        return nearest_mean(X, y, unseen)

    trials = try_all(clips, spy, FAST)
    row = {tuple(x): i for i, x in enumerate(clips.X)}
    for number, (X, unseen) in enumerate(learned):
        trial = trials[number // (2 + FAST.draws)]
        rows, tested = np.array([row[tuple(x)] for x in X]), np.array([row[tuple(x)] for x in unseen])
        assert np.array_equal(tested, trial.test)  # the same test set for every arm of a seed
        assert not np.isin(clips.video[rows], clips.video[tested]).any()
        assert set(clips.y[rows]) == set(clips.y[tested]) == set(range(8))


def test_the_random_arm_has_as_many_clips_of_everyone_as_were_kept() -> None:
    clips = World().draw(2)
    sizes: list[Array] = []

    def spy(X: Array, y: Array, unseen: Array) -> Array:
        sizes.append(np.bincount(y, minlength=8))
        return nearest_mean(X, y, unseen)

    trials = try_all(clips, spy, FAST)
    of_seed = [sizes[i : i + 2 + FAST.draws] for i in range(0, len(sizes), 2 + FAST.draws)]
    for trial, (everything, kept, *drawn) in zip(trials, of_seed, strict=True):
        assert all(np.array_equal(kept, each) for each in drawn)
        assert trial.learned == {"all": everything.sum(), "kept": kept.sum(), "random": kept.sum()}


def test_a_third_of_the_videos_of_everyone_is_held_out_with_kept_clips_left_to_learn_from() -> None:
    y = np.repeat([0, 1, 2], [12, 6, 4])
    video = np.concatenate([np.arange(6).repeat(2), 6 + np.arange(2).repeat(3), 8 + np.arange(4)])
    kept = np.isin(video, [0, 1, 6, 7, 8, 9])
    clips = Clips(np.zeros((len(y), 1)), y, video, kept)
    for seed in range(50):
        tested = hold_out(clips, 1 / 3, np.random.default_rng(seed))
        assert [tested[:6].sum(), tested[6:8].sum(), tested[8:].sum()] == [2, 1, 1]
        assert set(y[kept & ~tested[video]]) == {0, 1, 2}


def test_a_video_of_two_speakers_is_on_one_side_for_both() -> None:
    y, video = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 2, 3, 4])
    clips = Clips(np.zeros((6, 1)), y, video, np.ones(6, dtype=bool))
    found = {tuple(np.flatnonzero(hold_out(clips, 1 / 3, np.random.default_rng(seed)))) for seed in range(50)}
    assert found == {(2,), (0, 3), (0, 4), (1, 3), (1, 4)}


def test_speakers_with_too_little_kept_are_in_no_arm() -> None:
    y = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3])
    video = np.array([0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 6])
    kept = np.array([1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1], dtype=bool)
    assert comparable(y, video, kept, min_videos=2, min_clips=3).tolist() == [True, False, False, False]


def test_the_same_seed_gives_the_same_figures_and_another_does_not() -> None:
    clips = World().draw(4)
    first, again, other = (compared(clips, design=Design(2, 4, replicates=50, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_figures_of_the_seeds_stand_beside_those_of_all() -> None:
    clips = World().draw(5)
    trials = try_all(clips, nearest_mean, FAST)
    rows, together = per_trial(clips, trials), compared(clips)
    sizes = np.array([row["tested_clips"] for row in rows])
    for arm in ("all", "kept", "random"):
        mean = np.average([row["accuracy"][arm] for row in rows], weights=sizes)
        assert mean == pytest.approx(together[f"accuracy_{arm}"].value)


@pytest.mark.parametrize("weighting", ["once", "as drawn"])
def test_metrics_are_those_of_scikit_learn(weighting: str) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    from avlake.learn.impact import _metrics

    rng = np.random.default_rng(6)
    y, said, video = rng.integers(5, size=80), rng.integers(5, size=80), rng.integers(9, size=80)
    times = np.ones(9, dtype=int) if weighting == "once" else rng.integers(3, size=9)
    found = _metrics(video, y, said, times[None, :].astype(float))[:, 0]
    rows = np.repeat(np.arange(80), times[video])
    assert found[0] == pytest.approx(accuracy_score(y[rows], said[rows]))
    assert found[1] == pytest.approx(f1_score(y[rows], said[rows], average="weighted", zero_division=0))


@pytest.mark.train
@pytest.mark.parametrize(
    ("world", "worlds"), [(World(), 1000), (World(speakers=5, videos=3), 1000), (FEW_OF_MANY, 300)]
)
def test_intervals_hold_what_they_should(world: World, worlds: int) -> None:
    """How often an interval holds the truth, 0 against a random choice, else the mean of all worlds; -s prints it."""
    found = [compared(world.draw(seed), design=Design(replicates=1000)) for seed in range(worlds)]
    for comparison in (AGAINST_ALL, AGAINST_RANDOM):
        for metric in METRICS:
            gaps = [figure[f"{metric}_{comparison}"] for figure in found]
            truth = 0.0 if comparison == AGAINST_RANDOM else float(np.mean([gap.value for gap in gaps]))
            missed = sum(not gap.low <= truth <= gap.high for gap in gaps)
            held = f"{1 - missed / worlds:.1%} of {worlds} intervals"
            print(f"{world}: {held} of {metric}_{comparison} hold {truth:+.4f}")
            assert comparison == AGAINST_ALL or missed <= at_most_by_chance(worlds)
