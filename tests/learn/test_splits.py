"""A group is in one split, whoever asks and whatever else has arrived."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from avlake.errors import WorkError
from avlake.learn.splits import group_folds, split_of, splits_suffice
from avlake.stages.relations import SPLIT_OF

NAMES = [f"speaker {i}" for i in range(2000)] + ["anonymous:a-20260901-x", "müller", "o'neil", ""]


@pytest.mark.parametrize("salt", ["voxforge_gender", "other"])
def test_the_sql_macro_is_the_same_rule(salt: str) -> None:
    with duckdb.connect() as con:
        con.execute(SPLIT_OF.format(salt=salt))
        con.execute("CREATE TABLE names AS SELECT unnest(?) AS name", [NAMES])
        in_sql = dict(con.execute("SELECT name, split_of(name) FROM names").fetchall())
    assert in_sql == {name: split_of(name, salt) for name in NAMES}


def test_shares_are_those_of_the_design() -> None:
    found = [split_of(name, "salt") for name in NAMES[:2000]]
    shares = [found.count(name) / 2000 for name in ("train", "validation", "test")]
    assert shares == pytest.approx([0.70, 0.15, 0.15], abs=0.03)


def test_the_salt_decides() -> None:
    assert [split_of(n, "a") for n in NAMES] != [split_of(n, "b") for n in NAMES]


def test_anonymous_groups_always_train() -> None:
    assert {split_of(f"anonymous:archive-{i}", "salt") for i in range(200)} == {"train"}


def windows(groups: int, each: int = 4) -> tuple[np.ndarray, np.ndarray]:
    group = np.repeat([f"g{i}" for i in range(groups)], each)
    return np.repeat(np.arange(groups) % 2, each), group


def test_folds_keep_groups_whole_and_hold_each_out_once() -> None:
    y, group = windows(14)
    held = []
    for learn, held_out in group_folds(y, group):
        assert not set(group[learn]) & set(group[held_out])
        held.extend(held_out)
    assert sorted(held) == list(range(len(y)))


def test_anonymous_groups_are_in_every_training_side() -> None:
    y, group = windows(12)
    group = np.where(group == "g3", "anonymous:g3", group)
    for learn, held_out in group_folds(y, group):
        assert "anonymous:g3" in group[learn]
        assert "anonymous:g3" not in group[held_out]


def test_one_group_of_a_class_is_too_few() -> None:
    y, group = windows(4)
    keep = group != "g3"
    with pytest.raises(WorkError, match="named groups per class"):
        list(group_folds(y[keep], group[keep]))


def test_splits_suffice_with_three_groups_of_each_class_in_each() -> None:
    y, group = windows(18)
    split = np.repeat(["train"] * 6 + ["validation"] * 6 + ["test"] * 6, 4)
    assert splits_suffice(y, group, split, 2)
    split[-4:] = "train"
    assert not splits_suffice(y, group, split, 2)
