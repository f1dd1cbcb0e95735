"""Do two clips' fingerprints agree: at one offset for sound and picture, over most of the shorter clip?

Sound agrees where a second of it has few wrong bits, silence where both are silent, and pictures where their hashes
differ little. What says nothing proves nothing: a second of sound must be heard in both, or, between clips without
sound or with silent sound, there must be several pictures that are unlike each other, for talkers before one backdrop
look alike whatever they say. So a clip that is short, or silent and still, has no near duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from avlake.extractors.fingerprints import PICTURES_PER_S, WORDS_PER_S

SHARE = 0.8  # of the shorter clip that must agree
WRONG_BITS = 0.33  # of a second's; other sounds differ in half of them (Haitsma and Kalker, 2002, take 0.35)
HEARD_WORDS = 25  # heard in both clips, for sound to prove anything
WRONG_PIXELS = 12  # bits of 64 in which two hashes of one picture may differ
UNLIKE = 16  # bits in which two pictures are unlike each other; unrelated ones differ in 32
SIGHTS = 4  # pictures that are unlike each other, for pictures alone to prove anything
SLACK_WORDS = 2  # to each side: a word that was found again may be its neighbour's
WORD_BITS = 32
PICTURE_WORDS = WORDS_PER_S // PICTURES_PER_S
THREE_OCTETS = tuple(np.uint32(0xFFFFFFFF & ~(0xFF << shift)) for shift in (0, 8, 16, 24))
NO_KEYS, NO_PLACES = np.zeros(0, np.uint32), np.zeros(0, np.int64)

Hashes = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Prints:
    """A clip's fingerprints, see `avlake.extractors.fingerprints`; None for a stream that it lacks."""

    words: Hashes | None  # (n_words,) uint32
    pictures: Hashes | None  # (n_pictures,) uint64

    @property
    def is_heard(self) -> bool:
        """Has it sound that can prove something?"""
        return self.words is not None and int(np.count_nonzero(self.words)) >= HEARD_WORDS

    @property
    def kind(self) -> tuple[bool, bool, bool]:
        """Clips of different kinds are no duplicates: one lacks what the other has."""
        return self.words is not None, self.is_heard, self.pictures is not None

    @property
    def length(self) -> int:
        """How many places `keys` knows."""
        places = self.words if self.is_heard else self.pictures
        return 0 if places is None else len(places)

    def keys(self) -> tuple[Hashes, Hashes]:
        """What to find it by: (n,) uint32 keys and their places, in words or, where it is not heard, in pictures.

        Keys are parts of a hash, for few copies of one have no wrong bit at all. Equal keys in a row are given once; a
        clip that can prove nothing has none.
        """
        parts: list[Hashes] = []
        if self.words is not None and self.is_heard:
            parts = [self.words & mask for mask in THREE_OCTETS]
        elif self.pictures is not None and sights(self.pictures) == SIGHTS:
            parts = list(self.pictures.astype("<u8").view("<u4").reshape(-1, 2).T)
        places = [_changes(part) for part in parts]
        keys = [part[place] for part, place in zip(parts, places, strict=True)]
        return np.concatenate([NO_KEYS, *keys]), np.concatenate([NO_PLACES, *places])


def match(one: Prints, other: Prints, lags: Iterable[int]) -> bool:
    """Are they near duplicates, the other's place being the one's plus about one of `lags`, counted as `keys` does?"""
    if one.kind != other.kind:
        return False
    if one.words is None or other.words is None or not one.is_heard:
        return any(_look_alike(one, other, lag * PICTURE_WORDS, alone=True) for lag in lags)
    near = sorted({lag + step for lag in lags for step in range(-SLACK_WORDS, SLACK_WORDS + 1)})
    return any(
        sound_share(one.words, other.words, lag) >= SHARE and _look_alike(one, other, lag, alone=False) for lag in near
    )


def sound_share(one: Hashes, other: Hashes, lag: int) -> float:
    """The share of the shorter one's words around which a second agrees; 0 where too few overlap or are heard."""
    left, right = _overlap(one, other, lag)
    shorter = min(len(one), len(other))
    if len(left) < SHARE * shorter:
        return 0.0
    heard, silent = (left != 0) & (right != 0), (left == 0) & (right == 0)
    if np.count_nonzero(heard) < HEARD_WORDS:
        return 0.0
    wrong = np.where(heard, np.bitwise_count(left ^ right), WORD_BITS // 2) * ~silent
    wrong, told = _a_second(wrong), _a_second(~silent)
    agrees = wrong <= WRONG_BITS * WORD_BITS * told
    if np.count_nonzero(agrees & heard) < HEARD_WORDS:
        return 0.0
    return float(np.count_nonzero(agrees) / shorter)


def picture_agrees(one: Hashes, other: Hashes, lag: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Of each picture that overlaps, does it look like the other's at that place or next to it? (n_overlap,)"""
    nearest = round(lag)
    left, right = _overlap(one, other, nearest)
    agrees = np.zeros(len(left), bool)
    for step in (-1, 0, 1):  # the grids of a trimmed clip and of the whole one lie between each other
        beside = right[np.clip(np.arange(len(right)) + step, 0, max(0, len(right) - 1))]
        agrees |= np.bitwise_count(left ^ beside) <= WRONG_PIXELS
    return agrees


def sights(pictures: Hashes) -> int:
    """How many pictures are unlike each other, taken greedily from the first; no more than SIGHTS are counted."""
    rest, found = pictures[pictures != 0], 0
    while len(rest) and found < SIGHTS:
        rest = rest[np.bitwise_count(rest ^ rest[0]) > UNLIKE]
        found += 1
    return found


def _look_alike(one: Prints, other: Prints, lag_words: int, *, alone: bool) -> bool:
    if one.pictures is None or other.pictures is None:
        return not alone
    shorter = min(len(one.pictures), len(other.pictures))
    agrees = picture_agrees(one.pictures, other.pictures, lag_words / PICTURE_WORDS)
    if np.count_nonzero(agrees) < SHARE * shorter:
        return False
    seen = _overlap(one.pictures, other.pictures, round(lag_words / PICTURE_WORDS))[0][agrees]
    return not alone or sights(seen) >= SIGHTS


def _overlap(one: Hashes, other: Hashes, lag: int) -> tuple[Hashes, Hashes]:
    """What both have where the other's place is the one's plus `lag`: two arrays of equal length, maybe 0."""
    start = max(0, -lag)
    stop = max(start, min(len(one), len(other) - lag))
    return one[start:stop], other[start + lag : stop + lag]


def _a_second(values: Hashes) -> Hashes:
    """Sums over the second around each word, (n,) to (n,); at the ends over what there is of it."""
    sums = np.concatenate([[0], np.cumsum(values)])
    half = WORDS_PER_S // 2
    places = np.arange(len(values))
    return sums[np.minimum(places + half + 1, len(values))] - sums[np.maximum(places - half, 0)]


def _changes(hashes: Hashes) -> Hashes:
    """Places where a hash that says something is unlike the one before."""
    new = hashes != 0
    new[1:] &= hashes[1:] != hashes[:-1]
    return np.flatnonzero(new)
