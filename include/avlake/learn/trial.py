"""What models say of episodes they have not seen: nested, grouped by episode, judged on people's labels alone.

Machine labels may seed the training, by one rule: they do where people have not labelled both classes in `ENOUGH`
episodes. They never come into a figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from avlake.learn.base import Progress
from avlake.learn.segments import KINDS, Segments
from avlake.learn.splits import FOLDS, group_folds, groups_per_class
from avlake.learn.vote import VOTE, WEIGHTS, Settings, Voters, fit, search

Array = np.ndarray[Any, Any]

ENOUGH = 5  # episodes of each class, from which on people's labels alone are learned from
TESTABLE = 3  # episodes of each class, from which on there are figures
MAX_ROWS = 4_000  # learned from, so that the time to train is bounded
MACHINE = "machine"


@dataclass(frozen=True)
class Judged:
    """What is said of segments, in their order."""

    music: dict[str, Array]  # (n,) probability that music is heard: of each part and the vote
    kinds: Array  # (n, 3) probability of each of KINDS; both + music is what the vote says

    @property
    def predicted(self) -> Array:
        """(n,) one of KINDS."""
        dialogue = self.music[VOTE] < 0.5
        kind = np.where(self.kinds[:, 0] >= self.kinds[:, 2], 0, 2)
        return np.array(KINDS)[np.where(dialogue, 1, kind)]


@dataclass(frozen=True)
class Fitted:
    """A vote on music against dialogue, and on the three kinds where enough of each is labelled."""

    music: Voters | None  # None: nothing to learn from, the tags alone judge
    kinds: Voters | None
    settings: Settings

    def judge(self, segments: Segments) -> Judged:
        """Judge segments by the features they were trained on, in their order."""
        X = segments.X
        if self.music is None:
            alone = by_tags(segments)
            music = dict.fromkeys((*WEIGHTS, VOTE), alone)
        else:
            music = {name: p[:, 1] for name, p in self.music.probabilities(X).items()}
        if self.kinds is None:
            both = segments.columns(["tag_speech_max"])[:, 0].astype(float)
        else:
            p = self.kinds.probabilities(X)[VOTE]
            both = p[:, 0] / np.maximum(p[:, 0] + p[:, 2], 1e-9)
        vote = music[VOTE]
        return Judged(music, np.column_stack([vote * both, 1 - vote, vote * (1 - both)]))


def by_tags(segments: Segments) -> Array:
    """(n,) the highest score of a tag of music, averaged over the segment: what says most where nothing was learned."""
    score: Array = segments.columns(["tag_music_any_mean"])[:, 0].astype(float)
    return score


def lacking(y: Array, group: Array, wanted: int, n_classes: int = 2) -> bool:
    """Has a class fewer groups than that?"""
    counts = groups_per_class(y, group)
    return len(counts) < n_classes or min(counts.values()) < wanted


def learnable(segments: Segments) -> tuple[Array, bool]:
    """(n,) bool: which labels are learned from; and whether machine labels are among them."""
    human = segments.human
    seeded = lacking(segments.y[human], segments.path[human], ENOUGH)
    machine = segments.kept & (segments.source == MACHINE)
    return (human | machine, bool(machine.any())) if seeded else (human, False)


def train(segments: Segments, rows: Array, *, candidates: int, seed: int) -> Fitted:
    """Search and fit on the rows given, all of which are labelled."""
    rows = _at_most(rows, segments.path, MAX_ROWS)
    X, y, kind, path = segments.X[rows], segments.y[rows], segments.kind[rows], segments.path[rows]
    if len(np.unique(y)) < 2:
        return Fitted(None, None, {})
    settings = search(X, y, path, candidates=candidates, seed=seed)
    kinds = None if lacking(kind, path, TESTABLE, len(KINDS)) else fit(X, kind, settings, n_classes=3, seed=seed)
    return Fitted(fit(X, y, settings, seed=seed), kinds, settings)


@dataclass(frozen=True)
class Trial:
    """Held-out judgements of the segments that people labelled; none where too few are."""

    rows: Array  # indices of segments, in order
    judged: Judged | None
    fold: Array  # (len(rows),)


def hold_out(segments: Segments, rows: Array, progress: Progress, *, candidates: int, seed: int) -> Trial:
    """Judge each labelled episode by models that have not seen it.

    Args:
        rows: (n,) bool, what may be learned from.
    """
    tested = np.flatnonzero(segments.human)
    y, path = segments.y[tested], segments.path[tested]
    if lacking(y, path, TESTABLE):
        return Trial(np.zeros(0, dtype=int), None, np.zeros(0, dtype=int))
    parts = []
    for i, (_, held) in enumerate(group_folds(y, path, seed=seed)):
        progress("judge episodes not seen", i, FOLDS)
        held_out = tested[held]
        seen = np.flatnonzero(rows & ~np.isin(segments.path, segments.path[held_out]))
        judged = train(segments, seen, candidates=candidates, seed=seed).judge(segments.rows(held_out))
        parts.append((held_out, judged, i))
    progress("judge episodes not seen", FOLDS, FOLDS)
    order = np.argsort(np.concatenate([held for held, _, _ in parts]), kind="stable")
    music = {name: np.concatenate([one.music[name] for _, one, _ in parts])[order] for name in (*WEIGHTS, VOTE)}
    kinds = np.concatenate([one.kinds for _, one, _ in parts])[order]
    fold = np.concatenate([np.full(len(held), i) for held, _, i in parts])[order]
    return Trial(np.sort(np.concatenate([held for held, _, _ in parts])), Judged(music, kinds), fold)


def _at_most(rows: Array, path: Array, most: int) -> Array:
    """So many of the rows at most, drawn evenly from all episodes."""
    if len(rows) <= most:
        return rows
    drawn = np.random.default_rng(0).permutation(rows)
    _, member = np.unique(path[drawn], return_inverse=True)
    place = np.zeros(len(drawn), dtype=int)
    for episode in range(member.max() + 1):
        mine = np.flatnonzero(member == episode)
        place[mine] = np.arange(len(mine))
    return np.sort(drawn[np.argsort(place, kind="stable")[:most]])
