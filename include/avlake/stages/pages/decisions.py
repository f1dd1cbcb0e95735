"""What decides over a clip, in numbers: the rules, today's thresholds, and what others would keep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avlake.learn.plots import Thresholded
from avlake.pipelines import get_pipeline
from avlake.thresholds import Thresholds

if TYPE_CHECKING:
    import duckdb

    Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Rule:
    """A clip is kept only if `metric` is at least the threshold; 0 asks for nothing, not even a measurement."""

    threshold: str
    metric: str  # a column of gold
    title: str
    is_share: bool
    marks: tuple[float, ...]  # other thresholds worth a thought

    def text(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        return f"{value:.3f}" if self.is_share else f"{value:.1f}"

    def distance(self, value: float | None, threshold: float) -> str:
        """How far a value lies above or below the threshold, with its sign; empty where there is none."""
        if value is None:
            return ""
        by = value - threshold
        text = f"{by:+.3f}" if self.is_share else f"{by:+.1f}"
        return f"{by:+.0e}" if by and not float(text) else text


SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
SHARPNESS = (0.0, 10.0, 25.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
RULES = (
    Rule("min_face_presence_ratio", "face_presence_ratio", "face", True, SHARES),
    Rule("min_blur_score", "avg_blur_score", "sharpness", False, SHARPNESS),
    Rule("min_speech_ratio", "speech_ratio", "speech", True, SHARES),
)


class Decisions:
    """Every clip of a gold table against every rule.

    Args:
        con: where the table is.
        table: its name there.
        thresholds: what it was decided by.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, table: str, thresholds: Thresholds) -> None:
        self.thresholds = {rule.threshold: float(getattr(thresholds, rule.threshold)) for rule in RULES}
        metrics = ", ".join(f"{rule.metric}::DOUBLE AS {rule.metric}" for rule in RULES)
        found = con.execute(
            f"""SELECT kept, {metrics}, dense_rank() OVER (ORDER BY coalesce(cluster, file_id)) - 1 AS cluster
            FROM {table} WHERE dataset != 'scores' OR duplicate_of IS NULL"""  # the others were measured: that decides
        ).fetchnumpy()
        self.kept = np.asarray(found["kept"], bool)
        self._cluster = np.asarray(found["cluster"], np.int64)
        self.values: dict[str, Floats] = {
            rule.metric: np.ma.filled(np.ma.asarray(found[rule.metric], np.float64), np.nan) for rule in RULES
        }

    def kept_at(self, rule: Rule, asked: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
        """How many clips are kept at each of these thresholds (n,), while the others stay.

        Of a cluster of duplicates that is one clip, if any of them meets all thresholds.
        """
        eligible = np.ones(len(self.kept), bool)
        for other in RULES:
            if other is not rule and (least := self.thresholds[other.threshold]):
                eligible &= self.values[other.metric] >= least
        best = np.full(self._cluster.max(initial=-1) + 1, -np.inf)
        values = np.nan_to_num(self.values[rule.metric], nan=-1.0)  # below any threshold but 0
        np.maximum.at(best, self._cluster[eligible], values[eligible])
        best = np.sort(best[best > -np.inf])
        return np.where(asked == 0, best.size, best.size - np.searchsorted(best, asked, side="left"))

    def keep_counts(self, rule: Rule) -> list[dict[str, Any]]:
        """What some thresholds would keep, today's among them."""
        today = self.thresholds[rule.threshold]
        asked = sorted({*rule.marks, today})
        counts = self.kept_at(rule, np.array(asked)).tolist()
        return [{"asked": a, "kept": n, "today": a == today} for a, n in zip(asked, counts, strict=True)]

    def drawn(self, rule: Rule) -> Thresholded:
        return Thresholded(
            rule.title, self.values[rule.metric], self.kept, self.thresholds[rule.threshold], rule.is_share
        )


def decided_by(con: duckdb.DuckDBPyConnection, pipeline: str) -> Thresholds:
    """The thresholds that a warehouse's gold was decided by."""
    latest: dict[str, Any] = {}
    if exists(con, "governance.thresholds"):
        found = con.execute(
            """SELECT "values" FROM governance.thresholds WHERE pipeline = ? ORDER BY "when" DESC LIMIT 1""",
            [pipeline],
        ).fetchone()
        latest = json.loads(found[0]) if found else {}
    return get_pipeline(pipeline).decided(latest)


def exists(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Is there a table or view of this name, `layer.table`, in the connection's own database?"""
    return bool(
        con.execute(
            """SELECT 1 FROM information_schema.tables
            WHERE table_catalog = current_database() AND table_schema || '.' || table_name = ?""",
            [name],
        ).fetchone()
    )
