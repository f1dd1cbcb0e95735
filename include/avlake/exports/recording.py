"""One recording with the rows that are of it, and its bytes."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from avlake.errors import WorkError
from avlake.exports.cut import cut
from avlake.lake import Lake
from avlake.stages.contents import object_name

WINDOW = ("window_start_s", "window_end_s")
SPANS = (WINDOW, ("start_s", "end_s"))  # columns of a row that is of a part, by either name
NO_SPLIT, UNASSIGNED = "train", "unassigned"  # of a table without splits, and of a row whose split is NULL
MEASURED = {"duration_s": "DOUBLE", "native_rate_hz": "INTEGER", "channels": "INTEGER"}
SAID = ("gender", "language", "prompt")


@dataclass(frozen=True)
class Example:
    """One row and its media, to be read before the next is asked for."""

    id: str  # unique in the export: letters, digits and `-`
    split: str
    row: dict[str, Any]
    name: str  # <id>.<ending>
    size_bytes: int
    file: IO[bytes]


@dataclass(frozen=True)
class Recording:
    """One file of one drop, with the rows that are of it, in the order of time."""

    id: str  # <drop_date>-<file_id>
    path: str
    kind: str  # audio | video
    sha256: str
    size_bytes: int
    facts: dict[str, Any]  # what silver.media measured, and the source said: see MEASURED and SAID, and subject_id
    rows: list[dict[str, Any]]
    source: Bytes

    @property
    def name(self) -> str:
        ending = self.path.rpartition("/")[2].rpartition(".")[2].lower()
        return f"{self.id}.{ending if re.fullmatch('[a-z0-9]+', ending) else 'bin'}"

    def row_id(self, index: int) -> str:
        return f"{self.id}-{index:05d}"

    def span(self, row: dict[str, Any]) -> tuple[float, float] | None:
        """Start and end of a row's part, in seconds; None where it is of the whole recording."""
        for start, end in SPANS:
            if (start_s := row.get(start)) is not None and (end_s := row.get(end)) is not None:
                return start_s, min(end_s, self.facts["duration_s"] or end_s)
        return None

    def examples(self) -> Iterator[Example]:
        """Each row with its media: a window's own part of an audio file, as WAV; else the file as it was delivered.

        Raises:
            WorkError: naming the file, if its bytes are not in the lake or cannot be decoded.
        """
        spans = [self.span(row) for row in self.rows]
        windows = [span for span in spans if span]
        if self.kind == "audio" and windows and len(windows) == len(spans):
            with self.open() as file:
                for i, data in enumerate(cut(file, windows, self.path)):
                    yield self._example(i, "wav", len(data), io.BytesIO(data))
            return
        for i in range(len(self.rows)):
            with self.delivered() as file:
                yield self._example(i, self.name.rpartition(".")[2], self.size_bytes, file)

    def _example(self, index: int, ending: str, size_bytes: int, file: IO[bytes]) -> Example:
        row, name = self.rows[index], self.row_id(index)
        return Example(name, split_of(row), row, f"{name}.{ending}", size_bytes, file)

    def save(self, path: Path) -> None:
        """Write the file as it was delivered."""
        with self.delivered() as file, path.open("wb") as out:
            shutil.copyfileobj(file, out)

    @contextmanager
    def delivered(self) -> Iterator[IO[bytes]]:
        """The whole file, to be read once from its beginning to its end.

        Raises:
            WorkError: at its end, if these are not the bytes that were delivered.
        """
        with self.open() as file:
            checked = _Checked(file)
            yield checked  # type: ignore[misc]
        if checked.sha256.hexdigest() != self.sha256:
            raise WorkError(f"{self.path}: the lake's bytes are not the ones delivered (sha256 {self.sha256})")

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The file, seekable."""
        try:
            with self.source.open(self.sha256) as file:
                yield file
        except (FileNotFoundError, KeyError):
            raise WorkError(
                f"{self.path}: its bytes are not in the lake any more; its drop was replaced since the warehouse was "
                "published: run the pipeline again, then export"
            ) from None


def split_of(row: dict[str, Any]) -> str:
    """A row's split, as it can be part of a file's name."""
    if "split" not in row:
        return NO_SPLIT
    return re.sub(r"\W", "_", str(row["split"])) if row["split"] else UNASSIGNED


class Bytes:
    """The bytes of one drop's files: large ones are objects of the lake, small ones were put into one local file."""

    def __init__(self, lake: Lake, spool: IO[bytes]) -> None:
        self._lake, self._spool = lake, spool
        self._where: dict[bytes, tuple[int, int]] = {}

    def add(self, contents: Iterable[tuple[str, bytes]]) -> None:
        for sha256, data in contents:
            self._where[bytes.fromhex(sha256)] = (self._spool.tell(), len(data))
            self._spool.write(data)

    def open(self, sha256: str) -> IO[bytes]:
        if (place := self._where.get(bytes.fromhex(sha256))) is None:
            return self._lake.store.open(object_name(sha256))
        self._spool.seek(place[0])
        return io.BytesIO(self._spool.read(place[1]))


class _Checked:
    """Hashes what is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data
