"""WebDataset: tar shards `<table>-<split>-000000.tar` of `<key>.<ending>` (the media) and `<key>.json` (the row).

Read them with `webdataset.WebDataset("FOLDER/gender_windows-train-{000000..000003}.tar")`. The same rows give the same
bytes: members are sorted and carry no times, owners or names of this machine.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import IO

from avlake.exports.recording import Example
from avlake.exports.recordings import Recordings
from avlake.output import plain

SHARD_EXAMPLES = 10_000


def write(recordings: Recordings, folder: Path, *, shard_bytes: int) -> None:
    """One example a row, in shards of at most `shard_bytes` (or one example) and 10,000 examples for each split."""
    name = recordings.table.partition(".")[2]
    shards = {split: _Shards(folder, f"{name}-{split}", shard_bytes) for split in recordings.splits}
    try:
        for recording in recordings:
            for example in recording.examples():
                shards[example.split].add(example)
    finally:
        for shard in shards.values():
            shard.close()


class _Shards:
    """The tar files of one split, one after the other."""

    def __init__(self, folder: Path, stem: str, shard_bytes: int) -> None:
        self._folder, self._stem, self._shard_bytes = folder, stem, shard_bytes
        self._opened = 0
        self._next()

    def add(self, example: Example) -> None:
        row = json.dumps(plain(example.row), ensure_ascii=False).encode()
        size = example.size_bytes + len(row)
        if self._examples and (self._size + size > self._shard_bytes or self._examples == SHARD_EXAMPLES):
            self.close()
            self._next()
        self._member(example.name, example.size_bytes, example.file)
        self._member(f"{example.id}.json", len(row), io.BytesIO(row))
        self._size += size
        self._examples += 1

    def close(self) -> None:
        self._tar.close()

    def _next(self) -> None:
        path = self._folder / f"{self._stem}-{self._opened:06d}.tar"
        self._tar = tarfile.TarFile(path, "w", format=tarfile.GNU_FORMAT)
        self._opened += 1
        self._size = self._examples = 0

    def _member(self, name: str, size: int, file: IO[bytes]) -> None:
        info = tarfile.TarInfo(name)  # its times, owner and group are 0
        info.size = size
        self._tar.addfile(info, file)
