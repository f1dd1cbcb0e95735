"""A gold table as arrays to learn from, read by SQL."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avlake.errors import WorkError

if TYPE_CHECKING:
    import duckdb

Array = np.ndarray[Any, Any]

# What a gold table of windows knows of a row besides its measurements; every other column is a feature.
KEYS = frozenset(
    ["file_id", "dataset", "drop_date", "path", "subject_id", "window_index", "window_start_s", "window_end_s", "split"]
)
# Where a row comes from and on what terms: nothing is learned from it, so it changes no model.
PROVENANCE = frozenset(["licence", "source"])


@dataclass(frozen=True)
class Frame:
    """Windows in a fixed order; every array has one entry per window."""

    X: Array  # (n_windows, n_features) float32
    features: tuple[str, ...]
    y: Array  # (n_windows,) index into the task's classes
    group: Array  # whom or what the window comes from: never on both sides of a split
    item: Array  # file_id
    window: Array  # window_index in its file
    split: Array
    drop: Array  # dataset/drop_date

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, chosen: Array) -> Frame:
        """The windows named by an index or a mask."""
        return Frame(
            self.X[chosen],
            self.features,
            self.y[chosen],
            self.group[chosen],
            self.item[chosen],
            self.window[chosen],
            self.split[chosen],
            self.drop[chosen],
        )

    def at_most(self, n_windows: int) -> Frame:
        """About so many windows at most, spread evenly over groups and within each, for only groups are evidence."""
        _, member, sizes = np.unique(self.group, return_inverse=True, return_counts=True)
        if len(self) <= n_windows:
            return self
        each = max(k for k in range(1, n_windows + 1) if k == 1 or np.minimum(sizes, k).sum() <= n_windows)
        chosen = np.zeros(len(self), bool)
        for group in range(len(sizes)):
            rows = np.flatnonzero(member == group)
            chosen[rows[np.linspace(0, len(rows) - 1, min(each, len(rows))).astype(int)]] = True
        return self.rows(chosen)

    def columns(self, names: Sequence[str]) -> Array:
        """(n_windows, len(names)) of the named features, in that order."""
        place = {name: i for i, name in enumerate(self.features)}
        return self.X[:, [place[name] for name in names]]


def feature_columns(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The columns of a gold table that are measurements: every number with a fraction that is no key."""
    described = con.execute(f"DESCRIBE {table}").fetchall()
    return [name for name, kind, *_ in described if kind in ("FLOAT", "DOUBLE") and name not in KEYS]


def read_frame(
    con: duckdb.DuckDBPyConnection,
    table: str,
    *,
    label: str,
    classes: Sequence[str],
    group: str,
    where: str = "kept",
    values: Mapping[str, str] | None = None,
) -> Frame:
    """The windows of `table` for which `where` holds ($name stands for one of `values`), ordered by file and window.

    A label that is not one of `classes` is -1 in `y`.

    Raises:
        WorkError: if there is no such window, or a measurement is missing or not finite.
    """
    features = feature_columns(con, table)
    chosen = ", ".join(f'"{name}"' for name in features)
    query = f"""
        SELECT {label} AS label, {group} AS "group", file_id, window_index, split,
            dataset || '/' || drop_date AS "drop", {chosen}
        FROM {table} WHERE {where} ORDER BY file_id, window_index"""
    columns = con.execute(query, dict(values or {})).fetchnumpy()
    if not len(columns["file_id"]):
        raise WorkError(f"{table} has no window where {where}: run more drops first")
    X = np.column_stack([np.ma.filled(columns[name].astype(np.float32), np.nan) for name in features])
    broken = [features[i] for i in np.flatnonzero(~np.isfinite(X).all(axis=0))]
    if broken:
        raise WorkError(f"{table} holds missing or infinite values in {', '.join(broken[:5])}; curate again")
    text = {name: np.asarray(columns[name]).astype(str) for name in ("group", "file_id", "split", "drop")}
    codes = {name: i for i, name in enumerate(classes)}
    y = np.array([codes.get(value, -1) for value in np.ma.filled(columns["label"], None)])
    window = np.asarray(columns["window_index"], dtype=np.int64)
    return Frame(X, tuple(features), y, text["group"], text["file_id"], window, text["split"], text["drop"])


def content_hash(con: duckdb.DuckDBPyConnection, table: str) -> str:
    """A hash of all rows of a table, whatever their order: equal rows but for their provenance, equal hash."""
    columns = ", ".join(
        f'"{name}"' for name, *_ in con.execute(f"DESCRIBE {table}").fetchall() if name not in PROVENANCE
    )
    count, total, mixed = con.execute(
        f"SELECT count(*), sum(hash(t)::HUGEINT), bit_xor(hash(t)) FROM (SELECT {columns} FROM {table}) AS t"
    ).fetchone() or (0, 0, 0)
    return hashlib.sha256(f"{count}-{total}-{mixed}".encode()).hexdigest()[:16]
