"""The page on where outros start: what was found per episode, how good it is, what it sounds like, what to label next.

It says what a training said of itself (see `avlake.learn.outros` for its files); counts and clusters are of gold as it
is now. Without people's labels there is no figure of how good it is, and the page says so.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avlake.errors import AvlakeError
from avlake.learn import artifacts, episode_plots, explore_plots
from avlake.learn.base import VERDICT
from avlake.learn.card import interval
from avlake.learn.data_card import describe, records
from avlake.learn.episode_plots import Timeline
from avlake.learn.exploration import Exploration
from avlake.learn.frame import content_hash
from avlake.learn.metrics import Score
from avlake.pipelines import get_pipeline
from avlake.stages.audits import audit_results
from avlake.stages.explored import explored
from avlake.stages.pages.base import Page, html, quarantine
from avlake.stages.pages.decisions import exists
from avlake.stages.playlists import PER_CLUSTER, write_playlists

TABLE, TAGS, PEOPLE = "gold.podcast_segments", "silver.audio_tags", "labels.human"
KINDS = ("dialogue", "both", "music")
CV, VOTE, MINUS, F1 = "cv", "vote", "vote_minus_", "segment_macro_f1"
HEADLINE = {  # metrics of the vote on episodes that it has not seen
    F1: "macro-F1 of segments, music against dialogue",
    "outro_within_2_s": "of the outros are found within 2 s",
    "outro_invented": "of the episodes without an outro get one",
}
METRICS = ("macro_f1", "balanced_accuracy", "roc_auc", "accuracy")
WORST_FIRST = ("invented", "missed", "off", "unlabelled", "right")
MOST_DRAWN, MOST_LISTED = 16, 500  # episodes

LABELS = f"""
SELECT label, count(*) FILTER (label_source = 'human') AS "people said so",
    count(*) FILTER (label_source = 'human_outro') AS "follows from people's outros",
    count(*) FILTER (label_source = 'machine') AS "by the tags", count(*) AS segments
FROM (SELECT coalesce(label, 'no label') AS label, label_source FROM {TABLE} WHERE kept)
GROUP BY label ORDER BY label = 'no label', segments DESC, label
"""


def render(page: Page) -> bytes:
    """The page on the model in charge.

    Raises:
        RequestError: if nothing has been trained.
    """
    con, store, pipeline = page.con, page.lake.store, get_pipeline(page.pipeline)
    chosen = artifacts.get_chosen(store, pipeline.name)
    files = artifacts.read_files(store, chosen.folder)
    description, verdict = json.loads(files["features.json"]), json.loads(files[VERDICT])
    scores = [Score(**record) for record in json.loads(files["metrics.json"])]
    predicted = pq.read_table(io.BytesIO(files["predictions.parquet"]))
    if page.out.file_ids:
        predicted = predicted.filter(~pc.field("file_id").isin(pa.array(page.out.file_ids)))
    out = set(page.out.file_ids)
    outros = _in_order([one for one in json.loads(files["outros.json"]) if one["file_id"] not in out])
    found = explored(page.lake, con, TABLE, page.out)
    pictures = _compared_picture(scores) | _confusions(predicted)
    if drawn := _timelines(page, outros[:MOST_DRAWN], predicted):
        pictures["timelines"] = episode_plots.timelines(drawn)
    looks = explore_plots.shown(found) if found else []
    pictures |= {name: png for _, name, png, _ in looks}
    playlists, no_playlists = [], ""
    if found:
        try:
            playlists = write_playlists(page.lake, con, pipeline.name, TABLE, found, page.out)
        except AvlakeError as error:
            no_playlists = str(error)
    return html(
        "podcast_outros.html",
        pipeline=pipeline.name,
        doc=pipeline.doc,
        chosen=chosen,
        stale=content_hash(con, TABLE) != chosen.gold_version,
        verified=description["verified"],
        seeded=description["counts"]["seeded"],
        words=verdict["words"],
        headline=[(text, _share(score)) for metric, text in HEADLINE.items() if (score := _vote(scores, metric))],
        outros=outros[:MOST_LISTED],
        outros_left_out=len(outros) - MOST_LISTED,
        drawn=len(drawn),
        with_outro=sum(one["outro_start_s"] is not None for one in outros),
        episodes=len(outros),
        comparison=_comparison(scores),
        metrics=METRICS,
        differences=[_difference(score) for score in _differences(scores)],
        audits=audit_results(page.lake, pipeline.name),
        labels=records(con, LABELS),
        people=_people(page),
        found=found,
        looks=[(title, name, words) for title, name, _, words in looks],
        clusters=_clusters(found) if found else [],
        playlists=playlists,
        no_playlists=no_playlists,
        per_cluster=PER_CLUSTER,
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        quarantine=quarantine(con, pipeline.dataset.name),
        data=describe(con, TABLE, taken_down=str(page.out)),
        card=files["card.md"].decode(),
    )


def _in_order(outros: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What went wrong first, then what nobody has checked, the least sure first."""
    return sorted(outros, key=lambda one: (WORST_FIRST.index(one["result"]), one["confidence"], one["path"]))


def _vote(scores: Sequence[Score], metric: str) -> Score | None:
    return next((s for s in scores if (s.model, s.split, s.metric) == (VOTE, CV, metric)), None)


def _share(score: Score) -> str:
    if score.metric == F1:
        return interval(score)
    count = f"{round(score.value * score.n)} of {score.n}"
    return count if score.ci_low is None else f"{count} ({score.ci_low:.0%} to {score.ci_high:.0%})"


def _differences(scores: Sequence[Score]) -> list[Score]:
    return [s for s in scores if s.model.startswith(MINUS) and s.metric == F1]


def _difference(score: Score) -> str:
    """Does the vote beat one of its parts?"""
    part = f"{score.model.removeprefix(MINUS).replace('_', ' ')} alone"
    if score.ci_low is None or score.ci_high is None:
        return f"Against {part} the vote is {score.value:+.3f} in macro-F1; there is no interval."
    if score.ci_low == score.ci_high == 0:
        return f"The vote does exactly as well as {part} (macro-F1): where they differ, the other part is outvoted."
    if score.ci_low > 0:
        said = f"The vote beats {part}"
    elif score.ci_high < 0:
        said = f"The vote does worse than {part}"
    else:
        said = f"The vote is not shown to beat {part}, for the interval holds 0"
    return f"{said}: {score.value:+.3f} in macro-F1, 95 % interval [{score.ci_low:+.3f}, {score.ci_high:+.3f}]."


def _comparison(scores: Sequence[Score]) -> list[tuple[str, int, list[str]]]:
    """A row per model: its name, the segments it was judged on, each metric with its interval."""
    by_model: dict[str, dict[str, Score]] = {}
    for score in scores:
        if score.split == CV and not score.model.startswith(MINUS) and score.metric.startswith("segment_"):
            by_model.setdefault(score.model, {})[score.metric.removeprefix("segment_")] = score
    return [
        (model.replace("_", " "), by["macro_f1"].n, [interval(by[m]) if m in by else "-" for m in METRICS])
        for model, by in by_model.items()
        if "macro_f1" in by
    ]


def _compared_picture(scores: Sequence[Score]) -> dict[str, bytes]:
    models = [s for s in scores if s.split == CV and s.metric == F1 and not s.model.startswith(MINUS)]
    if not models:
        return {}
    gaps = {f"vote minus\n{s.model.removeprefix(MINUS).replace('_', ' ')}": s for s in _differences(scores)}
    return {"compared": episode_plots.compared({s.model.replace("_", " "): s for s in models}, gaps)}


def _confusions(predicted: pa.Table) -> dict[str, bytes]:
    """What people said against what models said that had not seen the episode; nothing where there is nothing."""
    known = predicted.filter(pc.field("held_out") & pc.field("y").is_valid())
    told = known.select(["y", VOTE, "label", "predicted"]).to_pylist()
    if not told:
        return {}
    names = ("dialogue", "music")
    truth, said = [names[int(row["y"])] for row in told], [names[int(row[VOTE] >= 0.5)] for row in told]
    found = [episode_plots.confusion(truth, said, names)]
    kinds = [row for row in told if row["label"] in KINDS and row["predicted"] in KINDS]
    found.append(episode_plots.confusion([row["label"] for row in kinds], [row["predicted"] for row in kinds], KINDS))
    return {"confusions": episode_plots.confusions(found)}


def _timelines(page: Page, outros: Sequence[dict[str, Any]], predicted: pa.Table) -> list[Timeline]:
    """The episodes as they are drawn: their tags, where the warehouse has them, and their segments."""
    ids = [one["file_id"] for one in outros]
    tags: dict[str, list[tuple[float, ...]]] = {one: [] for one in ids}
    if exists(page.con, TAGS):
        query = f"""SELECT file_id, start_s, music_any, speech_any FROM {TAGS}
            WHERE list_contains(?::VARCHAR[], file_id) ORDER BY file_id, start_s"""
        for file_id, *heard in page.con.execute(query, [ids]).fetchall():
            tags[file_id].append(tuple(heard))
    segments: dict[str, list[dict[str, Any]]] = {one: [] for one in ids}
    mine = predicted.filter(pc.field("file_id").isin(pa.array(ids, pa.string())))
    for segment in mine.select(["file_id", "start_s", "end_s", VOTE]).to_pylist():
        segments[segment["file_id"]].append(segment)
    drawn = []
    for one in outros:
        scores = np.array(tags[one["file_id"]], float).reshape(-1, 3)
        parts = segments[one["file_id"]]
        drawn.append(
            Timeline(
                title=f"{one['path']} ({one['result']})",
                duration_s=one["duration_s"],
                tag_s=scores[:, 0],
                music=scores[:, 1],
                speech=scores[:, 2],
                segment_s=np.array([(row["start_s"], row["end_s"]) for row in parts]).reshape(-1, 2),
                p_music=np.array([row[VOTE] for row in parts], float),
                **{name: one[name] for name in ("outro_start_s", "intro_end_s", "label_outro_start_s")},
            )
        )
    return drawn


def _clusters(found: Exploration) -> list[dict[str, Any]]:
    """Segments by cluster and label, whoever gave it."""
    counted = Counter(zip(found.cluster, found.label, strict=True))
    return [
        {"cluster": cluster, "segments": sum(n for (one, _), n in counted.items() if one == cluster)}
        | {name: counted[cluster, name] for name in KINDS}
        | {"no label": counted[cluster, None]}
        for cluster in range(1, found.k + 1)
    ]


def _people(page: Page) -> list[dict[str, Any]]:
    """What people have said, by what it is about; nothing where nobody has said anything."""
    if not exists(page.con, PEOPLE):
        return []
    return records(
        page.con,
        f"""SELECT name AS "what was said", count(DISTINCT item) AS files, count(*) AS labels,
            count(DISTINCT who) AS people, count(DISTINCT source) AS "imported files and batches"
        FROM {PEOPLE} WHERE dataset = ? AND value IS NOT NULL GROUP BY name ORDER BY name""",
        [get_pipeline(page.pipeline).dataset.name],
    )
