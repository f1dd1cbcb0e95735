"""Folds over scenes: by whole videos, and by people who were never seen in training.

Videos share their people, so that folds by video flatter a network that has learned what they look like or sound like.
Where people say who each track shows, the other folds tell what it does with strangers: a fold holds people out, its
test has scenes of nobody else, and its training has none of theirs. Both depend on what there is, never on its order.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avlake.errors import WorkError

FOLDS = 5
FEW = 8  # people; every set of them that occurs is then a fold
MOST_FOLDS = 28  # as many as 8 people have pairs
GROUPS = 6  # of more people

Places = npt.NDArray[np.int_]
Names = frozenset[str]


@dataclass(frozen=True)
class Fold:
    """What is held out, and the places of the scenes on both sides, in rising order."""

    held: Names  # videos or people
    train: Places
    test: Places


def video_folds(
    videos: Sequence[str], audible: npt.ArrayLike, others: npt.ArrayLike, *, most: int = FOLDS
) -> list[Fold]:
    """Folds in which no video is on both sides; each is in one test, and tests have about as many of both classes.

    Args:
        videos: (n_scenes,) the video of each.
        audible: (n_scenes,) how many of its faces speak and are heard.
        others: (n_scenes,) how many do not.
        most: folds; fewer where fewer videos have faces of a class.

    Raises:
        WorkError: where fewer than two videos have faces of a class, so that no honest fold exists.
    """
    counts: dict[str, npt.NDArray[np.float64]] = defaultdict(lambda: np.zeros(2))
    for video, heard, rest in zip(videos, np.asarray(audible), np.asarray(others), strict=True):
        counts[video] += (heard, rest)
    with_both = [int(sum(found[k] > 0 for found in counts.values())) for k in (0, 1)]
    if min(with_both) < 2:
        raise WorkError(
            f"{with_both[0]} videos have faces that are heard and {with_both[1]} have others: two of each are needed "
            "to learn; ingest more drops"
        )
    total = np.sum(list(counts.values()), axis=0)
    folds = [np.zeros(2) for _ in range(min(most, *with_both))]
    members: list[set[str]] = [set() for _ in folds]
    for video in sorted(counts, key=lambda name: (-counts[name].sum(), _place(name))):
        # A class that is rare counts as much as one that is not; of equal folds, one with fewer videos.
        loads = [(float(((fold + counts[video]) / total).max()), len(members[k]), k) for k, fold in enumerate(folds)]
        chosen = min(loads)[-1]
        folds[chosen] += counts[video]
        members[chosen].add(video)
    inside = {video: k for k, some in enumerate(members) for video in some}
    of_scene = np.array([inside[video] for video in videos])
    return [
        Fold(frozenset(some), np.flatnonzero(of_scene != k), np.flatnonzero(of_scene == k))
        for k, some in enumerate(members)
        if some
    ]


def talker_folds(talkers: Sequence[Names | None]) -> list[Fold]:
    """Folds whose tests show none but people that their training has never shown.

    A scene is in one test, but for those with somebody unknown, who may be any of the others: they are on no side. Of
    up to 8 people, every set that is in a scene together is held out by itself; more people are put into up to 6 groups
    with about as many scenes, whole circles of people who share scenes where no circle has more than half of them, and
    the groups that share scenes are held out together. Where nothing would be left to learn from, there is no fold.

    Args:
        talkers: (n_scenes,) who is in each; None or nobody where somebody is not named.

    Returns:
        The folds; none where all scenes share people.
    """
    known = {k: names for k, names in enumerate(talkers) if names}
    found = _largest(known.values())
    people = frozenset().union(*known.values())
    if len(people) > FEW or len(found) > MOST_FOLDS:
        group = _groups(known.values())
        found = [
            frozenset(name for name in people if group[name] in some)
            for some in _largest(frozenset(group[name] for name in names) for names in known.values())
        ]
    tests: dict[Names, list[int]] = {held: [] for held in found}
    for k, names in known.items():
        tests[next(held for held in found if names <= held)].append(k)
    folds = []
    for held, test in tests.items():
        train = [k for k, names in known.items() if not names & held]
        if test and train:
            folds.append(Fold(held, np.array(train), np.array(test)))
    return folds


def _largest(sets: Iterable[frozenset]) -> list[frozenset]:
    """Those of the sets that no other holds, in an order of their own."""
    largest: list[frozenset] = []
    for one in sorted({*sets}, key=lambda some: (-len(some), sorted(some))):
        if not any(one <= other for other in largest):
            largest.append(one)
    return sorted(largest, key=sorted)


def _groups(scenes: Iterable[Names]) -> Mapping[str, int]:
    """The group of each person: heaviest circles first, each to the group with the fewest scenes."""
    scenes = list(scenes)
    per_person = Counter(name for names in scenes for name in names)
    circles = _circles(scenes, per_person)
    per_circle = Counter(circles[next(iter(names))] for names in scenes)
    if max(per_circle.values()) > len(scenes) / 2:
        circles, per_circle = {name: name for name in per_person}, per_person
    loads, group = [0] * GROUPS, {}
    for circle in sorted(per_circle, key=lambda name: (-per_circle[name], _place(name))):
        group[circle] = min(range(GROUPS), key=lambda k: loads[k])
        loads[group[circle]] += per_circle[circle]
    return {name: group[circle] for name, circle in circles.items()}


def _circles(scenes: Iterable[Names], people: Iterable[str]) -> dict[str, str]:
    """People who share scenes, directly or through others, have the same first person."""
    above = {name: name for name in people}

    def first(name: str) -> str:
        while above[name] != name:
            above[name] = name = above[above[name]]
        return name

    for names in scenes:
        roots = sorted(first(name) for name in names)
        for root in roots[1:]:
            above[root] = roots[0]
    return {name: first(name) for name in above}


def _place(name: str) -> str:
    """What orders names alike everywhere, and as if at random."""
    return hashlib.sha256(name.encode()).hexdigest()
