"""What the command line prints on standard output: rows, as a table for people, CSV or JSON for programs."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, TextIO

from avlake.errors import RequestError

FORMATS = ("table", "csv", "json")
WIDEST = 60


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinity become null, times ISO 8601, bytes hexadecimal."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case datetime() | date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case Mapping():
            return {str(k): plain(v) for k, v in value.items()}
        case list() | tuple():
            return [plain(v) for v in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def show(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: str, file: TextIO | None = None) -> None:
    """Print rows: `csv` with a header, `json` as one array of objects, `table` aligned for people."""
    out = file or sys.stdout
    if form == "json":
        found = [{name: plain(value) for name, value in zip(columns, row, strict=True)} for row in rows]
        print(json.dumps(found, indent=2, ensure_ascii=False), file=out)
    elif form == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(["" if v is None else plain(v) for v in row] for row in rows)
    elif form == "table":
        _show_table(columns, rows, out)
    else:
        raise RequestError(f"--format {form!r}: one of {', '.join(FORMATS)}")


def _show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], out: TextIO) -> None:
    cells = [[_cell(value) for value in row] for row in rows]
    numbers = [
        bool(rows) and all(isinstance(r[i], (int, float)) or r[i] is None for r in rows) for i in range(len(columns))
    ]
    widths = [max(len(c), *(len(r[i]) for r in cells), 0) if cells else len(c) for i, c in enumerate(columns)]

    def line(values: Sequence[str]) -> str:
        parts = (v.rjust(w) if right else v.ljust(w) for v, w, right in zip(values, widths, numbers, strict=True))
        return "  ".join(parts).rstrip()

    print(line(columns), file=out)
    print("  ".join("─" * w for w in widths), file=out)
    for row in cells:
        print(line(row), file=out)


def _cell(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
    text = " ".join(str(value).split())
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
