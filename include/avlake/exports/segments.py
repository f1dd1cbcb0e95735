"""Parts of recordings cut out to be listened to, and a playlist of them that any player plays.

A playlist that points into whole recordings is played right by VLC alone, which knows where to start and stop. Small
recordings are no files of their own in the lake. So each part is a small WAV: one channel at the rate that all is
measured at, which is what a model has heard.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avlake.exports import m3u
from avlake.exports.cut import cut
from avlake.exports.recordings import Recordings
from avlake.exports.rows import Selection
from avlake.lake import Lake
from avlake.media.audio import SAMPLE_RATE

if TYPE_CHECKING:
    import duckdb

LONGEST_STEM = 60  # characters of a file's name


@dataclass(frozen=True)
class Part:
    """One part, by the row of the table that is about it."""

    file_id: str
    segment_index: int
    path: str
    start_s: float
    end_s: float
    title: tuple[str, ...] = ()  # what a listener is told beside path and times

    @property
    def key(self) -> tuple[str, int]:
        return self.file_id, self.segment_index

    def entry(self, file: str) -> list[str]:
        """Its lines in a playlist, where it is this file."""
        where = f"{self.start_s:.1f}-{self.end_s:.1f} s"
        return m3u.entry(file, (self.path, where, *self.title), self.end_s - self.start_s)


def file_names(parts: Sequence[Part]) -> list[str]:
    """A name for each, `0001_<stem>_<start>s.wav`, by which its row is found: the number is that of the row."""
    return [f"{number:04d}_{_stem(part.path)}_{part.start_s:.0f}s.wav" for number, part in enumerate(parts, start=1)]


def write_parts(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: str, files: Mapping[str, Part], folder: Path, scratch: Path
) -> None:
    """Cut parts out of their recordings.

    Args:
        con: the warehouse.
        table: has file_id, segment_index and the part's start_s and end_s.
        files: by the name that a part's WAV gets in `folder`.
        scratch: a folder for what is needed meanwhile.

    Raises:
        WorkError: naming the recording, if its bytes are not in the lake or cannot be decoded.
    """
    names: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name, part in files.items():
        names[part.key].append(name)
    if not names:
        return
    of: dict[str, list[int]] = defaultdict(list)
    for file_id, index in names:
        of[file_id].append(index)
    where = " OR ".join(
        f"(file_id = '{_id(file_id)}' AND segment_index IN ({', '.join(map(str, sorted(indices)))}))"
        for file_id, indices in sorted(of.items())
    )
    for recording in Recordings(Selection(con, table, where), lake, scratch):
        rows = sorted(recording.rows, key=lambda row: (row["start_s"], row["segment_index"]))
        spans = [(row["start_s"], row["end_s"]) for row in rows]
        with recording.open() as file:
            for row, wav in zip(rows, cut(file, spans, recording.path, mono_hz=SAMPLE_RATE), strict=True):
                for name in names[row["file_id"], row["segment_index"]]:
                    (folder / name).write_bytes(wav)


def _id(file_id: str) -> str:
    return re.sub(r"[^\w-]", "", file_id)


def _stem(path: str) -> str:
    stem = path.rpartition("/")[2].rpartition(".")[0] or path.rpartition("/")[2]
    return re.sub(r"[^\w-]", "_", stem)[:LONGEST_STEM]
