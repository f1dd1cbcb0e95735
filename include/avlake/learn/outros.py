"""The learner of `podcast_outros`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avlake.learn.base import Measured, Model, Progress, Trained
from avlake.tables import MODEL_RUNS, Table

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class OutrosLearner:
    version: int = 1
    table: str = "gold.podcast_segments"
    extractors: tuple[str, ...] = ("segment_features", "segment_windows", "audio_tags")
    also_reads: tuple[str, ...] = ()
    results: Table = MODEL_RUNS
    predicts: bool = True
    answers: tuple[str, ...] = ("outro_start_s", "intro_end_s", "confidence")

    def identity(self) -> dict[str, Any]:
        return {"version": self.version}

    def train(self, con: duckdb.DuckDBPyConnection, measured: Mapping[str, Measured], progress: Progress) -> Trained:
        raise NotImplementedError

    def load(self, files: Mapping[str, bytes]) -> Model:
        raise NotImplementedError


LEARNER = OutrosLearner()
