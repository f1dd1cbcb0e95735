"""What every model says of the labelled faces that gold keeps, and how good that is."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avlake.learn.metrics import Score
from avlake.learn.speaker_baselines import BASELINES
from avlake.learn.speaker_course import NETWORK, SPLIT, TALKERS, VIDEOS
from avlake.learn.speaker_data import AUDIBLE, LABELS, Array, Track
from avlake.learn.speaker_scores import Faces, scores_of_faces

SPLITS = {VIDEOS: "cv", TALKERS: "cv_unseen_talkers", SPLIT: "test"}  # what a way to hold out is called in metrics


@dataclass(frozen=True)
class Results:
    """Scores of every track by model and by what was held out; n labelled faces that gold keeps, tracks in turn."""

    tracks: Sequence[Track]
    scores: Mapping[tuple[str, str], Sequence[Array]]  # (n,) of each track, NaN where nobody asked

    def faces(self, values: Sequence[Array]) -> Array:
        """(n,) or (n, ...) of values of each track's faces."""
        return np.concatenate([value[told] for value, told in zip(values, self.told, strict=True)])

    def each(self, names: Sequence[Any]) -> list[Any]:
        """(n,) of something that a track has one of."""
        return [name for name, told in zip(names, self.told, strict=True) for _ in range(int(told.sum()))]

    @cached_property
    def told(self) -> list[Array]:
        """Which faces of each track count."""
        return [track.kept & (track.labels >= 0) for track in self.tracks]

    @cached_property
    def baselines(self) -> dict[str, Array]:
        """(n,) of each baseline."""
        return {name: self.faces([score(track) for track in self.tracks]) for name, score in BASELINES.items()}

    def network(self, by: str, model: str = NETWORK) -> Array:
        """(n,) of what networks say that had not seen them; NaN where there is none."""
        said = self.scores.get((model, by))
        return self.faces([np.full(len(track), np.nan) for track in self.tracks] if said is None else said)

    def table(self) -> list[Score]:
        """Every figure of every way to hold out; baselines of the very faces that the network judged."""
        tracks = self.tracks
        labels = self.faces([track.labels for track in tracks])
        scene = np.array(self.each([f"{track.file_id}/{track.scene}" for track in tracks]))
        px, on_screen = (self.faces([getattr(t, name) for t in tracks]) for name in ("face_px", "faces_on_screen"))
        faces = Faces(labels == AUDIBLE, scene, px.astype(np.float64), on_screen)
        found = []
        for by, split in SPLITS.items():
            said = {model: self.network(by, model) for model, of in self.scores if of == by}
            if said:
                unknown = np.isnan(said[NETWORK])
                said |= {name: np.where(unknown, np.nan, score) for name, score in self.baselines.items()}
                found += scores_of_faces(faces, said, split=split, compared=NETWORK)
        return found

    def predictions(self) -> bytes:
        """One row per face, Parquet."""
        tracks, labels = self.tracks, self.faces([track.labels for track in self.tracks])
        drops, boxes = self.each([track.drop for track in tracks]), self.faces([track.boxes for track in tracks])
        by = VIDEOS if (NETWORK, VIDEOS) in self.scores else SPLIT
        table = pa.table(
            {
                "file_id": self.each([track.file_id for track in tracks]),
                "dataset": [drop.partition("/")[0] for drop in drops],
                "drop_date": [drop.partition("/")[2] for drop in drops],
                "video_id": self.each([track.video_id for track in tracks]),
                "track_id": self.each([track.track_id for track in tracks]),
                "frame_timestamp": self.faces([track.times for track in tracks]),
                **{name: boxes[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))},
                "label": np.array(LABELS)[labels],
                "y": (labels == AUDIBLE).astype(np.int8),
                "face_px": self.faces([track.face_px for track in tracks]),
                "faces_on_screen": self.faces([track.faces_on_screen for track in tracks]),
                "subject_id": pa.array(self.each([track.talker for track in tracks]), pa.string()),
                "scene": self.faces([np.full(len(track), track.scene, dtype=np.int32) for track in tracks]),
                NETWORK: _nullable(self.network(by)),
                f"{NETWORK}_unseen_talkers": _nullable(self.network(TALKERS)),
                **self.baselines,
            }
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        return buffer.getvalue()


def _nullable(values: Array) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))
