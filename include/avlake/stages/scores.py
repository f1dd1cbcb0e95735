"""Scores: clips that were measured elsewhere, read from a CSV file, for gold to decide over as over its own.

The file has a header and at least the columns of `COLUMNS`, in any order; others are ignored. An empty field was not
measured. The rows replace those of the file before, whole: silver.scores is always one file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.record import record
from avlake.storage import open_store
from avlake.tables import SCORES

RATIOS = ("face_presence_ratio", "speech_ratio")  # 0 to 1
METRICS = ("face_presence_ratio", "avg_blur_score", "speech_ratio")
COLUMNS = ("filepath_video", "speaker_id", *METRICS)
DATASET = "scores"
NO_DROP = "1970-01-01"  # scores are of no drop; the day of reading would make gold another every day
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class ScoresReport:
    changed: bool
    rows: int


def read(settings: Settings, *, file: str, run_id: str) -> ScoresReport:
    """Make the rows of `file`, a path or an object store's URI, those of silver.scores; empty text leaves it none.

    Raises:
        RequestError: for a file that is not there, lacks a column, holds no rows, or has a value that cannot be,
            naming the line and the column; silver.scores stays as it was.
    """
    began, lake = time.perf_counter(), Lake.open(settings)
    version = lake.table_version(SCORES)
    rows = _table(file) if file else SCORES.schema.empty_table()
    held = lake.scan(SCORES.name)
    if rows.equals(SCORES.schema.empty_table() if held is None else held.to_table()):
        return ScoresReport(False, rows.num_rows)
    lake.replace_table(SCORES, [rows], expected_version=version)
    record(lake, run_id=run_id, stage="scores", seconds=time.perf_counter() - began, files=rows.num_rows)
    return ScoresReport(True, rows.num_rows)


def _table(file: str) -> pa.Table:
    """The file as rows of silver.scores, in its order."""
    rows, batches = _rows(_text(file), file), []
    same = {"dataset": DATASET, "drop_date": NO_DROP, "source": file.rpartition("/")[2]}
    while held := list(islice(rows, BATCH_ROWS)):
        batches.append(pa.Table.from_pylist([row | same for row in held], schema=SCORES.schema))
    return pa.concat_tables(batches)


def _text(file: str) -> str:
    where = file if "://" in file else str(Path(file).expanduser().absolute())
    folder, _, name = where.rpartition("/")
    try:
        return open_store(folder or "/", setting="scores").read(name).decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise RequestError(f"scores: there is no file {file}") from None
    except UnicodeDecodeError:
        raise RequestError(f"scores: {file} is not UTF-8 text; save it as CSV, UTF-8") from None


def _rows(text: str, file: str) -> Iterator[dict[str, Any]]:
    """Each row as the table has it."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from _checked(lines, file)
    except csv.Error as error:
        raise RequestError(f"scores: {file}, line {lines.line_num}: {error}") from None


def _checked(lines: Any, file: str) -> Iterator[dict[str, Any]]:
    header = [name.strip() for name in next(lines, [])]
    if lacking := [name for name in COLUMNS if name not in header]:
        there = f"it has {', '.join(header)}" if any(header) else "it is empty"
        for separator, name in SEPARATORS.items():
            if len(header) == 1 and separator in header[0]:
                there = f"its fields are separated by {name}: save it with commas"
        raise RequestError(f"scores: {file} lacks the {_columns(lacking)}; {there}")
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise RequestError(f"scores: {file} has the {_columns(twice)} twice")
    at = {name: header.index(name) for name in COLUMNS}
    seen: dict[str, int] = {}  # the line of each file_id
    for fields in lines:
        if not fields:
            continue  # a line left blank
        where = f"scores: {file}, line {lines.line_num}"
        if len(fields) != len(header):
            raise RequestError(f"{where}: {len(fields)} fields under {len(header)} columns; quote values with commas")
        path, speaker = (fields[at[name]].strip() for name in COLUMNS[:2])
        if not path:
            raise RequestError(f"{where}: filepath_video is empty")
        file_id = hashlib.sha256(f"{DATASET}/{path}".encode()).hexdigest()[:32]
        if file_id in seen:
            raise RequestError(f"{where}: filepath_video {path} is on line {seen[file_id]} already")
        seen[file_id] = lines.line_num
        metrics = {name: _number(fields[at[name]], name, where) for name in METRICS}
        yield {"file_id": file_id, "path": path, "subject_id": speaker or None, **metrics}
    if not seen:
        raise RequestError(f"scores: {file} has a header and no rows")


def _columns(names: list[str]) -> str:
    return f"column{'s' * (len(names) > 1)} {', '.join(names)}"


def _number(text: str, name: str, where: str) -> float | None:
    if not (text := text.strip()):
        return None
    most = 1.0 if name in RATIOS else math.inf
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most or math.isinf(value) or "_" in text:  # Python reads 1_000, others do not
        wanted = "a number from 0 to 1" if name in RATIOS else "a number, 0 or more"
        raise RequestError(f"{where}: {name} is {text!r}, not {wanted}; leave empty what was not measured")
    return value
