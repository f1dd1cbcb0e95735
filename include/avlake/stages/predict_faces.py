"""Predict for a model that judges faces: what it says of every face in every video named."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from avlake.datasets.base import BronzeFile, Dataset
from avlake.errors import Quarantined, RequestError
from avlake.extractors import base
from avlake.extractors.face_boxes import parsed
from avlake.lake import Lake
from avlake.learn.base import FaceModel, Progress
from avlake.media.sandbox import Sandbox
from avlake.models import model_path
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages.predict import each, measure
from avlake.stages.train import load_model

COLUMNS = ("video_id", "frame_timestamp", "entity_id", "x1", "y1", "x2", "y2", "score")
OFFICIAL = "ava"  # the format in which AVA's own evaluation takes predictions
SAID_OF_ALL = "SPEAKING_AUDIBLE"  # what its score is of
EDGES = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Judged:
    """What the model says of the faces of one video, by time, then entity; or why it says nothing."""

    file: str  # exactly as it was named
    boxes: pa.Table | None  # as `FaceModel.boxes` gives them, edges as annotated
    error: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)  # how many faces it cannot judge, by what is wrong

    def rows(self) -> list[tuple[Any, ...]]:
        """Its faces in the order of `COLUMNS`."""
        return [] if self.boxes is None else rows_of(video_id(self.file), self.boxes)


def video_id(file: str) -> str:
    """What annotations call a video: the file's name without its ending."""
    return Path(file).stem


def predict_faces(
    settings: Settings,
    *,
    pipeline: str,
    files: Sequence[str],
    annotations: str | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Judged]:
    """Judge the faces of videos by name, in the order given.

    Args:
        annotations: a CSV, or a folder of them, with the faces' boxes; by default the face detector finds them.
        say: is told what there is in the annotations.

    Raises:
        RequestError: if nothing has been trained, the model judges no faces, two videos have one name, there are no
            such annotations, or the detector's model file is missing.
        WorkError: if the model's files are damaged, or it expects another version of its extractor.
    """
    by_name = Counter(map(video_id, files))
    for file in files:
        if by_name[video_id(file)] > 1:
            named = " and ".join(other for other in files if video_id(other) == video_id(file))
            raise RequestError(f"{named} have one name, {video_id(file)}, by which faces are told apart: name one only")
    model = load_model(Lake.open(settings).store, pipeline)[1]
    if not isinstance(model, FaceModel):
        raise RequestError(f"the model of {pipeline} says one thing of a file, and judges no faces")
    if annotations is None:
        for file in (file for name in model.measured for file in base.load(name).seeks):
            model_path(file, settings)
    told = None if annotations is None else _told(get_pipeline(pipeline).dataset, annotations, files, say)

    def judge(sandbox: Sandbox, file: str) -> Judged:
        try:
            if told is not None and file not in told and Path(file).is_file():
                raise Quarantined("not_annotated", f"{annotations} has no face of {video_id(file)}")
            measured = measure(sandbox, model, file, told.get(file) if told else None)
            boxes = in_order(model.boxes(measured))
            return Judged(file, boxes if told is None else _exact(boxes, told[file]), left_out=problems(measured))
        except Quarantined as error:
            return Judged(file, None, f"{error.error_class}: {error}")

    return each(settings, files, judge, jobs, progress)


def in_order(boxes: pa.Table) -> pa.Table:
    """Faces by time, then entity."""
    return boxes.sort_by([("frame_timestamp", "ascending"), ("track_id", "ascending")])


def rows_of(video: str, boxes: pa.Table) -> list[tuple[Any, ...]]:
    """A video's faces in the order of `COLUMNS`.

    Edges of 32 bits have as few digits as tell them from their neighbours: those of an annotation of up to six digits.
    """
    edges = [boxes[name].to_numpy().astype(str).astype(np.float64).tolist() for name in EDGES]
    times, tracks, scores = (boxes[name].to_pylist() for name in ("frame_timestamp", "track_id", "score"))
    return [(video, *row) for row in zip(times, tracks, *edges, scores, strict=True)]


def write_official(found: Iterable[Sequence[Any]], out: TextIO) -> None:
    """Rows of `COLUMNS` as AVA's evaluation takes them: no header; video_id, frame_timestamp, edges, label, entity_id,
    score (`get_ava_active_speaker_performance.py`, https://github.com/activitynet/ActivityNet).
    """
    writer = csv.writer(out, lineterminator="\n")
    for video, time_s, entity, *edges, score in found:
        writer.writerow((video, time_s, *edges, SAID_OF_ALL, entity, score))


def problems(measured: Mapping[str, pa.RecordBatch]) -> dict[str, int]:
    """How many faces of a video have a problem, by what it is."""
    found: Counter[str] = Counter()
    for batch in measured.values():
        if "problem" in batch.schema.names:
            found.update(batch["problem"].flatten().drop_null().to_pylist())
    return dict(sorted(found.items()))


def _exact(boxes: pa.Table, annotation: str) -> pa.Table:
    """The same boxes with their edges as annotated: those measured have 32 bits."""
    told = parsed(annotation)
    at = {key: i for i, key in enumerate(zip(told.tracks, told.times_s.tolist(), strict=True))}
    keys = zip(boxes["track_id"].to_pylist(), boxes["frame_timestamp"].to_pylist(), strict=True)
    edges = told.edges[[at[key] for key in keys]]
    for column, name in enumerate(EDGES):
        boxes = boxes.set_column(boxes.schema.get_field_index(name), name, pa.array(edges[:, column]))
    return boxes


def _told(
    dataset: Dataset, annotations: str, files: Sequence[str], say: Callable[[str], None] | None
) -> dict[str, str]:
    """What the CSVs say of each video that they name, read as those of a drop are.

    Raises:
        RequestError: if there are none.
    """
    tables = {str(i): path for i, path in enumerate(_tables(dataset, Path(annotations)))}
    if dataset.annotations is None or not tables:
        raise RequestError(f"--annotations {annotations}: no CSV file there")
    # A name without the ending that label files have is no reason to pass over what was named.
    names = {key: path.name if dataset.label_files(path.name) else f"{path.name}.csv" for key, path in tables.items()}
    csvs = [BronzeFile(key, f"{key}/{name}", "text/csv", key) for key, name in names.items()]
    videos = [BronzeFile(file, f"{video_id(file)}.mp4", "video/mp4", "") for file in files]

    def read(key: str) -> bytes:
        return tables[key].read_bytes()

    if say and dataset.summary:
        summary = dataset.summary()
        for label in dataset.labels([*csvs, *videos], read):
            summary.add(label)
        say(summary.words())
    return {one.file_id: one.text for one in dataset.annotations([*csvs, *videos], read)}


def _tables(dataset: Dataset, place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(path for path in place.rglob("*") if path.is_file() and dataset.label_files(path.name))
    if not place.is_file():
        raise RequestError(f"--annotations {place}: no such file or folder")
    return [place]
