"""Made-up episodes as the warehouse has them: speech, then music or none, in segments and in windows of tags."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from avlake.extractors.audio_tags import AudioTags
from avlake.learn.boundaries import STEP_S

FEATURES = ("rms_mean", "mfcc_01_mean", "mfcc_02_std")
SEGMENT_S = 10.0
TEXTS = ("path", "label", "label_source", "machine_label", "label_batch", "split", "reject_reason")


def episode(
    number: int, *, outro_s: float | None, source: str | None = "human_outro", drop: str = "2026-09-01"
) -> dict[str, Any]:
    """63 s of speech; music from `outro_s` on. `source` names who labelled it: None, nobody."""
    return {"number": number, "outro_s": outro_s, "source": source, "drop": drop}


def world(*episodes: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    """A warehouse with gold.podcast_segments and silver.audio_tags of these episodes."""
    tags: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    for one in episodes:
        rng = np.random.default_rng(one["number"])
        mine = {"file_id": f"id{one['number']:02}", "dataset": "podcasts", "drop_date": one["drop"]}
        rows = _tags(rng, one["outro_s"])
        tags += [mine | row for row in rows]
        segments += [mine | row for row in _segments(rng, rows, one)]
    con = duckdb.connect()
    con.execute("CREATE SCHEMA gold; CREATE SCHEMA silver")
    heard = pa.Table.from_pylist(tags, schema=AudioTags.table.schema).drop_columns(["scores"])  # noqa: F841
    con.execute("CREATE TABLE silver.audio_tags AS FROM heard")
    con.register("made", gold_table(segments))
    con.execute("CREATE TABLE gold.podcast_segments AS FROM made")
    return con


def gold_table(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows with the types that gold has."""
    kinds = dict.fromkeys(TEXTS, pa.string()) | {"label_has_outro": pa.bool_(), "kept": pa.bool_()}
    kinds |= dict.fromkeys(("start_s", "end_s", "label_outro_start_s", "label_intro_end_s"), pa.float64())
    kinds |= {name: pa.float32() for name in rows[0] if name in FEATURES or name.startswith("tag_")}
    schema = pa.schema([(name, kinds.get(name, pa.infer_type([value]))) for name, value in rows[0].items()])
    return pa.Table.from_pylist(rows, schema=schema)


def _tags(rng: np.random.Generator, outro_s: float | None) -> list[dict[str, Any]]:
    rows = []
    for k in range(65):
        start_s = k * STEP_S
        playing = outro_s is not None and start_s + STEP_S / 2 > outro_s
        music = float(rng.uniform(0.6, 1) if playing else rng.choice([0, 0, 0, 1 / 256]))
        speech = float(0 if playing else rng.uniform(0.85, 1))
        scores = {"speech": speech, "music": music, "speech_any": speech, "music_any": music}
        rows.append({"window_index": k, "start_s": start_s, "trusted": k < 64} | scores)
    return rows


def _segments(rng: np.random.Generator, tags: list[dict[str, Any]], one: dict[str, Any]) -> list[dict[str, Any]]:
    edges = [0.0, *np.arange(3.0, 64.0, SEGMENT_S)]
    outro_s, source = one["outro_s"], one["source"]
    voice, rows = rng.normal(size=len(FEATURES)), []
    for k, (start_s, end_s) in enumerate(pairwise(edges)):
        inside = [t for t in tags if t["trusted"] and start_s <= t["start_s"] + STEP_S / 2 < end_s]
        kind = "dialogue"
        if outro_s is not None and end_s > outro_s + 0.5:
            kind = "music" if start_s >= outro_s else "both"
        row = {
            "path": f"{one['number']:02}.mp3",
            "segment_index": k,
            "start_s": start_s,
            "end_s": end_s,
            "label": kind if source else None,
            "label_source": source,
            "machine_label": None if kind == "both" else kind,
            "label_batch": None,
            "label_has_outro": outro_s is not None if source == "human_outro" else None,
            "label_outro_start_s": outro_s if source == "human_outro" else None,
            "label_intro_end_s": None,
            "split": "train",
            "kept": True,
            "reject_reason": None,
        }
        sound = voice + rng.normal(scale=0.3, size=len(FEATURES)) + (kind != "dialogue")
        row |= dict(zip(FEATURES, sound.tolist(), strict=True))
        for what in ("speech", "music", "speech_any", "music_any"):
            row[f"tag_{what}_mean"] = float(np.mean([t[what] for t in inside]))
            row[f"tag_{what}_max"] = float(np.max([t[what] for t in inside]))
        rows.append(row)
    return rows
