"""Which group is in which split, and folds that keep groups whole.

A group (a speaker, a source video, an episode) is in one split, decided by its own name and the pipeline's salt alone:
never by what else has arrived, so a new drop moves nobody. The SQL of gold has the
same rule as a macro; a test holds them equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from avlake.errors import WorkError

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
TRAIN_SHARE, VALIDATION_SHARE = 0.70, 0.15
MIN_GROUPS_PER_CLASS = 3
FOLDS = 5
ANONYMOUS = "anonymous:"  # a submission whose speaker is unknown, who may well be one of the others

Array = np.ndarray[Any, Any]
Fold = tuple[Array, Array]  # row indices: train, test


def bucket(group: str, salt: str) -> float:
    """Where a group falls in [0, 1): the first 32 bits of sha256(salt + group), over 2^32."""
    return int(hashlib.sha256(f"{salt}{group}".encode()).hexdigest()[:8], 16) / 2**32


def split_of(group: str, salt: str) -> str:
    """The split of one group; anonymous groups always train, since nobody knows who they are."""
    if group.startswith(ANONYMOUS):
        return TRAIN
    place = bucket(group, salt)
    if place < TRAIN_SHARE:
        return TRAIN
    return VALIDATION if place < TRAIN_SHARE + VALIDATION_SHARE else TEST


def groups_per_class(y: Array, groups: Array) -> dict[int, int]:
    """How many groups each class of `y` (n_rows,) has."""
    return {int(label): len(np.unique(groups[y == label])) for label in np.unique(y)}


def splits_suffice(y: Array, groups: Array, split: Array, n_classes: int) -> bool:
    """Whether every split has at least `MIN_GROUPS_PER_CLASS` groups of every class; else metrics come from folds."""
    for name in SPLITS:
        counts = groups_per_class(y[split == name], groups[split == name])
        if len(counts) < n_classes or min(counts.values()) < MIN_GROUPS_PER_CLASS:
            return False
    return True


def group_folds(y: Array, groups: Array, *, n_folds: int = FOLDS, seed: int = 0) -> Iterator[Fold]:
    """Folds over rows in which no group is on both sides; fewer folds where a class has too few groups.

    Anonymous groups are on the training side of every fold.

    Raises:
        WorkError: if a class has fewer than two groups, so that no honest fold exists.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # curate needs the rest of this file, and not its weight

    anonymous = np.char.startswith(groups.astype(str), ANONYMOUS)
    named, always = np.flatnonzero(~anonymous), np.flatnonzero(anonymous)
    counts = groups_per_class(y[named], groups[named])
    if len(counts) < 2 or min(counts.values()) < 2:
        raise WorkError(
            f"only {counts or 'no'} named groups per class: two of each are needed to learn; ingest more drops"
        )
    folds = StratifiedGroupKFold(min(n_folds, *counts.values()), shuffle=True, random_state=seed)
    for learn, held_out in folds.split(np.zeros((len(named), 1)), y[named], groups[named]):
        yield np.concatenate([named[learn], always]), named[held_out]
