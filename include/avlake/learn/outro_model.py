"""A saved model of podcast outros, loaded: it judges segments by the vote, and finds where outros start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from avlake.errors import Quarantined, WorkError
from avlake.learn.base import Answer, Measured
from avlake.learn.boundaries import Found, find
from avlake.learn.drift import Drift, Reference, measure_drift
from avlake.learn.metrics import Score, Scored, scores_of_mixed
from avlake.learn.outro_scores import Outro, outro_scores
from avlake.learn.segments import (
    CLASSES,
    MUSIC_HEARD,
    Segments,
    Tags,
    music_heard,
    read_all,
    segment_tags,
    tags_of,
    unknown_segments,
)
from avlake.learn.trial import Array, Fitted, Judged
from avlake.learn.vote import VOTE

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

DOUBT = 0.5  # what is left of the confidence where the vote hears otherwise
EPISODES = "episodes"


@dataclass(frozen=True)
class OutrosModel:
    """What a training left; `measured` and `drops` as in `learn.base.Model`."""

    table: str
    fitted: Fitted
    features: tuple[str, ...]
    drops: tuple[str, ...]
    measured: Mapping[str, Measured]
    reference: Reference

    def judge(self, segments: Segments) -> Judged:
        """Judge segments, whatever the order of their features."""
        chosen = replace(segments, X=segments.columns(self.features), features=self.features)
        with threadpool_limits(1):
            return self.fitted.judge(chosen)

    def answer(self, measured: Mapping[str, pa.RecordBatch]) -> Answer:
        """Where the outro of one file starts and its intro ends, in seconds, None where there is none.

        Raises:
            Quarantined: `too_short` where no window of it was tagged.
        """
        rows, tags = measured["segment_features"], tags_of(measured["audio_tags"])
        if not len(tags.start_s):
            raise Quarantined("too_short", "no window of it was tagged")
        start_s, end_s = (np.asarray(rows.column(name)) for name in ("start_s", "end_s"))
        columns = segment_tags(tags, start_s) | {MUSIC_HEARD: music_heard(tags, start_s, end_s)}
        X = np.column_stack(
            [columns[name] if name in columns else np.asarray(rows.column(name)) for name in self.features]
        )
        segments = unknown_segments(np.nan_to_num(X.astype(np.float32)), self.features, rows)
        found = said(tags, segments, self.judge(segments).music[VOTE])
        return {
            "outro_start_s": found.outro_start_s,
            "intro_end_s": found.intro_end_s,
            "confidence": found.confidence,
        }

    def score(self, con: duckdb.DuckDBPyConnection, dataset: str, drop: str | None) -> list[Score]:
        """Metrics on what people labelled, episodes it was trained on apart from those it has never heard.

        Raises:
            WorkError: if people labelled nothing there.
        """
        named = {"dataset": dataset} | ({"drop_date": drop} if drop else {})
        where = " AND ".join(f"{name} = ${name}" for name in named)
        segments, tags = read_all(con, self.table, where, **named)
        judged, place = self.judge(segments).music[VOTE], f"{dataset}/{drop or 'all drops'}"
        outros = {one.episode.path: one for one in find_all(segments, tags, judged)}
        table: list[Score] = []
        for name, groups in (("seen", True), ("unseen", False)):
            here = np.isin(segments.path, self.reference.groups) == groups
            rows = np.flatnonzero(segments.human & here)
            split = f"{place}, {name} {EPISODES}"
            if len(rows):
                scored = Scored(judged[rows], segments.y[rows], segments.path[rows], segments.file_id[rows])
                table += scores_of_mixed(scored, level="segment", model=VOTE, split=split, classes=CLASSES)
            table += outro_scores([outros[path] for path in np.unique(segments.path[here]).tolist()], split)
        if not table:
            raise WorkError(f"{place} has nothing that people labelled; run `avlake labels import FILE --by NAME`")
        return table

    def drift(self, con: duckdb.DuckDBPyConnection) -> list[Drift]:
        """Each drop against what was trained on, in order of time."""
        segments, _ = read_all(con, self.table, "kept")
        X, y = segments.columns(self.reference.features), with_music(segments)
        found = []
        for drop in np.unique(segments.drop):
            rows, known = segments.drop == drop, str(drop) in self.drops
            one = measure_drift(self.reference, str(drop), X[rows], segments.path[rows], y[rows], trained_on=known)
            found.append(replace(one, why=one.why.replace("speakers", EPISODES)))
        return found


def with_music(segments: Segments) -> Array:
    """(n,) 1 where the segment's episode has labelled music, 0 where it has labels and no music, -1 without labels."""
    _, member = np.unique(segments.path, return_inverse=True)
    highest = np.full(int(member.max()) + 1, -1)
    np.maximum.at(highest, member, segments.y)
    found: Array = highest[member]
    return found


def said(tags: Tags | None, segments: Segments, music: Array) -> Found:
    """What is said of one episode, all of whose segments are given, with the probabilities of music in them.

    The tags find the places; where the vote hears otherwise, the confidence is less.
    """
    found = find(tags.heard) if tags is not None else Found(None, None, 0.0)
    if found.outro_start_s is None:
        doubted = len(music) > 0 and bool(music[-1] >= 0.5)
    else:
        doubted = bool(music[segments.end_s > found.outro_start_s].mean() < 0.5)
    return replace(found, confidence=found.confidence * DOUBT) if doubted else found


def find_all(segments: Segments, tags: Mapping[str, Tags | None], music: Array) -> list[Outro]:
    """What is said of every episode, in order of file_id."""
    found = []
    for file_id, episode in segments.episodes.items():
        rows = segments.file_id == file_id
        found.append(Outro(episode, said(tags[file_id], segments.rows(rows), music[rows])))
    return found
