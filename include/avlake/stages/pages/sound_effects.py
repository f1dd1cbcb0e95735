"""The page on sound effects: what is kept and why, how good that is as people say, what to hear, what it costs.

Counts and scores are of gold as it is now; how good the decisions are is what the last training measured (see
`avlake.learn.filtering` for its files). Without labels of people nothing is said of that but that it is unknown.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from avlake.errors import WorkError
from avlake.exports.cut import cut
from avlake.exports.recordings import Recordings
from avlake.exports.rows import Selection
from avlake.learn import artifacts, filter_plots
from avlake.learn.base import VERDICT
from avlake.learn.data_card import describe, records
from avlake.learn.filter_plots import Point, Scores
from avlake.learn.frame import content_hash
from avlake.media.audio import SAMPLE_RATE
from avlake.pipelines import get_pipeline
from avlake.stages.pages.base import Page, html, left, quarantine
from avlake.stages.pages.clips import reasons
from avlake.stages.pages.decisions import decided_by, exists
from avlake.thresholds import SoundEffectsThresholds

if TYPE_CHECKING:
    import duckdb

TABLE = "gold.sound_effects"
SOUNDS, MOST_MISTAKES, PLAYED_PER_GROUP, PLAYED_S = 15, 50, 6, 5.0
CURVES = "curves.json"

COUNTS = """
SELECT count(*) AS clips, count(*) FILTER (kept) AS kept, count(human_sound) AS labelled,
    count(*) FILTER (human_sound = 'sfx') AS labelled_sfx, count(*) FILTER (sound IS NULL) AS no_sound,
    sum(duration_s) / 3600 AS hours, sum(duration_s) FILTER (kept) / 3600 AS kept_hours
FROM {table}
"""
BY_SOUND = f"""
SELECT coalesce(sound, 'none in the index') AS "the index says", count(*) AS clips, count(*) FILTER (kept) AS kept
FROM {{table}} GROUP BY ALL ORDER BY clips DESC, 1 LIMIT {SOUNDS}
"""
BY_HUMAN = """
SELECT human_sound AS "people heard", count(*) AS clips, count(*) FILTER (kept) AS kept
FROM {table} WHERE human_sound IS NOT NULL GROUP BY ALL ORDER BY clips DESC, 1
"""
MISTAKEN = "kept != (human_sound = 'sfx')"
MISTAKES = f"""
SELECT video_id, human_sound, sound, kept, reject_reason, speech_score, music_score, speech_ratio, p_sfx,
    count(*) OVER () AS of
FROM {{table}} WHERE {MISTAKEN} ORDER BY kept DESC, path LIMIT {MOST_MISTAKES}
"""
INDEX = """
SELECT drop_date AS "drop", source AS "index", max(value) FILTER (name = 'rows_without_clip') AS "rows without a clip",
    max(value) FILTER (name = 'malformed_rows') AS "malformed rows"
FROM silver.labels WHERE dataset = ? AND name IN ('rows_without_clip', 'malformed_rows')
GROUP BY ALL ORDER BY ALL
"""


def render(page: Page) -> bytes:
    """The page; without a training it shows gold, and says what is missing."""
    con, store, pipeline = page.con, page.lake.store, get_pipeline(page.pipeline)
    table = left(page, TABLE)
    thresholds = cast(SoundEffectsThresholds, decided_by(con, pipeline.name))
    chosen = artifacts.find_chosen(store, pipeline.name)
    files = artifacts.read_files(store, chosen.folder) if chosen else {}
    verdict = json.loads(files[VERDICT]) if VERDICT in files else None
    counts = records(con, COUNTS.format(table=table))[0]
    return html(
        "sound_effects.html",
        pipeline=pipeline.name,
        doc=pipeline.doc,
        chosen=chosen,
        stale=chosen is not None and content_hash(con, TABLE) != chosen.gold_version,
        verdict=verdict,
        judged=[one for one in verdict["decisions"] if one["precision"]] if verdict else [],
        errors=_errors(verdict["decisions"]) if verdict else [],
        in_charge=next((one for one in verdict["decisions"] if one["in_charge"]), None) if verdict else None,
        thresholds=thresholds,
        counts=counts,
        reasons=reasons(con, table),
        sounds=records(con, BY_SOUND.format(table=table)),
        heard=records(con, BY_HUMAN.format(table=table)),
        mistakes=records(con, MISTAKES.format(table=table)),
        most_mistakes=MOST_MISTAKES,
        played=_played(page, table),
        index=records(con, INDEX, [pipeline.dataset.name]) if exists(con, "silver.labels") else [],
        pictures={
            name: base64.b64encode(png).decode() for name, png in _pictures(con, table, thresholds, files).items()
        },
        data=_data(con, table, str(page.out)),
        quarantine=quarantine(con, pipeline.dataset.name),
    )


def _pictures(
    con: duckdb.DuckDBPyConnection, table: str, thresholds: SoundEffectsThresholds, files: Mapping[str, bytes]
) -> dict[str, bytes]:
    found = con.execute(
        f"""SELECT speech_score::DOUBLE AS speech, music_score::DOUBLE AS music, p_sfx::DOUBLE AS p,
            CASE WHEN human_sound IS NULL THEN 2 WHEN human_sound = 'sfx' THEN 0 ELSE 1 END AS heard
        FROM {table}"""
    ).fetchnumpy()
    values = {name: np.ma.filled(np.ma.asarray(found[name], np.float64), np.nan) for name in ("speech", "music", "p")}
    group = np.asarray(found["heard"], np.int64)
    limits = {"speech": thresholds.max_speech_score, "music": thresholds.max_music_score}
    drawn = {}
    if len(group):
        scores = [Scores(f"{name} score", values[name], most) for name, most in limits.items()]
        drawn["scores"] = filter_plots.score_histograms(scores, group)
    if np.isfinite(values["p"]).any():
        least = con.execute(f"SELECT any_value(calibrated_threshold)::DOUBLE FROM {table}").fetchall()[0][0]
        drawn["probabilities"] = filter_plots.probabilities(values["p"], group, least)
    if VERDICT in files and CURVES in files:
        curves = {
            name: [(point["recall"], point["precision"]) for point in curve if point["precision"] is not None]
            for name, curve in json.loads(files[CURVES])["pr"].items()
        }
        points = [_point(one) for one in json.loads(files[VERDICT])["decisions"] if one["precision"] and one["recall"]]
        if any(curves.values()):
            drawn["precision_recall"] = filter_plots.precision_recall(curves, points)
    return drawn


def _point(decision: Mapping[str, Any]) -> Point:
    precision, recall = decision["precision"], decision["recall"]
    return Point(
        decision["name"], decision["in_charge"], precision["value"], recall["value"], _ends(precision), _ends(recall)
    )


def _ends(score: Mapping[str, Any]) -> tuple[float, float] | None:
    return None if score["ci_low"] is None else (score["ci_low"], score["ci_high"])


def _errors(decisions: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """By what people heard, on how many clips each decision errs that could be judged."""
    judged = [one for one in decisions if one["precision"]]
    rows: dict[str, dict[str, str]] = {}
    for one in judged:
        for error in one["errors"]:
            row = rows.setdefault(error["sound"], {"people heard": error["sound"]})
            row[f"{one['name']} errs on"] = f"{error['wrong']} of {error['of']}"
    names = ["people heard", *(f"{one['name']} errs on" for one in judged)]
    return [{name: row.get(name, "none") for name in names} for row in rows.values()]


def _data(con: duckdb.DuckDBPyConnection, table: str, taken_down: str) -> dict[str, Any]:
    """The data card; who is in a clip is not known, so it counts no people."""
    found = describe(con, table, taken_down=taken_down)
    for name in ("origins", "drops"):
        found[name] = [{what: n for what, n in row.items() if what != "people"} for row in found[name]]
    return found


def _played(page: Page, table: str) -> list[dict[str, Any]]:
    """The first seconds of some clips: some that are kept, drawn by the hash of their name, and some mistakes."""
    rows = records(
        page.con,
        f"""SELECT file_id, path, kept, reject_reason, human_sound, audio_text_description AS says,
            coalesce({MISTAKEN}, false) AS mistaken
        FROM {table} WHERE kept OR mistaken
        QUALIFY row_number() OVER (PARTITION BY mistaken ORDER BY sha256(file_id)) <= {PLAYED_PER_GROUP}
        ORDER BY mistaken DESC, sha256(file_id)""",
    )
    sounds: dict[str, str] = {}
    if rows and exists(page.con, "bronze.files"):
        where = f"file_id IN ({', '.join(repr(str(row['file_id'])) for row in rows)})"
        with tempfile.TemporaryDirectory(prefix="avlake-") as folder:
            for recording in Recordings(Selection(page.con, TABLE, where), page.lake, Path(folder)):
                try:
                    with recording.open() as file:
                        (wav,) = cut(file, [(0.0, PLAYED_S)], recording.path, mono_hz=SAMPLE_RATE)
                except WorkError:
                    continue  # the page says that it cannot be played
                sounds[recording.path] = f"data:audio/wav;base64,{base64.b64encode(wav).decode()}"
    return [row | {"sound": sounds.get(row["path"])} for row in rows]
