"""What a learner is: it reads one gold table by SQL and leaves scores and files behind.

A pipeline names a module (`Pipeline.learner`) that has a module-level `LEARNER`; stages train, evaluate and predict
know nothing more of it than what stands here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from avlake.learn.drift import Drift
from avlake.learn.metrics import Score
from avlake.tables import Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from avlake.storage import Store
    from avlake.thresholds import Thresholds

VERDICT = "verdict.json"  # the file of a learner that comes to conclusions; its `words` are for people
Progress = Callable[[str, int, int], None]  # (what, done, total)


def silent(what: str, done: int, total: int) -> None:
    """The progress of who does not care."""


@dataclass(frozen=True)
class Measured:
    """The extractor whose numbers a model was trained on; a model sees nothing measured otherwise."""

    extractor: str
    params: dict[str, Any]
    params_hash: str


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the chosen model's name, every score, and the files of its folder (no pickle).

    `found` is what the chosen model says of everything there is: the rows of `Pipeline.finds`, where that is a table.
    """

    model: str
    settings: dict[str, Any]
    scores: list[Score]
    files: dict[str, bytes]
    found: pa.Table | None = None


class Silver(Protocol):
    """Reads the lake's tables, for what the warehouse does not hold: bytes and long sequences."""

    def rows(self, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a table of the lake, `layer.table`, without those of files that were taken down."""
        ...


@dataclass(frozen=True)
class Place:
    """What a training may use besides the warehouse.

    `folder` of `store` is its own, the same for the same gold, code and parameters: what it notes there is found again
    by whoever goes on after a kill. It is removed once the model is in charge.
    """

    silver: Silver
    store: Store
    folder: str
    options: Thresholds  # those in force; some say how to train


Answer = Mapping[str, Any]  # what a model says of one file: a value for each of `Learner.answers`


class Model(Protocol):
    """A saved model, loaded: one of files or one of faces."""

    measured: Mapping[str, Measured]  # by extractor
    drops: tuple[str, ...]  # dataset/drop_date of those it was trained on

    def drift(self, con: duckdb.DuckDBPyConnection) -> list[Drift]:
        """Each drop in the warehouse against what the model was trained on."""
        ...


@runtime_checkable
class FileModel(Model, Protocol):
    """One that says one thing of a file."""

    def answer(self, measured: Mapping[str, pa.RecordBatch]) -> Answer:
        """Judge one file from its measurements, by extractor.

        Raises:
            Quarantined: if no window of it can be judged.
        """
        ...

    def score(self, con: duckdb.DuckDBPyConnection, dataset: str, drop: str | None) -> list[Score]:
        """Every metric on the labelled rows of one drop, or of all."""
        ...


@runtime_checkable
class FaceModel(Model, Protocol):
    """One that judges every face in a video; what it is given is measured, as the lake holds it, not in the warehouse.

    Stages score it by its boxes, against the labels in gold.
    """

    videos: frozenset[str]  # names of the videos it was trained on: files without their folder and ending

    def boxes(self, measured: Mapping[str, pa.RecordBatch]) -> pa.Table:
        """Judge the faces of one video from its measurements, by extractor.

        Returns:
            one row per face that can be judged: track_id, frame_timestamp (s), x1, y1, x2, y2 (shares of the frame, as
            measured), score (float64; the higher, the likelier it is that this face speaks and is heard).

        Raises:
            Quarantined: if no face of it can be judged.
        """
        ...


class Learner(Protocol):
    """One pipeline's way of learning."""

    table: str  # the gold table it reads
    extractors: tuple[str, ...]  # whose numbers it learns from
    also_reads: tuple[str, ...]  # tables of the warehouse beside it; those that are not there hold nothing
    results: Table  # where its scores go
    predicts: bool  # does it leave a model that judges files?
    answers: tuple[str, ...]  # the columns of what such a model says of a file; the first is NULL where it cannot tell

    def identity(self) -> dict[str, Any]:
        """Code version and parameters: with the table's content they decide whether training would change anything."""
        ...

    def train(
        self,
        con: duckdb.DuckDBPyConnection,
        measured: Mapping[str, Measured],
        progress: Progress,
        place: Place | None = None,
    ) -> Trained: ...

    def load(self, files: Mapping[str, bytes]) -> Model:
        """The model of a learner that `predicts`."""
        ...


@runtime_checkable
class FaceLearner(Learner, Protocol):
    """A learner whose models are `FaceModel`s, of which a training leaves several: one safetensors file each."""

    def load(self, files: Mapping[str, bytes]) -> FaceModel: ...

    def checkpoint(self, data: bytes, name: str) -> FaceModel:
        """A model from the bytes of one safetensors file alone; `name` is what errors call it.

        Raises:
            WorkError: if it is damaged, no checkpoint of this learner, or one of another version of its network.
        """
        ...


def learner_of(module: str) -> Learner:
    """The learner of a pipeline's `learner` module path."""
    return importlib.import_module(module).LEARNER
