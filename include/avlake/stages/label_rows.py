"""The rows of a table that somebody else wrote, CSV or JSON: texts without spaces around them, and where each is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from avlake.errors import RequestError
from avlake.storage import open_store

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
LARGEST_BYTES = 256 * 2**20
MOST_ROWS = 1_000_000
LONGEST_WORD = 40  # characters of a value in a message
Row = Mapping[str, str]
Rows = Sequence[tuple[str, Row]]  # `line 3` or `entry 3`, and its fields by column, in small letters


def rows_of(file: str) -> Rows:
    """The rows of a file, a path or an object store's URI: CSV with a header, a JSON array, or JSON lines.

    Raises:
        RequestError: naming the file and the line of what cannot be read.
    """
    text = _text(file)
    found: list[tuple[str, Row]] = []
    for where, row in _objects(text, file) if text.lstrip()[:1] in ("[", "{") else _records(text, file):
        if len(found) == MOST_ROWS:
            raise RequestError(f"{file} has more than {MOST_ROWS} rows; import it in parts")
        found.append((where, row))
    return found


def short(text: str) -> str:
    """A text for a message, quoted."""
    return repr(text if len(text) <= LONGEST_WORD else f"{text[:LONGEST_WORD]}...")


def _text(file: str) -> str:
    where = file if "://" in file else str(Path(file).expanduser().absolute())
    folder, _, name = where.rpartition("/")
    try:
        with open_store(folder or "/", setting="FILE").open(name) as opened:
            data = opened.read(LARGEST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise RequestError(f"there is no file {file}") from None
    if len(data) > LARGEST_BYTES:
        raise RequestError(f"{file} is larger than {LARGEST_BYTES // 2**20} MiB; import it in parts")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RequestError(f"{file}, line {line}: not UTF-8 text; save it as UTF-8") from None


def _records(text: str, file: str) -> Iterator[tuple[str, Row]]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        for separator, name in SEPARATORS.items():
            if len(header) == 1 and separator in header[0]:
                raise RequestError(f"{file}: its fields are separated by {name}; save it with commas")
        if twice := sorted({name for name in header if name and header.count(name) > 1}):
            raise RequestError(f"{file} has the column {', '.join(twice)} twice")
        for fields in lines:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                raise RequestError(
                    f"{file}, line {lines.line_num}: {len(fields)} fields under {len(header)} columns; "
                    "quote values with commas"
                )
            yield f"line {lines.line_num}", dict(zip(header, map(str.strip, fields), strict=True))
    except csv.Error as error:
        raise RequestError(f"{file}, line {lines.line_num}: {error}") from None


def _objects(text: str, file: str) -> Iterator[tuple[str, Row]]:
    """Of one array of objects, or of an object a line."""
    whole = text.lstrip().startswith("[")
    parts = [("", text)] if whole else ((f"line {n}", line) for n, line in enumerate(text.split("\n"), 1))
    for where, part in parts:
        if not part.strip():
            continue
        try:
            found = json.loads(part, object_pairs_hook=_object, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{', '.join(filter(None, (file, where)))}: not JSON: {error}") from None
        for number, entry in enumerate(found if whole else [found], 1):
            at = f"entry {number}" if whole else where
            if not isinstance(entry, dict):
                raise RequestError(f"{file}, {at}: not an object of columns and values")
            for name, value in entry.items():
                if isinstance(value, bool | list | dict):
                    raise RequestError(f"{file}, {at}, {short(name)}: not a text, a number or null")
            yield at, {name.strip().lower(): "" if v is None else str(v).strip() for name, v in entry.items()}


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")
