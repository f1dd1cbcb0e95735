"""Gold as arrays: what is a feature, what is a label, and when rows have changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import synthetic

from avlake.errors import WorkError
from avlake.learn.frame import Frame, content_hash, read_frame
from avlake.warehouse import connect

TABLE = "gold.gender_windows"


def read(folder: Path, table: pa.Table, where: str = "kept", **values: str) -> Frame:
    with connect(synthetic.published(folder, table)) as con:
        return read_frame(
            con, TABLE, label="gender", classes=synthetic.CLASSES, group="subject_id", where=where, values=values
        )


def with_column(table: pa.Table, name: str, values: object) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values, table.schema.field(name).type))


def test_features_are_the_measurements(tmp_path: Path) -> None:
    table = synthetic.gold(speakers=2, features=3)
    frame = read(tmp_path, table)
    assert frame.features == ("f0_0", "f0_1", "f0_2")
    assert frame.X.shape == (table.num_rows, 3)
    assert frame.X.dtype == np.float32
    assert np.array_equal(frame.columns(["f0_2", "f0_0"]), frame.X[:, [2, 0]])


def test_unknown_labels_are_minus_one(tmp_path: Path) -> None:
    table = synthetic.gold(speakers=2)
    gender = table["gender"].to_pylist()
    gender[0] = None
    frame = read(tmp_path, with_column(table, "gender", gender))
    assert sorted(set(frame.y.tolist())) == [-1, 0, 1]


def test_rows_not_kept_are_left_out(tmp_path: Path) -> None:
    table = synthetic.gold(speakers=2)
    kept = [i > 0 for i in range(table.num_rows)]
    assert len(read(tmp_path, with_column(table, "kept", kept))) == table.num_rows - 1


def test_values_are_bound_not_pasted(tmp_path: Path) -> None:
    table = synthetic.gold(speakers=2)
    assert (
        len(read(tmp_path, table, "drop_date = $d", d="2026-09-01"))
        == pc.sum(pc.equal(table["drop_date"], "2026-09-01")).as_py()
    )
    with pytest.raises(WorkError, match="no window"):
        read(tmp_path, table, "drop_date = $d", d="' OR true --")


def test_a_missing_measurement_is_named(tmp_path: Path) -> None:
    table = synthetic.gold(speakers=2, features=3)
    values = table["f0_1"].to_pylist()
    values[3] = None
    with pytest.raises(WorkError, match="f0_1"):
        read(tmp_path, with_column(table, "f0_1", values))


def test_content_hash_knows_rows_and_not_their_order(tmp_path: Path) -> None:
    def hashed(table: pa.Table, seen: str) -> str:
        with connect(synthetic.published(tmp_path, table, seen=seen)) as con:
            return content_hash(con, TABLE)

    table = synthetic.gold(speakers=3)
    turned = table.take(list(reversed(range(table.num_rows))))
    values = table["f0_0"].to_pylist()
    values[0] += 1.0
    assert hashed(table, "1") == hashed(turned, "2")
    assert hashed(table, "3") != hashed(with_column(table, "f0_0", values), "4")
    assert hashed(table, "5") != hashed(pa.concat_tables([table, table.slice(0, 1)]), "6")


def test_where_a_row_comes_from_is_neither_learned_nor_hashed(tmp_path: Path) -> None:
    table = synthetic.gold(speakers=3)
    hashes = set()
    for seen, source in enumerate(("voxforge/2026-09-01/a.tgz", "https://example.org/a.tgz")):
        texts = {"licence": f"licence {seen}", "source": source}
        told = table
        for name, text in texts.items():
            told = told.append_column(name, pa.array([text] * table.num_rows))
        assert read(tmp_path, told).features == read(tmp_path, table).features
        with connect(synthetic.published(tmp_path, told, seen=f"told {seen}")) as con:
            hashes.add(content_hash(con, TABLE))
    with connect(synthetic.published(tmp_path, table, seen="untold")) as con:
        assert hashes == {content_hash(con, TABLE)}


def test_a_large_table_is_thinned_evenly_over_groups(tmp_path: Path) -> None:
    frame = read(tmp_path, synthetic.gold(speakers=6, files=5))
    fewer = frame.at_most(24)
    assert np.array_equal(np.unique(fewer.group), np.unique(frame.group))
    assert set(np.unique(fewer.group, return_counts=True)[1]) == {2}
    assert frame.at_most(len(frame)) is frame
    assert len(frame.at_most(3)) == 12  # every group stays
