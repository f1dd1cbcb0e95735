"""What a page shows of decided clips, from a gold table and their standard forms alone; a preview shows just this."""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Any

from avlake.learn import plots
from avlake.learn.data_card import records
from avlake.stages.pages.decisions import RULES, Decisions
from avlake.stages.pages.sheet import PER_SIDE, Sheet
from avlake.storage import Store
from avlake.thresholds import Thresholds

if TYPE_CHECKING:
    import duckdb

OTHERS = (  # metrics that inform and do not decide
    "min_blur_score",
    "face_size_ratio",
    "avg_faces",
    "face_confidence",
    "brightness",
    "contrast",
    "face_stability",
    "frozen_ratio",
    "scene_cuts",
    "snr_db",
    "loudness_lufs",
    "clipping_ratio",
    "silence_ratio",
    "av_offset_s",
    "av_sync_confidence",
    "duration_s",
)


def shown(con: duckdb.DuckDBPyConnection, table: str, store: Store, thresholds: Thresholds) -> dict[str, Any]:
    """What the macros of templates/clips.html show.

    Args:
        con: where the table is, and silver.speech if there is one.
        table: clips as gold.talking_heads has them.
        thresholds: what it was decided by.
    """
    decisions = Decisions(con, table, thresholds)
    sheet = Sheet(con, table, store, decisions)
    groups = sheet.groups()
    clusters, number = sheet.clusters()
    drawn = [decisions.drawn(rule) for rule in RULES]
    pictures = {
        "thresholded": plots.thresholded(drawn),
        "keep_curves": plots.keep_curves(drawn, [partial(decisions.kept_at, rule) for rule in RULES]),
    }
    if spreads := _others(con, table):
        pictures["spreads"] = plots.spreads(spreads)
    return {
        "headline": headline(con, table),
        "reasons": reasons(con, table),
        "rules": [(rule, decisions.thresholds[rule.threshold], decisions.keep_counts(rule)) for rule in RULES],
        "pictures": {name: base64.b64encode(png).decode() for name, png in pictures.items()},
        "groups": groups,
        "per_side": PER_SIDE,
        "clusters": clusters,
        "number_of_clusters": number,
        "players": sheet.players,
        "players_left_out": sheet.left_out,
    }


def headline(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    """Clips, speakers, source videos and hours; of all and of those kept."""
    kinds = {"all": "true", "kept": "kept"}
    counts = ", ".join(
        f"""count(*) FILTER ({which}) AS {kind}_clips, count(DISTINCT subject_id) FILTER ({which}) AS {kind}_speakers,
        count(DISTINCT (subject_id, video_id)) FILTER ({which} AND video_id IS NOT NULL) AS {kind}_videos,
        sum(duration_s) FILTER ({which}) / 3600 AS {kind}_hours"""
        for kind, which in kinds.items()
    )
    return records(con, f"SELECT {counts} FROM {table}")[0]


def reasons(con: duckdb.DuckDBPyConnection, table: str) -> list[dict[str, Any]]:
    """Rejected clips by reason: each reason of a clip counts, so these are more than the clips."""
    return records(
        con,
        f"""SELECT reason, count(*) AS clips, count(*) FILTER (reject_reason = reason) AS "for no other reason"
        FROM (SELECT reject_reason, unnest(string_split(reject_reason, ',')) AS reason FROM {table} WHERE NOT kept)
        GROUP BY reason ORDER BY clips DESC, reason""",
    )


def _others(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    """Values by metric, those measured only."""
    columns = {name for name, *_ in con.execute(f"DESCRIBE {table}").fetchall()}
    found = {}
    for name in OTHERS:
        if name in columns:
            values = con.execute(f"SELECT {name}::DOUBLE AS v FROM {table} WHERE {name} IS NOT NULL").fetchnumpy()["v"]
            if len(values):
                found[name] = values
    return found
