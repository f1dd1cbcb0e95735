"""A saved model of active speakers, loaded: it scores every face of a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from avlake.errors import Quarantined
from avlake.learn.base import Measured
from avlake.learn.drift import Drift, Reference, make_reference, measure_drift
from avlake.learn.speaker_cache import SILVER, tracks_of
from avlake.learn.speaker_data import AUDIBLE, Array, Track
from avlake.learn.speaker_judging import judge_tracks
from avlake.learn.speaker_net import SpeakerNet

if TYPE_CHECKING:
    import duckdb

FEATURES = ("face_px", "faces_on_screen", "track_s", "x_middle", "y_middle")  # of each face, from gold
MOST_DRIFTING = 100_000  # faces of a drop that are looked at


@dataclass(frozen=True)
class SpeakersModel:
    """What a training left; `measured`, `drops` and `videos` as in `learn.base.FaceModel`."""

    table: str
    net: SpeakerNet
    drops: tuple[str, ...]
    videos: frozenset[str]
    measured: Mapping[str, Measured]
    reference: Reference | None = None  # None: a checkpoint by itself

    def boxes(self, measured: Mapping[str, pa.RecordBatch]) -> pa.Table:
        """Judge every face of one video, from its rows of `face_tracks`.

        Returns:
            track_id, frame_timestamp (s), x1, y1, x2, y2 (shares of the frame), score (float64; how likely this face
            speaks and is heard, in [0, 1]); without faces that have no picture.

        Raises:
            Quarantined: `no_face` where there is none, `no_usable_box` where none has a picture.
        """
        tracks = tracks_of(measured[SILVER.removeprefix("silver.")])
        if not tracks:
            raise Quarantined("no_face", "no face was found in it")
        table = pa.concat_tables([_rows(track, score) for track, score in zip(tracks, self.judge(tracks), strict=True)])
        if not len(table):
            raise Quarantined("no_usable_box", "none of its faces has a picture")
        return table

    def judge(self, tracks: Sequence[Track]) -> list[Array]:
        """The scores of each track, (n,) float64; NaN where there is no picture."""
        return judge_tracks(self.net, tracks)

    def drift(self, con: duckdb.DuckDBPyConnection) -> list[Drift]:
        """Each drop's faces against those it learned from, by their sizes and places; a group is a video."""
        if self.reference is None:
            return []
        found = []
        drops = con.sql(f"SELECT DISTINCT dataset, drop_date FROM {self.table} ORDER BY ALL").fetchall()
        for dataset, drop_date in drops:
            X, y, group = faces_of(con, self.table, dataset, str(drop_date))
            if len(X):
                name = f"{dataset}/{drop_date}"
                found.append(measure_drift(self.reference, name, X, group, y, trained_on=name in self.drops))
        return found


def faces_of(con: duckdb.DuckDBPyConnection, table: str, dataset: str, drop_date: str) -> tuple[Array, Array, Array]:
    """Features (n, 5), classes (n,) and videos (n,) of the faces of a drop; of very many, a sample that stays."""
    rows = con.execute(
        f"""SELECT face_px, faces_on_screen, track_s, (x1 + x2) / 2 AS x_middle, (y1 + y2) / 2 AS y_middle,
            CASE WHEN label IS NULL THEN -1 WHEN audible THEN 1 ELSE 0 END AS y, video_id
        FROM {table}
        WHERE dataset = $1 AND drop_date::VARCHAR = $2 AND face_px IS NOT NULL AND track_s IS NOT NULL
        ORDER BY hash(file_id, track_id, part, face_index), file_id LIMIT {MOST_DRIFTING}""",
        [dataset, drop_date],
    ).to_arrow_table()
    X = np.column_stack([rows[name].to_numpy().astype(np.float64) for name in FEATURES])
    return np.nan_to_num(X), rows["y"].to_numpy().astype(int), rows["video_id"].to_numpy().astype(str)


def reference_of(tracks: Sequence[Track]) -> Reference:
    """What the faces that were learned from look like."""
    features, classes, videos = [], [], []
    for track in tracks:
        here = track.kept & track.trains
        length_s = track.times[track.seen].max(initial=0) - track.times[track.seen].min(initial=np.inf)
        middle = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2
        X = np.column_stack((track.face_px, track.faces_on_screen, np.full(len(track), length_s), middle))
        features.append(np.nan_to_num(X[here]))
        classes.append(track.labels[here] == AUDIBLE)
        videos += [track.video_id] * int(here.sum())
    return make_reference(np.concatenate(features), FEATURES, np.concatenate(classes), np.array(videos))


def _rows(track: Track, score: Array) -> pa.Table:
    judged = np.isfinite(score)
    edges = {name: pa.array(track.boxes[judged, i]) for i, name in enumerate(("x1", "y1", "x2", "y2"))}
    return pa.table(
        {
            "track_id": pa.array([track.track_id] * int(judged.sum()), pa.string()),
            "frame_timestamp": pa.array(track.times[judged]),
            **edges,
            "score": pa.array(score[judged]),
        }
    )
