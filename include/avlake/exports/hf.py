"""Hugging Face datasets: Parquet shards with the media inside, and a dataset card, as `load_dataset` and the Hub read.

datasets.load_dataset("FOLDER")        hf upload ORGANISATION/NAME FOLDER --repo-type dataset
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avlake.errors import RequestError, WorkError
from avlake.exports.recording import Example
from avlake.exports.recordings import Recordings
from avlake.settings import MIB

# A row group: what is in memory, for each split. Values are those in lists; one takes about a hundred bytes here.
GROUP_BYTES, GROUP_ROWS, GROUP_VALUES = 16 * MIB, 1000, 500_000
# https://huggingface.co/docs/hub/repositories-licenses, of those that data comes under
HUB_LICENCES = {
    *(
        "apache-2.0",
        "mit",
        "unknown",
        "cc0-1.0",
        "odbl",
        "pddl",
        "odc-by",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
    ),
    *("gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "gfdl", "cdla-sharing-1.0"),
    *("cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
}
CELL_MAX_BYTES = (1 << 31) - 1 - MIB  # Arrow counts the bytes of a binary column in 32 bits


def write(recordings: Recordings, folder: Path, *, shard_bytes: int) -> None:
    """`data/<split>-00000-of-00003.parquet`, about `shard_bytes` each, one example a row; and README.md.

    The media are in a column `audio` or `video`, after the table's own; both, with NULLs, where a table has both.

    Raises:
        RequestError: if the table has a column of that name.
        WorkError: for a file of 2 GiB or more, which a cell cannot hold.
    """
    from datasets import Audio, Features, Video

    if taken := set(recordings.kinds) & set(recordings.schema.names):
        raise RequestError(f"{recordings.table} has a column {taken.pop()} already; export it in another format")
    features = Features.from_arrow_schema(recordings.schema.remove_metadata())
    for kind in recordings.kinds:
        features[kind] = Video() if kind == "video" else Audio()
    (folder / "data").mkdir()
    with ExitStack() as opened:
        shards = {
            split: opened.enter_context(closing(_Shards(folder / "data", split, features.arrow_schema, shard_bytes)))
            for split in recordings.splits
        }
        for recording in recordings:
            for example in recording.examples():
                shards[example.split].add(example, recording.kind)
    for shard in shards.values():
        shard.name()
    (folder / "README.md").write_text(card(recordings), encoding="utf-8")


class _Shards:
    """The Parquet files of one split, one after the other; how many there are is known at the end."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema, shard_bytes: int) -> None:
        self._folder, self._split, self._schema, self._shard_bytes = folder, split, schema, shard_bytes
        self._paths: list[Path] = []
        self._writer = self._next()
        self._rows: list[dict[str, Any]] = []
        self._held = self._written = self._values = 0

    def add(self, example: Example, kind: str) -> None:
        if example.size_bytes > CELL_MAX_BYTES:
            raise WorkError(
                f"{example.name}: {example.size_bytes / 2**30:.1f} GiB is more than a Parquet cell holds; "
                "export it as webdataset or lhotse"
            )
        values = sum(len(value) for value in example.row.values() if isinstance(value, list))
        full = len(self._rows) == GROUP_ROWS or self._values + values > GROUP_VALUES
        if self._rows and (full or self._held + example.size_bytes > GROUP_BYTES):
            self._flush()
        so_far = self._written + self._held
        if so_far and so_far + example.size_bytes > self._shard_bytes:
            self._flush()
            self._writer.close()
            self._writer, self._written = self._next(), 0
        self._rows.append({**example.row, kind: {"bytes": example.file.read(), "path": example.name}})
        self._held += example.size_bytes
        self._values += values

    def close(self) -> None:
        try:
            self._flush()
            self._writer.close()
        finally:
            self._writer.is_open = False  # else it would try again when it is collected, and print what that raises

    def name(self) -> None:
        for i, path in enumerate(self._paths):
            path.rename(path.with_name(f"{self._split}-{i:05d}-of-{len(self._paths):05d}.parquet"))

    def _next(self) -> pq.ParquetWriter:
        self._paths.append(self._folder / f"{self._split}-{len(self._paths):05d}.tmp")
        own = [f.name for f in self._schema if not pa.types.is_nested(f.type)]
        return pq.ParquetWriter(
            self._paths[-1],
            self._schema,
            use_dictionary=[name for name in own if self._schema.field(name).type == pa.string()],  # it slows floats
            compression=dict.fromkeys(own, "zstd"),
            write_statistics=own,  # least and greatest of the media would cost six times their size in memory
        )

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._written, self._held, self._values = [], self._written + self._held, 0, 0


def card(recordings: Recordings) -> str:
    """The dataset card: its configuration for `load_dataset`, where the rows are from, and their licences."""
    licences = sorted({part["licence"] or "unknown" for part in recordings.summary})
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in recordings.splits:
        lines += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    if licences:
        lines += ["license:", *(f"- {name}" for name in sorted({_hub_licence(name) for name in licences}))]
    lines += ["tags:", *(f"- {kind}" for kind in recordings.kinds), "---", "", f"# {recordings.table}", ""]
    lines += [f"Exported by avlake: {recordings.rows} rows. `export.json` says from what, and when.", ""]
    lines += _table(recordings, "split")
    lines += ["## Sources and licences", "", *_table(recordings, "dataset", "licence")]
    windows = "window_start_s" in recordings.schema.names
    lines += ["## Use it", "", "```python", "from datasets import Audio, Video, load_dataset", ""]
    lines += ['dataset = load_dataset("THIS FOLDER, OR ITS NAME ON THE HUB")']
    for kind in recordings.kinds:
        cast = f'dataset = dataset.cast_column("{kind}", {kind.title()}(decode=False))'
        lines.append(f"{cast}  # bytes; decoding them needs torchcodec")
    lines += ["```", ""]
    lines.append(
        "Each row is of a window: `audio` is that part of the recording, as WAV at its own rate; a video is whole."
        if windows
        else "Media are the bytes of the files as they were delivered."
    )
    return "\n".join([*lines, ""])


def _table(recordings: Recordings, *names: str) -> list[str]:
    heads = (*names, "rows", "files")
    rows = [[str(total[n]) for n in heads] for total in recordings.totals(*names)]
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)] + [""]


def _hub_licence(name: str) -> str:
    """An SPDX name as the Hub spells it; `other` where it has no such licence."""
    plain = name.lower().removesuffix("-or-later").removesuffix("-only")
    return plain if plain in HUB_LICENCES else "other"
