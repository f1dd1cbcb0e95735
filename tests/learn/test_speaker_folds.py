"""No video, and nobody, is on both sides of a fold."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avlake.errors import WorkError
from avlake.learn.speaker_folds import GROUPS, MOST_FOLDS, Fold, talker_folds, video_folds

SCENES = st.lists(
    st.one_of(st.none(), st.frozensets(st.integers(0, 24).map("p{}".format), max_size=4)), min_size=1, max_size=60
)


def sides(folds: list[Fold]) -> list[tuple[list[int], list[int]]]:
    return [(fold.train.tolist(), fold.test.tolist()) for fold in folds]


def check(talkers: list[frozenset[str] | None], folds: list[Fold]) -> None:
    tested = [k for fold in folds for k in fold.test.tolist()]
    assert len(tested) == len(set(tested))
    for fold in folds:
        assert len(fold.test) and len(fold.train)
        tests, trains = ([talkers[k] for k in side.tolist()] for side in (fold.test, fold.train))
        assert all(names and names <= fold.held for names in tests)
        assert all(names and not names & fold.held for names in trains)
        assert fold.train.tolist() == [k for k, names in enumerate(talkers) if names and not names & fold.held]


@settings(max_examples=150, deadline=None)
@given(SCENES)
def test_nobody_is_on_both_sides_and_no_scene_in_two_tests(talkers: list[frozenset[str] | None]) -> None:
    check(talkers, talker_folds(talkers))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), min_size=1, max_size=80))
def test_every_scene_of_two_is_tested_unless_nothing_is_left_to_learn(pairs: list[tuple[int, int]]) -> None:
    talkers = [frozenset({f"p{a}", f"p{b}"}) for a, b in pairs]
    folds = talker_folds(talkers)
    check(talkers, folds)
    tested = {k for fold in folds for k in fold.test.tolist()}
    few = len(frozenset().union(*talkers)) <= 8
    for k, names in enumerate(talkers):
        strangers = any(not names & others for others in talkers)
        assert k not in tested or strangers
        if few and strangers and len(names) == 2:
            assert k in tested
    assert len(folds) <= MOST_FOLDS


@settings(max_examples=50, deadline=None)
@given(SCENES, st.randoms())
def test_the_order_of_scenes_changes_nothing(talkers: list[frozenset[str] | None], random: object) -> None:
    order = list(range(len(talkers)))
    random.shuffle(order)
    shuffled = talker_folds([talkers[k] for k in order])
    assert [(fold.held, sorted(order[k] for k in fold.test)) for fold in shuffled] == [
        (fold.held, fold.test.tolist()) for fold in talker_folds(talkers)
    ]


def test_of_six_people_every_pair_is_a_fold() -> None:
    pairs = [frozenset(pair) for pair in combinations("abcdef", 2)] * 4
    folds = talker_folds(pairs)
    assert len(folds) == 15
    assert {(len(fold.test), len(fold.train)) for fold in folds} == {(4, 24)}  # six pairs of the other four
    assert sorted(k for fold in folds for k in fold.test.tolist()) == list(range(60))


def test_who_is_alone_is_held_out_with_a_pair() -> None:
    folds = talker_folds([frozenset("a"), frozenset("ab"), frozenset("cd"), frozenset("d"), frozenset("a")])
    assert [fold.held for fold in folds] == [frozenset("ab"), frozenset("cd")]
    assert sides(folds) == [([2, 3], [0, 1, 4]), ([0, 1, 4], [2, 3])]


def test_who_is_not_known_may_be_anybody() -> None:
    folds = talker_folds([frozenset("ab"), None, frozenset("cd"), frozenset()])
    assert sides(folds) == [([2], [0]), ([0], [2])]


def test_without_strangers_there_is_no_fold() -> None:
    assert talker_folds([frozenset("ab"), frozenset("bc"), frozenset("ac")]) == []
    assert talker_folds([frozenset("ab")]) == talker_folds([None]) == talker_folds([]) == []


def test_many_people_are_held_out_in_groups() -> None:
    rng = np.random.default_rng(0)
    talkers = [frozenset(f"p{k}" for k in rng.choice(40, 2, replace=False)) for _ in range(400)]
    folds = talker_folds(talkers)
    check(talkers, folds)
    assert sorted(k for fold in folds for k in fold.test.tolist()) == list(range(400))
    assert len(folds) == GROUPS * (GROUPS - 1) // 2
    assert min(len(fold.train) for fold in folds) > 0.35 * 400  # four of six groups, twice: 0.44
    assert max(len(fold.test) for fold in folds) < 0.12 * 400


def test_the_people_of_a_film_are_held_out_together() -> None:
    """Nobody plays in two of these films, so that a sixth of them can be held out without losing any other scene."""
    talkers = [frozenset({f"film{k % 30}-{a}", f"film{k % 30}-{b}"}) for k in range(300) for a, b in [(k % 3, 3)]]
    folds = talker_folds(talkers)
    check(talkers, folds)
    assert len(folds) == GROUPS
    assert {(len(fold.test), len(fold.train)) for fold in folds} == {(50, 250)}


# --- by video


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12).map("v{}".format), st.integers(0, 50), st.integers(0, 90)), max_size=60),
    st.integers(2, 6),
)
def test_videos_are_whole_and_each_is_tested_once(scenes: list[tuple[str, int, int]], most: int) -> None:
    videos = [video for video, _, _ in scenes]
    audible, others = ([scene[k] for scene in scenes] for k in (1, 2))
    enough = [len({v for v, n in zip(videos, counts, strict=True) if n}) for counts in (audible, others)]
    if min(enough) < 2:
        with pytest.raises(WorkError, match="two of each are needed"):
            video_folds(videos, audible, others, most=most)
        return
    folds = video_folds(videos, audible, others, most=most)
    assert 2 <= len(folds) <= most
    assert sorted(k for fold in folds for k in fold.test.tolist()) == list(range(len(scenes)))
    for fold in folds:
        assert {videos[k] for k in fold.test.tolist()} == fold.held
        assert sorted([*fold.test.tolist(), *fold.train.tolist()]) == list(range(len(scenes)))
        assert not fold.held & {videos[k] for k in fold.train.tolist()}


def test_folds_have_about_as_many_of_both_classes() -> None:
    rng = np.random.default_rng(3)
    videos = [f"v{k}" for k in range(60) for _ in range(3)]
    audible, others = rng.integers(0, 40, 180), rng.integers(0, 400, 180)
    for fold in video_folds(videos, audible, others):
        assert audible[fold.test].sum() == pytest.approx(audible.sum() / 5, rel=0.1)
        assert others[fold.test].sum() == pytest.approx(others.sum() / 5, rel=0.1)


def test_folds_by_video_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(4)
    videos = np.array([f"v{k}" for k in range(9) for _ in range(3)])
    audible, others, order = rng.integers(0, 40, 27), rng.integers(0, 40, 27), rng.permutation(27)
    held = [fold.held for fold in video_folds(videos.tolist(), audible, others)]
    assert [fold.held for fold in video_folds(videos[order].tolist(), audible[order], others[order])] == held
