"""Rows alone, read back with pyarrow, DuckDB, csv and json."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shelf import NAMES, TABLE, Exported, row

from avlake.errors import RequestError
from avlake.settings import Settings
from avlake.stages.export import export


def test_parquet_keeps_every_value_and_type(shelf: Settings, exported: Exported) -> None:
    found = pq.read_table(exported(shelf, TABLE, "parquet"))
    first, second = sorted(found.to_pylist(), key=lambda r: r["path"], reverse=True)
    assert math.isnan(first.pop("score")) and second["score"] is None and second["split"] is None
    assert first == {k: v for k, v in row(NAMES["odd"]).items() if k != "score"}
    assert found.schema.field("tags").type == pa.list_(pa.string()) and found.schema.field("day").type == pa.date32()


def test_csv_tells_null_from_nothing_and_reads_back_in_duckdb(shelf: Settings, exported: Exported) -> None:
    to = exported(shelf, TABLE, "csv", where=f"path = '{NAMES['odd']}'")
    with to.open(newline="", encoding="utf-8") as file:
        (found,) = csv.DictReader(file)
    assert (found["path"], found["label"], found["score"]) == (NAMES["odd"], 'a "b",\nc', "nan")
    assert json.loads(found["tags"]) == ["x", None]
    read = duckdb.read_csv(str(exported(shelf, TABLE, "csv"))).filter("split IS NULL AND score IS NULL")
    assert read.project("path").fetchall() == [(NAMES["empty split"],)]


def test_jsonl_is_valid_json_whatever_the_numbers(shelf: Settings, exported: Exported) -> None:
    to = exported(shelf, TABLE, "jsonl", where="split = 'test'")
    (found,) = [json.loads(line) for line in to.read_text(encoding="utf-8").splitlines()]
    assert found["score"] is None and found["tags"] == ["x", None] and found["path"] == NAMES["odd"]
    assert (found["day"], found["seen_at"]) == ("2026-09-01", "2026-09-01T12:30:00+00:00")


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_no_rows_are_an_empty_but_valid_file(shelf: Settings, exported: Exported, form: str) -> None:
    to = exported(shelf, TABLE, form, where="false")
    names = list(row(""))
    if form == "parquet":
        assert pq.read_table(to).column_names == names and pq.read_table(to).num_rows == 0
    else:
        assert to.read_text().replace('"', "").splitlines() == ([",".join(names)] if form == "csv" else [])


def test_rows_are_those_of_the_warehouse_and_of_its_filters(voices: Settings, exported: Exported) -> None:
    with duckdb.connect(voices.warehouse, read_only=True) as con:
        wanted = con.execute("SELECT * FROM gold.gender_windows WHERE gender = 'male'").to_arrow_table()
    found = pq.read_table(exported(voices, "gold.gender_windows", "parquet", where="gender = 'male' -- men"))
    key = [("drop_date", "ascending"), ("file_id", "ascending"), ("window_index", "ascending")]
    assert wanted.num_rows and found.sort_by(key).equals(wanted.sort_by(key))


@pytest.mark.parametrize(
    "where",
    [
        "true) UNION ALL (SELECT * FROM gold.clips",
        "true; DELETE FROM gold.clips",
        "true); COPY gold.clips TO 'stolen.csv'; --",
        "true ORDER BY 1",
        "kept, split",
        "/* ",
        "",
        " ",
        "no_such = 1",
        "count(*) > 1",
        "path = $1",
        "CAST(path AS INTEGER) = 1",
        "EXISTS (SELECT 1 FROM read_csv('/etc/passwd'))",
        "EXISTS (SELECT 1 FROM glob('/etc/*'))",
        "(SELECT count(*) FROM read_text('/etc/hostname')) > 0",
    ],
)
@pytest.mark.parametrize("form", ["csv", "m3u"])
def test_a_condition_is_one_expression_on_the_warehouse(shelf: Settings, tmp_path: Path, where: str, form: str) -> None:
    with pytest.raises(RequestError, match="--where"):
        export(shelf, table=TABLE, to=str(tmp_path / "x"), form=form, where=where)
    assert list(tmp_path.iterdir()) == []


def test_a_condition_may_look_at_other_tables(shelf: Settings, exported: Exported) -> None:
    where = "file_id IN (SELECT file_id FROM silver.media WHERE channels = 2)"
    assert pq.read_table(exported(shelf, TABLE, "parquet", where=where))["path"].to_pylist() == [NAMES["odd"]]
