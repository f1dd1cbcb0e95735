"""Evaluate a model that judges faces, or many: on the labelled faces that gold keeps, from what the lake holds of them.

Videos a model was trained on are scored apart from those it never saw: only the latter say how good it is.
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from avlake import warehouse
from avlake.errors import Quarantined, RequestError, WorkError
from avlake.extractors import base as extractors
from avlake.lake import Lake
from avlake.learn.base import FaceModel, Progress, silent
from avlake.learn.speaker_scores import AP, Faces, scores_of_faces
from avlake.settings import Settings
from avlake.stages.checkpoints import Found, face_learner, find
from avlake.stages.contents import object_name
from avlake.stages.overlay import overlay
from avlake.stages.predict_faces import in_order, rows_of, write_official
from avlake.stages.train import measured_by
from avlake.storage import Store, open_store

if TYPE_CHECKING:
    import duckdb

Array = np.ndarray[Any, Any]
NOTHING = pa.schema(
    {"track_id": pa.string(), "frame_timestamp": pa.float64()}
    | dict.fromkeys(("x1", "y1", "x2", "y2"), pa.float32())
    | {"score": pa.float64()}
).empty_table()
SCENE = ("file_id", "scene")
UNSEEN, SEEN = "unseen", "seen"  # in the training of a model
KINDS = ("small", "middle", "large", "1_faces", "2_faces", "3_faces")  # of faces, see `learn.speaker_scores`
COLUMNS = ("checkpoint", "videos", AP, "ci_low", "ci_high", *KINDS, "faces", "speaking", "missing")


@dataclass(frozen=True)
class Evaluation:
    """A row in the order of `COLUMNS` per model and kind of videos; and what could not be done.

    Average precision, its 95 % interval, that of each kind of faces, None where it is undefined; how many faces were
    scored, how many of them speak and are heard, and of how many the model says nothing: those count as the least
    likely to speak.
    """

    rows: list[tuple[Any, ...]]
    refused: Mapping[str, str]  # by checkpoint: why it cannot be used
    silent: Mapping[str, str]  # by path of a video: why a model says nothing of it, or it cannot be drawn into


@dataclass(frozen=True)
class Video:
    """One video of gold with labelled faces."""

    file_id: str
    dataset: str
    drop: str
    path: str
    video_id: str
    name: str  # its video_id, and where others have the same what tells it from them


def evaluate_faces(
    settings: Settings,
    *,
    pipeline: str,
    checkpoint: str | None = None,
    drop: str | None = None,
    predictions: str | None = None,
    overlays: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Average precision of models on the faces of one drop, or of all.

    Args:
        checkpoint: a safetensors file, or a folder with some; by default the model in charge.
        predictions: a folder for what each model says of each video, `<checkpoint>/<video_id>.csv` as AVA has it.
        overlays: a folder for the videos with that drawn into them, `<checkpoint>/<video_id>.mp4`.

    Raises:
        RequestError: if nothing has been trained or published, the pipeline's models judge no faces, there is no such
            checkpoint, or a folder is a file.
        WorkError: if no checkpoint can be used, or gold has no labelled face of that drop.
    """
    learner, lake = face_learner(pipeline), Lake.open(settings)
    targets = {name: _folder(to, name) for name, to in (("predictions", predictions), ("overlay", overlays)) if to}
    con = warehouse.connect(settings)
    try:
        found = find(lake, pipeline, checkpoint, measured_by(con, lake.store, learner))
        videos = _videos(con, learner.table, drop)
        judged = _Judged(lake, con, learner.table, found, targets)
        for done, video in enumerate(videos, 1):
            judged.take(video)
            (progress or silent)("evaluate", done, len(videos))
    finally:
        con.close()
    return judged.evaluation()


class _Judged:
    """What the models said of the videos so far."""

    def __init__(
        self, lake: Lake, con: duckdb.DuckDBPyConnection, table: str, found: Found, targets: Mapping[str, Store]
    ) -> None:
        self._lake, self._con, self._table, self._found, self._targets = lake, con, table, found, targets
        self._silver = {name: lake.scan(f"silver.{name}") for model in found.models.values() for name in model.measured}
        self._faces: list[pa.Table] = []
        self._scores: dict[str, list[Array]] = {name: [] for name in found.models}
        self._silent: dict[str, str] = {}

    def take(self, video: Video) -> None:
        """Judge one video with every model."""
        gold = self._gold(video)
        labelled = gold.filter(pc.and_(gold["kept"], gold["audible"].is_valid()))
        self._faces.append(labelled)
        measured = self._measured(video)
        for name, model in self._found.models.items():
            boxes = self._boxes(video, model, measured)
            said = dict(zip(_keys(boxes), boxes["score"].to_pylist(), strict=True))
            self._scores[name].append(np.array([said.get(key, np.nan) for key in _keys(labelled)], np.float64))
            self._write(f"{name}/{video.name}", video, boxes, gold)

    def evaluation(self) -> Evaluation:
        faces, made = pa.concat_tables(self._faces), []
        for name, model in self._found.models.items():
            scores = np.concatenate(self._scores[name])
            seen = np.isin(faces["video_id"].to_numpy(), sorted(model.videos))
            for kind, mask in ((UNSEEN, ~seen), (SEEN, seen)):
                if mask.any():
                    made.append((name, kind, *_figures(faces.filter(pa.array(mask)), scores[mask])))
        return Evaluation(made, self._found.refused, self._silent)

    def _gold(self, video: Video) -> pa.Table:
        query = f"""SELECT video_id, file_id, track_id, frame_timestamp, label, audible, kept, face_px, faces_on_screen,
            scene FROM {self._table} WHERE file_id = ? AND dataset = ? AND drop_date = ? ORDER BY ALL"""
        return self._con.execute(query, [video.file_id, video.dataset, video.drop]).to_arrow_table()

    def _measured(self, video: Video) -> dict[str, pa.RecordBatch]:
        """What the lake holds of a video, as the sandbox would give it.

        Raises:
            WorkError: if the lake no longer has it.
        """
        here = (ds.field("dataset") == video.dataset) & (ds.field("drop_date") == video.drop)
        found = {}
        for name, data in self._silver.items():
            columns = [column for column in extractors.load(name).table.schema.names if column not in extractors.ADDED]
            table = data and data.to_table(columns=columns, filter=here & (ds.field("file_id") == video.file_id))
            if not table:
                raise WorkError(f"{video.path}: silver.{name} does not hold it any more: run its pipeline again")
            found[name] = table.combine_chunks().to_batches()[0]
        return found

    def _boxes(self, video: Video, model: FaceModel, measured: Mapping[str, pa.RecordBatch]) -> pa.Table:
        try:
            return in_order(model.boxes(measured))
        except Quarantined as error:
            self._silent[video.path] = f"{error.error_class}: {error}"
            return NOTHING

    def _write(self, name: str, video: Video, boxes: pa.Table, gold: pa.Table) -> None:
        """The predictions and the overlay asked for."""
        if store := self._targets.get("predictions"):
            text = io.StringIO()
            write_official(rows_of(video.video_id, boxes), text)
            store.write(f"{name}.csv", text.getvalue().encode())
        if store := self._targets.get("overlay"):
            labels = dict(zip(_keys(gold), gold["label"].to_pylist(), strict=True))
            shown = boxes.append_column("label", pa.array([labels.get(key) for key in _keys(boxes)], pa.string()))
            with tempfile.TemporaryDirectory(prefix="avlake-") as folder:
                made = Path(folder) / "overlay.mp4"
                try:  # outside the sandbox: gold holds only videos that were decoded whole in there, within its limits
                    with self._delivered(video, folder) as source:
                        overlay(source, shown, made)
                except WorkError as error:
                    self._silent[video.path] = str(error)
                else:
                    store.upload(made, f"{name}.mp4")

    @contextmanager
    def _delivered(self, video: Video, folder: str) -> Iterator[Path]:
        """A video's file on this machine.

        Raises:
            WorkError: if its bytes are not in the lake.
        """
        query = "SELECT sha256, uri IS NOT NULL FROM bronze.files WHERE file_id = ? AND dataset = ? AND drop_date = ?"
        found = self._con.execute(query, [video.file_id, video.dataset, video.drop]).fetchall()
        for sha256, is_object in found:
            if is_object and self._lake.store.exists(object_name(sha256)):
                with self._lake.store.local_copy(object_name(sha256)) as path:
                    yield path
                    return
            for _, data in self._lake.contents(video.dataset, video.drop, {sha256}):
                path = Path(folder) / "delivered"
                path.write_bytes(data)
                yield path
                return
        raise WorkError("its bytes are not in the lake any more: run its pipeline again")


def _figures(faces: pa.Table, scores: Array) -> list[float | int | None]:
    """The columns of `COLUMNS` behind the first two, of n faces and their scores, NaN where there is none."""
    y, px, on_screen = (faces[name].to_numpy() for name in ("audible", "face_px", "faces_on_screen"))
    scene = [f"{file_id}/{n}" for file_id, n in zip(*(faces[name].to_pylist() for name in SCENE), strict=True)]
    said, missing = np.nan_to_num(scores, nan=-np.inf), np.isnan(scores)
    made = scores_of_faces(Faces(y, np.array(scene), px, on_screen), {AP: said}, split="", compared=AP)
    found = {one.metric: one for one in made}
    whole = found.get(AP)
    values = [found[f"{AP}_{kind}"].value if f"{AP}_{kind}" in found else None for kind in KINDS]
    limits = [whole.value, whole.ci_low, whole.ci_high] if whole else [None] * 3
    return [*limits, *values, len(y), int(y.sum()), int(missing.sum())]


def _videos(con: duckdb.DuckDBPyConnection, table: str, drop: str | None) -> list[Video]:
    """The videos with labelled faces, of one drop or of all, by path.

    Raises:
        WorkError: if there are none.
    """
    if table not in warehouse.tables(con):
        raise WorkError(f"the warehouse has no {table}: run its pipeline first")
    found = con.execute(
        f"""SELECT DISTINCT file_id, dataset, drop_date, path, video_id FROM {table}
        WHERE kept AND audible IS NOT NULL AND coalesce(drop_date = ?, true) ORDER BY path, drop_date""",
        [drop],
    ).fetchall()
    if not found:
        there = con.execute(f"SELECT DISTINCT drop_date FROM {table} WHERE kept AND audible IS NOT NULL ORDER BY 1")
        dates = ", ".join(date for (date,) in there.fetchall()) or "none"
        raise WorkError(f"{table} keeps no labelled face of {drop or 'any drop'}; drops with some: {dates}")
    called = Counter(video_id for *_, video_id in found)
    return [
        Video(file_id, dataset, day, path, video_id, f"{video_id}-{file_id[:8]}" if called[video_id] > 1 else video_id)
        for file_id, dataset, day, path, video_id in found
    ]


def _keys(faces: pa.Table) -> list[tuple[str, float]]:
    return list(zip(faces["track_id"].to_pylist(), faces["frame_timestamp"].to_pylist(), strict=True))


def _folder(to: str, option: str) -> Store:
    """Raises:
    RequestError: if it is a file.
    """
    if "://" not in to and Path(to).is_file():
        raise RequestError(f"--{option} {to} is a file; name a folder")
    return open_store(to, setting=f"--{option}")
