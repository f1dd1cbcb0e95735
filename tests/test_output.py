"""Rows as a table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from avlake.errors import RequestError
from avlake.output import show

ROWS = [("a,b", 1.5, None, datetime(2026, 9, 1, tzinfo=UTC)), ('say "x"', float("nan"), True, None)]


def shown(form: str, rows: list[tuple[object, ...]] = ROWS) -> str:
    out = io.StringIO()
    show(("name", "value", "flag", "at"), rows, form, out)
    return out.getvalue()


def test_json_is_one_array_that_any_parser_reads() -> None:
    first, second = json.loads(shown("json"))
    assert first == {"name": "a,b", "value": 1.5, "flag": None, "at": "2026-09-01T00:00:00+00:00"}
    assert second["value"] is None and second["flag"] is True
    assert json.loads(shown("json", [])) == []


def test_csv_has_a_header_and_survives_commas_and_quotes() -> None:
    rows = list(csv.DictReader(io.StringIO(shown("csv"))))
    assert [row["name"] for row in rows] == ["a,b", 'say "x"']
    assert rows[0]["flag"] == ""


def test_a_table_lines_up() -> None:
    header, rule, *rows = shown("table").splitlines()
    assert len(rows) == 2 and rule.startswith("─")
    assert rows[0].index("1.5") + 3 == header.index("value") + 5


def test_an_unknown_format_names_those_that_exist() -> None:
    with pytest.raises(RequestError, match="table, csv, json"):
        shown("xml")
