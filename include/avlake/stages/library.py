"""All clips' fingerprints on disk, and the pairs of clips that have hashes in common.

Memory holds one part of the keys, and where each clip's hashes lie; time grows with the number of clips, not of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.stages import bounded
from avlake.stages.matching import SHARE, SLACK_WORDS, Prints

if TYPE_CHECKING:
    import duckdb

PARTS_LOG2 = 6
RARE, BEFORE, BEFORE_COMMON = 64, 8, 2  # a row is paired with 8 before it with the same key, where 64 have it; else 2
HITS = 2  # keys in common at one lag, or next to it, before two clips are worth comparing
LAGS = 3  # at which they are: those with most keys in common
ROWS = 256  # fingerprints read at a time
TYPES: dict[str, np.dtype[Any]] = {"audio_hashes": np.dtype(np.uint32), "frame_hashes": np.dtype(np.uint64)}
KEY = np.dtype([("key", np.uint32), ("clip", np.int32), ("place", np.int32)])
Ints = np.ndarray[Any, np.dtype[np.int32]]
HIT = pa.schema({"a": pa.int32(), "b": pa.int32(), "lag": pa.int32()})
MIX = np.uint32(2654435769)  # Knuth's multiplicative hashing

# Ranked before they are listed: DuckDB sorts a list of 16 or more in 48 KB of its own, for all pairs at once.
PAIRS = f"""
WITH lags AS (
    SELECT a, b, lag, sum(hits) OVER (
        PARTITION BY a, b ORDER BY lag RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING
    ) AS hits
    FROM (SELECT a, b, lag, count(*) AS hits FROM dup_hits GROUP BY ALL)
),
best AS (
    FROM lags WHERE hits >= {HITS}
    QUALIFY row_number() OVER (PARTITION BY a, b ORDER BY hits DESC, abs(lag), lag) <= {LAGS}
)
SELECT a, b, list(lag ORDER BY hits DESC, abs(lag), lag) AS lags FROM best GROUP BY a, b ORDER BY a, b
"""


class Library:
    """Fingerprints of `n` clips, numbered from 0, in files of a folder."""

    def __init__(self, folder: Path, n: int) -> None:
        self._folder = folder
        self._bounds = {name: np.full((n, 2), -1, np.int64) for name in TYPES}
        self._files: dict[str, Any] = {}
        self._kinds = np.zeros(n, np.uint8)
        self._lengths = np.zeros(n, np.int32)  # in places of keys

    def fill(self, con: duckdb.DuckDBPyConnection, query: str) -> None:
        """Take in the rows (i, audio_hashes, frame_hashes) of a query; once, before anything is read."""
        ends = dict.fromkeys(TYPES, 0)
        with ExitStack() as stack:
            files = {name: stack.enter_context((self._folder / name).open("wb")) for name in TYPES}
            parts = [stack.enter_context(self._part(part).open("wb")) for part in range(1 << PARTS_LOG2)]
            for batch in con.sql(query).to_arrow_reader(ROWS):
                clips = batch["i"].to_numpy()
                for name, dtype in TYPES.items():
                    known = batch[name].is_valid().to_numpy(zero_copy_only=False)
                    lengths = np.where(known, batch[name].value_lengths().fill_null(0).to_numpy(), 0)
                    stops = ends[name] + np.cumsum(lengths)
                    self._bounds[name][clips] = np.where(known, [stops - lengths, stops], -1).T
                    files[name].write(batch[name].flatten().to_numpy().astype(dtype).tobytes())
                    ends[name] = int(stops[-1])
                keys = self._keys(batch)
                belongs = (keys["key"] * MIX) >> np.uint32(32 - PARTS_LOG2)
                order = np.argsort(belongs, kind="stable")
                ordered = np.split(keys[order], np.searchsorted(belongs[order], np.arange(1, len(parts))))
                for part, rows in zip(parts, ordered, strict=True):
                    part.write(rows.tobytes())
        for name, dtype in TYPES.items():
            self._files[name] = np.memmap(self._folder / name, dtype, "r") if ends[name] else np.zeros(0, dtype)

    def __getitem__(self, clip: int) -> Prints:
        return Prints(self._hashes("audio_hashes", clip), self._hashes("frame_hashes", clip))

    def pairs(self, con: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, int, list[int]]]:
        """Pairs of clips a < b that have keys in common, and the lags from a's places to b's; by a, then b."""
        bounded.fill(con, "dup_hits", HIT, self._hits())
        for batch in con.sql(PAIRS).to_arrow_reader(bounded.ROWS):
            yield from zip(*(batch[name].to_pylist() for name in ("a", "b", "lags")), strict=True)

    def _hashes(self, name: str, clip: int) -> np.ndarray[Any, Any] | None:
        start, stop = self._bounds[name][clip]
        return None if start < 0 else np.asarray(self._files[name][start:stop])

    def _part(self, part: int) -> Path:
        return self._folder / f"keys-{part:02}"

    def _hits(self) -> Iterator[pa.RecordBatch]:
        for part in range(1 << PARTS_LOG2):
            rows = np.fromfile(self._part(part), KEY)
            rows = rows[np.lexsort((rows["place"], rows["clip"], rows["key"]))]
            _, which, counts = np.unique(rows["key"], return_inverse=True, return_counts=True)
            reach = np.where(counts <= RARE, BEFORE, BEFORE_COMMON)[which]
            for before in range(1, BEFORE + 1):
                one, other = rows[:-before], rows[before:]
                found = (one["key"] == other["key"]) & (before <= reach[before:])
                a, b, lag = one["clip"][found], other["clip"][found], (other["place"] - one["place"])[found]
                able = (a != b) & (self._kinds[a] == self._kinds[b]) & self._overlap(a, b, lag)
                yield pa.record_batch([a[able], b[able], lag[able]], schema=HIT)

    def _overlap(self, a: Ints, b: Ints, lag: Ints) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Do the clips have so much in common at this lag that they could be duplicates?"""
        one, other = self._lengths[a], self._lengths[b]
        return np.minimum(one, other - lag) - np.maximum(0, -lag) >= SHARE * np.minimum(one, other) - SLACK_WORDS

    def _keys(self, batch: pa.RecordBatch) -> np.ndarray[Any, Any]:
        """The keys of a batch of fingerprints, as rows of KEY."""
        found = [np.empty(0, KEY)]
        for i, *hashes in zip(batch["i"].to_pylist(), *(batch[name] for name in TYPES), strict=True):
            typed = zip(hashes, TYPES.values(), strict=True)
            prints = Prints(*(np.asarray(h.values).view(t) if h.is_valid else None for h, t in typed))
            keys, places = prints.keys()
            rows = np.empty(len(keys), KEY)
            rows["key"], rows["clip"], rows["place"] = keys, i, places
            found.append(rows)
            self._kinds[i], self._lengths[i] = np.packbits(prints.kind)[0], prints.length
        return np.concatenate(found)
