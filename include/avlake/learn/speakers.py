"""The learner of `active_speaker`. STUB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avlake.learn.base import Measured, Model, Place, Progress, Trained
from avlake.tables import MODEL_RUNS, Table

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class SpeakersLearner:
    version: int = 1
    table: str = "gold.active_speaker_frames"
    extractors: tuple[str, ...] = ("face_tracks",)
    also_reads: tuple[str, ...] = ()
    results: Table = MODEL_RUNS
    predicts: bool = True
    answers: tuple[str, ...] = ("score",)

    def identity(self) -> dict[str, Any]:
        return {"version": self.version}

    def train(
        self,
        con: duckdb.DuckDBPyConnection,
        measured: Mapping[str, Measured],
        progress: Progress,
        place: Place | None = None,
    ) -> Trained:
        raise NotImplementedError

    def load(self, files: Mapping[str, bytes]) -> Model:
        raise NotImplementedError


LEARNER = SpeakersLearner()
