"""The page on who speaks: how good the network is, against what, where it fails, what was counted and what was not.

It says what a training said of itself (see `avlake.learn.speakers` for its files), and shows of videos taken down since
nothing; counts are of gold as it is now. What a training did not write, it says is missing.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avlake.learn import artifacts, speaker_plots
from avlake.learn.base import VERDICT
from avlake.learn.card import interval
from avlake.learn.data_card import describe, records
from avlake.learn.frame import content_hash
from avlake.learn.metrics import Score
from avlake.learn.speaker_plots import Curve, Learned
from avlake.pipelines import get_pipeline
from avlake.stages.pages.base import Page, html, left, quarantine
from avlake.stages.pages.decisions import decided_by, exists
from avlake.stages.pages.scenes import KEYS, looked_at
from avlake.storage import Store
from avlake.thresholds import ActiveSpeakerThresholds

TABLE = "gold.active_speaker_frames"
AP, NETWORK, MINUS = "average_precision", "network", "network_minus_"
UNSEEN = "network_unseen_talkers"  # the column of predictions by networks that had not seen the talkers either
SPLITS = {  # what judged, and what that means
    "cv_unseen_talkers": "talkers never seen",
    "cv": "videos never seen",
    "test": "test videos",
}
VARIANTS = ("network_without_augmentation", "network_with_pretraining", "network_without_pretraining")
FOLDS = {"videos": "folds by video", "talkers": "folds by talker", "split": "gold's split", "all": "the last one"}
BASELINES = ("always_speaking", "loudness", "motion_x_energy")
SIZES = {"small": "below 64 px", "middle": "64 to 128 px", "large": "above 128 px"}
CROWDS = {"1_faces": "1 on screen", "2_faces": "2 on screen", "3_faces": "3 or more"}
LITERATURE = (("LoCoNet", "0.952"), ("Light-ASD", "0.941"), ("the reference project", "0.7151"))

COUNTS = """
SELECT count(*) AS faces, count(*) FILTER (kept) AS kept, count(*) FILTER (trains) AS trains,
    count(*) FILTER (left_out_reason IS NOT NULL) AS left_out, count(DISTINCT file_id) AS videos,
    count(DISTINCT (file_id, track_id)) AS tracks, count(DISTINCT (file_id, scene)) AS scenes,
    count(DISTINCT file_id) FILTER (label IS NOT NULL) AS labelled_videos,
    count(DISTINCT subject_id) AS talkers,
    count(DISTINCT (file_id, track_id)) FILTER (subject_id IS NOT NULL) AS tracks_known
FROM {table}
"""
LABELS = """
SELECT label, count(*) AS faces, count(DISTINCT (file_id, track_id)) AS tracks,
    count(*) FILTER (kept) AS kept, count(*) FILTER (left_out_reason IS NOT NULL) AS "left out for balance",
    count(*) FILTER (trains) AS "learned from"
FROM (SELECT * REPLACE (coalesce(label, 'no label') AS label) FROM {table})
GROUP BY label ORDER BY label = 'no label', faces DESC, label
"""
REASONS = """
SELECT reason, count(*) AS faces, count(DISTINCT (file_id, track_id)) AS tracks, count(DISTINCT file_id) AS videos
FROM (SELECT file_id, track_id, unnest(string_split(reject_reason, ',')) AS reason FROM {table} WHERE NOT kept)
GROUP BY ALL ORDER BY faces DESC, reason
"""
# Counts of a CSV, and of the videos that it is the first to name.
DELIVERED = """
SELECT drop_date AS "drop", source AS "file", {counts}
FROM silver.labels WHERE dataset = ? GROUP BY ALL HAVING bool_or(name = 'rows') ORDER BY ALL
"""
COUNTED = {
    **{"rows": "rows", "malformed_rows": "malformed", "rows_of_actions": "of actions"},
    **{"videos_missing": "videos missing", "boxes_without_video": "their boxes"},
    **{"unknown_labels": "unknown labels", "contradictions": "contradictions"},
}


def render(page: Page) -> bytes:
    """The page on the model in charge.

    Raises:
        RequestError: if nothing has been trained.
    """
    con, pipeline = page.con, get_pipeline(page.pipeline)
    table, chosen = left(page, TABLE), artifacts.get_chosen(page.lake.store, pipeline.name)
    said = _Said(page.lake.store, chosen.folder)
    scores = [Score(**record) for record in said.json("metrics.json", [])]
    predicted = said.predictions()
    places = dict[str, tuple[str, str]](
        (file_id, (path, drop))
        for file_id, path, drop in con.execute(f"SELECT DISTINCT file_id, path, drop_date FROM {table}").fetchall()
    )
    judged_by = UNSEEN if predicted is not None and _any(predicted, UNSEEN) else NETWORK
    scenes = looked_at(page, predicted, judged_by, places) if predicted is not None else []
    pictures = _pictures(scores, predicted, said.json("curves.json", {}))
    pictures |= {f"scene_{scene.which}": scene.png for scene in scenes}
    features = said.json("features.json", {})
    splits = {split: title for split, title in SPLITS.items() if _of(scores, split, AP)}
    return html(
        "active_speaker.html",
        pipeline=pipeline.name,
        doc=pipeline.doc,
        chosen=chosen,
        stale=content_hash(con, TABLE) != chosen.gold_version,
        parameters=features.get("parameters"),
        options=features.get("options") or {},
        pretraining=features.get("pretraining"),
        words=said.json(VERDICT, {}).get("words", []),
        headline=[(title, interval(_of(scores, split, AP)[NETWORK])) for split, title in splits.items()],
        chance=None if predicted is None else pc.mean(predicted["y"]).as_py(),
        splits=splits,
        comparison=_table(scores, splits, AP),
        differences=_table(scores, splits, AP, minus=True),
        adds=_adds(scores, splits),
        by_size=_by(scores, splits, SIZES),
        by_crowd=_by(scores, splits, CROWDS),
        scenes=scenes,
        unseen=judged_by == UNSEEN,
        thresholds=cast(ActiveSpeakerThresholds, decided_by(con, pipeline.name)),
        counts=records(con, COUNTS.format(table=table))[0],
        labels=records(con, LABELS.format(table=table)),
        reasons=records(con, REASONS.format(table=table)),
        delivered=_delivered(page),
        literature=LITERATURE,
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        data=describe(con, table, taken_down=str(page.out)),
        quarantine=quarantine(con, pipeline.dataset.name),
        card=said.text("card.md"),
    )


def _delivered(page: Page) -> list[dict[str, Any]]:
    """What the annotations held that is of no use, by CSV; None where a CSV was too large to be read."""
    if not exists(page.con, "silver.labels"):
        return []
    columns = [
        f"""sum(try_cast(value AS BIGINT)) FILTER (name = '{name}')::BIGINT AS "{title}\" """
        for name, title in COUNTED.items()
    ]
    return records(page.con, DELIVERED.format(counts=", ".join(columns)), [get_pipeline(page.pipeline).dataset.name])


class _Said:
    """The files that a training left, each of which may be missing."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self._names = set(store.list(folder))

    def _read(self, name: str) -> bytes | None:
        path = f"{self._folder}/{name}"
        return self._store.read(path) if path in self._names else None

    def text(self, name: str) -> str:
        return (self._read(name) or b"").decode()

    def json(self, name: str, otherwise: Any) -> Any:
        data = self._read(name)
        return otherwise if data is None else json.loads(data)

    def predictions(self) -> pa.Table | None:
        """A row per face judged, without what no page shows: there may be millions."""
        if (data := self._read("predictions.parquet")) is None:
            return None
        file = pq.ParquetFile(io.BytesIO(data), read_dictionary=["file_id", "track_id", "label"])
        wanted = {*KEYS, "label", "y", NETWORK, UNSEEN, *BASELINES}
        return file.read(columns=[name for name in file.schema_arrow.names if name in wanted])


def _any(predicted: pa.Table, column: str) -> bool:
    return column in predicted.column_names and predicted[column].null_count < len(predicted)


def _of(scores: Sequence[Score], split: str, metric: str) -> dict[str, Score]:
    """Scores of each model and of each difference by its name, the network first and what is plainest last."""
    found = {score.model: score for score in scores if (score.split, score.metric) == (split, metric)}
    order = [NETWORK, *VARIANTS, *reversed(BASELINES)]
    return {name: found[name] for name in sorted(found, key=lambda name: _place(order, name.removeprefix(MINUS)))}


def _place(order: Sequence[str], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _named(model: str) -> str:
    return model.removeprefix(MINUS).replace("_x_", " x ").replace("_", " ")


def _table(
    scores: Sequence[Score], splits: Mapping[str, str], metric: str, *, minus: bool = False
) -> list[tuple[str, list[Score | None]]]:
    """A row per model, or per difference of the network and another: its name and its figure on each split."""
    by_split = [_of(scores, split, metric) for split in splits]
    names = list(dict.fromkeys(name for found in by_split for name in found))
    return [
        (_named(name), [found.get(name) for found in by_split]) for name in names if name.startswith(MINUS) == minus
    ]


def _adds(scores: Sequence[Score], splits: Mapping[str, str]) -> list[str]:
    """What augmentation and pre-training add, in sentences; nothing of what was not compared."""
    said = []
    for variant in VARIANTS:
        what = variant.removeprefix("network_without_").removeprefix("network_with_")
        sign = -1 if variant.startswith("network_with_") else 1  # the network in charge learned without it
        for split, title in splits.items():
            if (score := _of(scores, split, AP).get(f"{MINUS}{variant}")) is None:
                continue
            name = {"augmentation": "Augmentation", "pretraining": "Pre-training by synchrony"}[what]
            value, ends = sign * score.value, _ends(score, sign)
            between = f", 95 % interval [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else ""
            shown = "" if ends and ends[0] * ends[1] > 0 else "; that it makes a difference is not shown"
            said.append(f"{name} adds {value:+.3f} to the average precision ({title}{between}){shown}.")
    return said


def _ends(score: Score, sign: int) -> tuple[float, float] | None:
    if score.ci_low is None or score.ci_high is None:
        return None
    low, high = sorted(round(sign * end, 3) for end in (score.ci_low, score.ci_high))  # as they are shown
    return low, high


def _by(
    scores: Sequence[Score], splits: Mapping[str, str], kinds: Mapping[str, str]
) -> list[tuple[str, list[str], list[tuple[str, list[Score | None]]]]]:
    """Per split: its title, what the columns are with the faces in each, and a row per model."""
    found = []
    for split, title in splits.items():
        by_kind = {kind: _of(scores, split, f"{AP}_{kind}") for kind in kinds}
        models = [name for name in dict.fromkeys(m for by in by_kind.values() for m in by) if not _is_difference(name)]
        if models:
            faces = {kind: next((score.n for score in by.values()), 0) for kind, by in by_kind.items()}
            heads = [f"{name} ({faces[kind]} faces)" for kind, name in kinds.items()]
            rows = [(_named(name), [by_kind[kind].get(name) for kind in kinds]) for name in models]
            found.append((title, heads, rows))
    return found


def _is_difference(model: str) -> bool:
    return model.startswith(MINUS)


def _pictures(scores: Sequence[Score], predicted: pa.Table | None, curves: Mapping[str, Any]) -> dict[str, bytes]:
    """What can be drawn of what there is."""
    by_split = {title: _of(scores, split, AP) for split, title in SPLITS.items() if _of(scores, split, AP)}
    drawn = {}
    if by_split:
        figures = {t: {_named(m): s for m, s in by.items() if not _is_difference(m)} for t, by in by_split.items()}
        drawn["compared"] = speaker_plots.compared(figures)
    judged = {} if predicted is None else _curves(predicted, scores)
    if judged:
        drawn["precision_recall"] = speaker_plots.precision_recall(judged)
    if runs := {_training(name): _learned(epochs) for name, epochs in curves.items() if epochs}:
        drawn["learning"] = speaker_plots.learning(runs)
    return drawn


def _curves(predicted: pa.Table, scores: Sequence[Score]) -> dict[str, dict[str, Curve]]:
    """Scores and truth per split and model, of the faces that the split's network judged; none without both classes."""
    found, by_videos = {}, "test" if _of(scores, "test", AP) else "cv"
    for split, column in (("cv_unseen_talkers", UNSEEN), (by_videos, NETWORK)):
        if not _any(predicted, column):
            continue
        judged = predicted.filter(pc.field(column).is_valid() & pc.field("y").is_valid())
        y, measured = judged["y"].to_numpy().astype(int), _of(scores, split, AP)
        columns = {NETWORK: column} | {name: name for name in reversed(BASELINES) if name in judged.column_names}
        if 0 < y.sum() < len(y):
            found[SPLITS[split]] = {
                _named(name): Curve(judged[of].to_numpy(), y, measured[name].value if name in measured else None)
                for name, of in columns.items()
            }
    return found


def _training(name: str) -> str:
    """In words: `network_videos_2` becomes `network, folds by video 2`."""
    if (fold := re.search(rf"_({'|'.join(FOLDS)})(_\d+)?$", name)) is None:
        return _named(name)
    return f"{_named(name[: fold.start()])}, {FOLDS[fold[1]]}{(fold[2] or '').replace('_', ' ')}"


def _learned(epochs: Sequence[Mapping[str, float | None]]) -> Learned:
    columns = {field.name: [one.get(field.name) for one in epochs] for field in fields(Learned)}
    return Learned(**{name: np.array(values, float) for name, values in columns.items()})  # None becomes NaN
