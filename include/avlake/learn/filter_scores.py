"""Decisions over clips against what people hear in them: precision, recall, curves, histograms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avlake.learn.calibration import EFFECTS
from avlake.learn.metrics import wilson
from avlake.pipelines import get_pipeline
from avlake.thresholds import SoundEffectsThresholds

if TYPE_CHECKING:
    import duckdb

Array = np.ndarray[Any, Any]
PIPELINE = "sound_effects"
BINS, POINTS = 20, 200

PANNS_SCORES = """
SELECT file_id,
    list_avg(coalesce(max(speech::DOUBLE, 3) FILTER (trusted), max(speech::DOUBLE, 3))) AS speech_score,
    list_avg(coalesce(max(music::DOUBLE, 3) FILTER (trusted), max(music::DOUBLE, 3))) AS music_score
FROM silver.panns_tags SEMI JOIN {table} USING (dataset, drop_date, file_id) GROUP BY file_id
"""


@dataclass(frozen=True)
class Heard:
    """The rows of gold.sound_effects, (n,) each, by file; figures are NaN and texts None where unknown.

    Paths are those of labelled clips only.
    """

    file_ids: Array
    paths: Array
    sound: Array
    human: Array
    reasons: Array
    kept: Array
    speech_score: Array
    music_score: Array
    speech_ratio: Array
    speech_s: Array
    p_sfx: Array
    threshold: Array

    @property
    def labelled(self) -> Array:
        return np.array([sound is not None for sound in self.human], bool)

    @property
    def is_sfx(self) -> Array:
        """Do people hear nothing but effects? False where nobody has said."""
        return np.array([sound == EFFECTS for sound in self.human], bool)

    def row(self, i: int) -> dict[str, Any]:
        """One clip, for people."""
        figures = {name: getattr(self, name)[i] for name in ("speech_score", "music_score", "speech_ratio", "p_sfx")}
        return {
            "path": self.paths[i],
            "sound": self.sound[i],
            "human_sound": self.human[i],
            "kept": bool(self.kept[i]),
            **{name: float(value) if np.isfinite(value) else None for name, value in figures.items()},
        }


@dataclass(frozen=True)
class Decided:
    """One decision on every clip: (n,) kept, and a score that rises with its being right; NaN where not measured."""

    name: str
    kept: Array
    score: Array
    threshold: float | None = None
    why_not: str | None = None

    @property
    def measured(self) -> Array:
        return np.isfinite(self.score)


def thresholds(con: duckdb.DuckDBPyConnection) -> SoundEffectsThresholds:
    """Those that gold was decided by, as the warehouse says; the defaults where nobody has chosen any."""
    known = con.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'governance' "
        "AND table_name = 'thresholds'"
    ).fetchall()
    query = 'SELECT values FROM governance.thresholds WHERE pipeline = ? ORDER BY "when" DESC LIMIT 1'
    rows = con.execute(query, [PIPELINE]).fetchall() if known else []
    found = get_pipeline(PIPELINE).decided(json.loads(rows[0][0]) if rows else None)
    assert isinstance(found, SoundEffectsThresholds)
    return found


def heard(con: duckdb.DuckDBPyConnection, table: str) -> Heard:
    texts = "file_id, CASE WHEN human_sound IS NOT NULL THEN path END, sound, human_sound, reject_reason"
    figures = "speech_score, music_score, speech_ratio, speech_s, p_sfx, calibrated_threshold"
    rows = con.execute(f"SELECT {texts}, kept, {figures} FROM {table} ORDER BY file_id").to_arrow_table()
    columns = [_texts(column) for column in rows.columns[:5]]
    columns.append(rows["kept"].to_numpy())
    columns += [column.cast("float64").to_numpy() for column in rows.columns[6:]]
    return Heard(*columns)


def _texts(column: Any) -> Array:
    """(n,) of an Arrow column, None for NULL; equal texts are one object."""
    coded = column.combine_chunks().dictionary_encode()
    different = np.array([*coded.dictionary.to_pylist(), None], object)
    return different[coded.indices.fill_null(len(different) - 1).to_numpy()]


def plain(clips: Heard, limits: SoundEffectsThresholds, name: str = "plain") -> Decided:
    """No speech and no music: both scores, and what the voice detector hears, below their limits."""
    speaks = (clips.speech_ratio >= limits.max_speech_ratio) | (clips.speech_s >= limits.max_speech_s)
    calm = (clips.speech_score < limits.max_speech_score) & (clips.music_score < limits.max_music_score)
    score = 1 - np.maximum(clips.speech_score, clips.music_score)
    score = np.where(speaks & np.isfinite(score), 0.0, score)
    return Decided(name, calm & ~speaks & np.isfinite(clips.speech_ratio), score)


def calibrated(clips: Heard) -> Decided:
    if not np.isfinite(clips.p_sfx).any():
        return Decided("calibrated", np.zeros(len(clips.paths), bool), clips.p_sfx, None, "too few clips are labelled")
    known = np.isfinite(clips.threshold)
    others = clips.threshold[known & ~clips.labelled]  # all of them have the same
    threshold = float(others[0] if len(others) else clips.threshold[known].mean())
    return Decided("calibrated", clips.p_sfx >= clips.threshold, clips.p_sfx, threshold)


def panns(con: duckdb.DuckDBPyConnection, table: str, clips: Heard, limits: SoundEffectsThresholds) -> Decided | None:
    """The plain decision by PANNs' tags instead of YAMNet's, at the same limits; None where it tagged nothing."""
    there = con.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'silver' "
        "AND table_name = 'panns_tags'"
    ).fetchall()
    rows = con.execute(PANNS_SCORES.format(table=table)).fetchall() if there else []
    if not rows:
        return None
    found = {file_id: scores for file_id, *scores in rows}
    unknown = [np.nan, np.nan]
    scores = np.array([found.get(file_id, unknown) for file_id in clips.file_ids], float)
    other = Heard(**{**vars(clips), "speech_score": scores[:, 0], "music_score": scores[:, 1]})
    return plain(other, limits, "panns")


def compare(one: Decided, clips: Heard) -> dict[str, Any]:
    """Counts and shares on labelled clips; shares are None where there is nothing to divide by.

    A labelled clip that the decision could not measure is one that it does not keep; of PANNs, which is optional, only
    those count that it tagged.
    """
    which = clips.labelled & (one.measured if one.name == "panns" else True) & (one.why_not is None)
    y, kept = clips.is_sfx[which], one.kept[which]
    hits, wrong, missed = int((y & kept).sum()), int((~y & kept).sum()), int((y & ~kept).sum())
    score = np.where(np.isfinite(one.score[which]), one.score[which], -1.0)
    sounds = clips.human[which]
    errors = []
    for sound in sorted({str(sound) for sound in sounds}):
        same = sounds == sound
        errors.append({"sound": sound, "wrong": int((kept != y)[same].sum()), "of": int(same.sum())})
    total = 2 * hits + wrong + missed
    return {
        "n": int(which.sum()),
        "true_positive": hits,
        "false_positive": wrong,
        "false_negative": missed,
        "true_negative": int((~y & ~kept).sum()),
        "precision": _share(hits, hits + wrong),
        "recall": _share(hits, hits + missed),
        "f1": {"value": 2 * hits / total, "ci_low": None, "ci_high": None} if total else None,
        "average_precision": average_precision(score, y),
        "errors": [error for error in errors if error["wrong"]],
    }


def average_precision(score: Array, y: Array) -> float | None:
    """Mean of the precision at each positive, the highest scores first, ties taken together; None without positives."""
    if not y.any():
        return None
    precision, recall, _ = _points(score, y)
    return float(np.sum(np.diff(np.append(0.0, recall)) * precision))


def curve(one: Decided, clips: Heard) -> list[dict[str, float]]:
    """Precision and recall on labelled clips at so many thresholds of the score, rising; empty without labels."""
    which = clips.labelled & one.measured
    y = clips.is_sfx[which]
    if not y.any():
        return []
    precision, recall, at = _points(one.score[which], y)
    some = np.unique(np.linspace(0, len(at) - 1, min(POINTS, len(at))).astype(int))[::-1]
    return [{"threshold": float(at[i]), "precision": float(precision[i]), "recall": float(recall[i])} for i in some]


def histograms(clips: Heard) -> dict[str, dict[str, list[float]]]:
    """Counts of each score in equal bins of [0, 1]: of all clips, and of the labelled ones by what people hear."""
    found = {}
    for name in ("speech_score", "music_score", "p_sfx"):
        values = getattr(clips, name)
        known = np.isfinite(values)
        groups = {"all": known, "sfx": known & clips.is_sfx, "other": known & clips.labelled & ~clips.is_sfx}
        found[name] = {"edges": np.linspace(0, 1, BINS + 1).tolist()}
        for group, which in groups.items():
            found[name][group] = np.histogram(values[which], BINS, (0, 1))[0].tolist()
    return found


def _points(score: Array, y: Array) -> tuple[Array, Array, Array]:
    """Precision, recall and threshold at each score that occurs, the highest first."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) < 0, True))
    hits = np.cumsum(y[order])[ends]
    return hits / (ends + 1), hits / y.sum(), score[order][ends]


def _share(count: int, n: int) -> dict[str, float] | None:
    if not n:
        return None
    low, high = wilson(count, n)
    return {"value": count / n, "ci_low": low, "ci_high": high}
