"""Recordings in the rows of a Parquet file, as data sets on the Hugging Face hub keep them, read like an archive.

A recording is a struct with a field `bytes` and usually one `path`. Each row that has bytes is a member, named by its
path, or by its row's number (from 0, six digits) where it has none; an ending that says nothing of audio or video is
completed by what the bytes begin with. One more member, the last, is `rows.csv`: a line for each row, with the member's
name (`member`, empty for a row without bytes, which is none), the path as it was given (`path`) and all columns that
are not recordings, a class by its name, lists and structs as JSON.

A file is read in row groups, a row at a time; memory holds a page or two of the column of recordings, which writers
make of at most some hundred rows. A Parquet file without such a column has no members and is a file as any other.
Otherwise any problem condemns the whole file, with the words and the limits of `avlake.media.archives`. Of several
columns of recordings the first counts, before others one that is called `audio` or `video`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from avlake.errors import Quarantined
from avlake.media.limits import Budget, Limits, checked_name
from avlake.media.media_types import is_recording
from avlake.settings import MIB

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ROWS = "rows.csv"  # the member that holds the other columns
MAGIC = b"PAR1"
NAMED = ("audio", "video")
SNIFFED = (  # where, what, and the ending it stands for
    (0, b"RIFF", "wav"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"\xff\xfb", "mp3"),
    (0, b"\xff\xf3", "mp3"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "webm"),
    (0, b"FORM", "aiff"),
)


def members(path: Path, limits: Limits) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and contents of each member, in stored order; the contents can be read until the next is asked for.

    Raises:
        Quarantined: `truncated_archive`, `malformed_archive`, `not_an_archive`, `empty_archive`, `too_many_members`,
            `archive_too_large`, `suspicious_ratio`, `unsafe_path` or `duplicate_member`; possibly only after the last.
    """
    _check_ends(path)
    with _condemned():
        import pyarrow.parquet as pq

        # Unbuffered, a whole column of a row group would be in memory at once.
        with pq.ParquetFile(path, buffer_size=MIB, pre_buffer=False) as file:
            column = _column(file.schema_arrow)
            if column is not None:
                yield from _members(file, column, Budget(path.stat().st_size, limits), limits)


def _members(file: pq.ParquetFile, column: str, budget: Budget, limits: Limits) -> Iterator[tuple[str, int, IO[bytes]]]:
    if not file.metadata.num_rows:
        raise Quarantined("empty_archive", "no row inside")
    if file.metadata.num_rows > limits.max_members:
        raise Quarantined("too_many_members", f"{file.metadata.num_rows} rows, and at most {limits.max_members} may be")
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    budget.reserve(sum(max(0, group.total_byte_size) for group in groups))  # as declared, before anything is unpacked
    others = {field.name: field.type for field in file.schema_arrow if _is_said(field.type)}
    classes = _classes(file.schema_arrow.metadata)
    seen = {ROWS}
    with tempfile.SpooledTemporaryFile(max_size=MIB) as rows:
        size = _add(rows, ["member", "path", *others], budget)
        batches = file.iter_batches(batch_size=1, columns=[column, *others], use_threads=False)
        for row, batch in enumerate(batches):
            if row >= limits.max_members:
                raise Quarantined("too_many_members", f"more than {limits.max_members} rows")
            content, given = _recording(batch[column])
            name = ""
            if content is not None:
                name = _name(given, row, content)
                if name in seen:
                    raise Quarantined("duplicate_member", f"{name[:200]!r} is there twice")
                seen.add(name)
                budget.spend(content.size)
                yield name, content.size, pa.BufferReader(content)
            said = (_text(batch[other], classes.get(other)) for other in others)
            size += _add(rows, [name, given, *said], budget)
        rows.seek(0)
        yield ROWS, size, rows


def _check_ends(path: Path) -> None:
    """A file that was cut short has no footer: told apart here, for the reader's own errors are of many kinds."""
    with path.open("rb") as file:
        first = file.read(len(MAGIC))
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - len(MAGIC)))
        last = file.read()
    if first != MAGIC:
        raise Quarantined("not_an_archive", "no Parquet file: it does not begin as one")
    if last != MAGIC or size < 3 * len(MAGIC):
        raise Quarantined("truncated_archive", "the file ends too early: it has no footer")


@contextlib.contextmanager
def _condemned() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, ValueError, OverflowError, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # the disk failed, not the file
        raise Quarantined("malformed_archive", f"cannot be read ({' '.join(str(error).split())[:300]})") from None


def _column(schema: pa.Schema) -> str | None:
    """The column of recordings; None if there is none.

    Raises:
        Quarantined: for two columns of one name.
    """
    if len(set(schema.names)) != len(schema.names):
        raise Quarantined("malformed_archive", "two columns have one name")
    pictures = {name for name, feature in _features(schema.metadata).items() if feature.get("_type") == "Image"}
    found = [field.name for field in schema if _is_recording(field.type) and field.name not in pictures]
    return next((name for name in found if name in NAMED), found[0] if found else None)


def _is_recording(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind) or (at := kind.get_field_index("bytes")) < 0:
        return False
    return pa.types.is_binary(kind.field(at).type) or pa.types.is_large_binary(kind.field(at).type)


def _is_said(kind: pa.DataType) -> bool:
    """Is a column of this type about a recording, and none itself?"""
    return "binary" not in str(kind)


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, dict[str, Any]]:
    """By column, what the library `datasets` wrote of it."""
    try:
        found = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {str(name): feature for name, feature in found.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _classes(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """By column, the names that its numbers stand for."""
    features = {name: f.get("names") for name, f in _features(metadata).items() if f.get("_type") == "ClassLabel"}
    return {name: list(map(str, names)) for name, names in features.items() if isinstance(names, list)}


def _recording(column: pa.StructArray) -> tuple[pa.Buffer | None, str]:
    """The bytes of the column's one row, and its path."""
    whole, at = column[0], column.type.get_field_index("path")
    content = column.field("bytes")[0]
    given = column.field(at)[0].as_py() if at >= 0 else None
    buffer = content.as_buffer() if whole.is_valid and content.is_valid else None
    return buffer, given if isinstance(given, str) and whole.is_valid else ""


def _name(given: str, row: int, content: pa.Buffer) -> str:
    name = checked_name(given) if given else f"{row:06}"
    if is_recording(name, *NAMED):
        return name
    head = content[:16].to_pybytes()
    ending = next((ending for at, magic, ending in SNIFFED if head[at:].startswith(magic)), None)
    return f"{name}.{ending}" if ending else name


def _text(column: pa.Array, classes: list[str] | None) -> str:
    """The column's one value as text; nothing where it is NULL."""
    if not column[0].is_valid:
        return ""
    if classes is not None and pa.types.is_integer(column.type):
        number = column[0].as_py()
        return classes[number] if 0 <= number < len(classes) else ""
    if pa.types.is_nested(column.type):
        return json.dumps(column[0].as_py(), default=str, ensure_ascii=False)
    return str(column.cast(pa.string())[0].as_py())


def _add(rows: Any, values: list[str], budget: Budget) -> int:
    """Write a line; returns its bytes."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    data = line.getvalue().encode()
    budget.spend(len(data))
    rows.write(data)
    return len(data)
