"""The learner of `sound_effects`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avlake.learn.base import Measured, Model, Progress, Trained
from avlake.tables import MODEL_RUNS, Table

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class FilteringLearner:
    version: int = 1
    table: str = "gold.sound_effects"
    extractors: tuple[str, ...] = ("audio_tags", "speech")
    also_reads: tuple[str, ...] = ()
    results: Table = MODEL_RUNS
    predicts: bool = False
    answers: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        return {"version": self.version}

    def train(self, con: duckdb.DuckDBPyConnection, measured: Mapping[str, Measured], progress: Progress) -> Trained:
        raise NotImplementedError

    def load(self, files: Mapping[str, bytes]) -> Model:
        raise NotImplementedError


LEARNER = FilteringLearner()
