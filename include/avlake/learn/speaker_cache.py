"""Reading tracks: gold says what is known of each face, `silver.face_tracks` has its picture and the sound around it.

What is measured goes into flat files that are mapped into memory, so that training takes the same memory whatever the
drops' size: 1.4 KB on disk for each face, what the network looks at and the sound.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np

from avlake.errors import WorkError
from avlake.extractors.face_tracks import COEFFICIENTS, MELS, SIDE_PX, STEPS
from avlake.learn.speaker_data import AUDIBLE, LABELS, Array, Pixels, Track
from avlake.learn.speaker_net import SIDE, prepare

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from avlake.learn.base import Silver

SILVER = "silver.face_tracks"
BANDS = MELS + COEFFICIENTS
UNHEARD = LABELS.index("SPEAKING_NOT_AUDIBLE")
PIXELS = ("crops", "crop_bytes", "log_mel", "mfcc")
FILES = ("looks", "sound")
EMPTY = Pixels(np.zeros(0, np.bool_), np.zeros((0, SIDE, SIDE), np.uint8), np.zeros((0, STEPS, BANDS), np.float16))
FACTS = (
    "file_id",
    "track_id",
    "video_id",
    "drop",
    "split",
    "subject_id",
    "scene",
)  # columns of gold that a track has one of
OF_A_FACE = {  # columns of gold, one value per face, and what they are kept as
    "part": np.int32,
    "face_index": np.int32,
    "frame_timestamp": np.float64,
    "x1": np.float32,
    "y1": np.float32,
    "x2": np.float32,
    "y2": np.float32,
    "face_px": np.float32,
    "faces_on_screen": np.int32,
    "labels": np.int8,
    "kept": np.bool_,
    "trains": np.bool_,
}


@dataclass
class Cache:
    """What was measured of faces, one after the other, in files of a folder; in memory where there is no folder."""

    folder: Path | None = None
    faces: int = 0
    _files: dict[str, IO[bytes]] = field(default_factory=dict)
    _seen: list[Array] = field(default_factory=list)  # is there a picture? per part of a track

    def __enter__(self) -> Cache:
        with ExitStack() as opened:
            for name in FILES:
                file = (self.folder / name).open("wb") if self.folder else io.BytesIO()
                self._files[name] = opened.enter_context(file)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def add(self, rows: pa.RecordBatch, row: int) -> int:
        """One part of a track; returns where its first face is.

        Raises:
            WorkError: if it is damaged.
        """
        lengths = np.asarray(rows.column("crop_bytes")[row].values, dtype=np.int64)
        jpeg = np.frombuffer(rows.column("crops")[row].as_py(), dtype=np.uint8)
        sizes = {"log_mel": MELS, "mfcc": COEFFICIENTS}
        sound = [np.frombuffer(rows.column(name)[row].as_py(), dtype="<f2") for name in sizes]
        wanted = [len(lengths) * STEPS * size for size in sizes.values()]
        if lengths.sum() != len(jpeg) or [len(one) for one in sound] != wanted:
            raise WorkError(f"a row of {SILVER} is damaged: its lists do not fit its pictures and sound")
        shaped = [one.reshape(len(lengths), STEPS, size) for one, size in zip(sound, sizes.values(), strict=True)]
        crops = np.zeros((len(lengths), SIDE_PX, SIDE_PX), dtype=np.uint8)
        for i, end in enumerate(np.cumsum(lengths)):
            crops[i] = _decoded(jpeg[end - lengths[i] : end])
        self._files["looks"].write(prepare(crops).tobytes())
        self._files["sound"].write(np.concatenate(shaped, axis=-1).tobytes())
        self._seen.append(lengths > 0)
        first, self.faces = self.faces, self.faces + len(lengths)
        return first

    def pixels(self) -> Pixels:
        """Everything added so far."""
        seen = np.concatenate([np.zeros(0, np.bool_), *self._seen])
        looks = self._array("looks", np.uint8).reshape(self.faces, SIDE, SIDE)
        sound = self._array("sound", "<f2").reshape(self.faces, STEPS, BANDS)
        return Pixels(seen, looks, sound)

    def _array(self, name: str, kind: Any) -> Array:
        file = self._files[name]
        if isinstance(file, io.BytesIO):
            return np.frombuffer(file.getvalue(), dtype=kind)
        file.flush()
        path = Path(file.name)
        return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, dtype=kind)


def read_tracks(con: duckdb.DuckDBPyConnection, table: str, silver: Silver, folder: Path) -> list[Track]:
    """Every track that shares a scene with a face that gold keeps; what was measured lies in files of `folder`.

    Raises:
        WorkError: where gold has faces that the lake does not, or what the lake has is damaged.
    """
    lists = ", ".join(f"list({name} ORDER BY frame_timestamp, part, face_index) AS {name}" for name in OF_A_FACE)
    gold = con.sql(f"""
        WITH faces AS (
            SELECT * REPLACE (
                    coalesce(face_px, 0) AS face_px, coalesce(faces_on_screen, 1) AS faces_on_screen,
                    coalesce(kept, false) AS kept, coalesce(trains, false) AS trains
                ),
                dataset || '/' || drop_date AS "drop",
                CASE WHEN audible THEN {AUDIBLE} WHEN label = '{LABELS[UNHEARD]}' THEN {UNHEARD}
                    WHEN audible IS NULL THEN -1 ELSE 0 END AS labels
            FROM {table}
            SEMI JOIN (SELECT DISTINCT file_id, scene FROM {table} WHERE kept) AS told USING (file_id, scene)
        )
        SELECT {", ".join(FACTS)}, {lists} FROM faces GROUP BY ALL ORDER BY video_id, track_id, file_id
    """).to_arrow_table()
    wanted = {(one["drop"], one["file_id"], one["track_id"]) for one in gold.select(FACTS).to_pylist()}
    first: dict[tuple[str, str, str], dict[int, int]] = {}
    with Cache(folder) as cache:
        for batch, row in _rows(silver, ("dataset", "drop_date", *PIXELS)):
            key = (_drop(batch, row), *(batch.column(name)[row].as_py() for name in ("file_id", "track_id")))
            if key in wanted:
                first.setdefault(key, {})[batch.column("part")[row].as_py()] = cache.add(batch, row)
        pixels = cache.pixels()
    return [_as_gold_says(gold, row, first, pixels) for row in range(len(gold))]


def _as_gold_says(gold: pa.Table, row: int, first: dict[tuple[str, str, str], dict[int, int]], pixels: Pixels) -> Track:
    """One track; `first` says where each part of it is in `pixels`."""
    one = {name: gold.column(name)[row].as_py() for name in FACTS}
    faces = {
        name: gold.column(name)[row].values.to_numpy(zero_copy_only=False).astype(kind)
        for name, kind in OF_A_FACE.items()
    }
    begins = first.get((one["drop"], one["file_id"], one["track_id"]), {})
    if lacking := sorted(set(faces["part"].tolist()) - begins.keys()):
        raise WorkError(
            f"gold has part {lacking[0]} of track {one['track_id']}, which {SILVER} lacks: run the pipeline again, so "
            "that gold is made of what is there"
        )
    return Track(
        file_id=one["file_id"],
        video_id=one["video_id"],
        drop=one["drop"],
        split=one["split"],
        track_id=one["track_id"],
        talker=one["subject_id"],
        scene=one["scene"],
        times=faces["frame_timestamp"],
        boxes=np.column_stack([faces[edge] for edge in ("x1", "y1", "x2", "y2")]),
        labels=faces["labels"],
        kept=faces["kept"],
        trains=faces["trains"],
        face_px=faces["face_px"],
        faces_on_screen=faces["faces_on_screen"],
        rows=np.array([begins[part] for part in faces["part"].tolist()]) + faces["face_index"],
        pixels=pixels,
    )


def read_unlabelled(silver: Silver, folder: Path, skip: Iterable[str]) -> list[Track]:
    """Every track of the lake but those of the videos named in `skip` (their files); nothing is known of them.

    Args:
        skip: file_ids.
    """
    left_out = frozenset(skip)
    found = []
    columns = ("dataset", "drop_date", *PIXELS, "frame_timestamp", "x1", "y1", "x2", "y2", "label", "width_px")
    with Cache(folder) as cache:
        for batch, row in _rows(silver, columns):
            if batch.column("file_id")[row].as_py() not in left_out:
                found.append(_as_measured(batch, [row], cache))
        pixels = cache.pixels()
    last: dict[str, str] = {}
    for track in found:  # a file may be in several drops
        last[track.file_id] = max(track.drop, last.get(track.file_id, ""))
    return _in_scenes([replace(track, pixels=pixels) for track in found if track.drop == last[track.file_id]])


def tracks_of(batch: pa.RecordBatch) -> list[Track]:
    """The tracks of one video as measured, rows of `silver.face_tracks`, for a model to judge; nothing is kept back."""
    parts: dict[str, list[int]] = {}
    for row, name in enumerate(batch.column("track_id").to_pylist()):
        parts.setdefault(name, []).append(row)
    number = batch.column("part").to_pylist()
    with Cache() as cache:
        tracks = [_as_measured(batch, sorted(rows, key=number.__getitem__), cache) for _, rows in sorted(parts.items())]
        pixels = cache.pixels()
    return _in_scenes([replace(track, pixels=pixels) for track in tracks])


def _rows(silver: Silver, columns: Iterable[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
    for batch in silver.rows(SILVER, ("file_id", "track_id", "part", *columns)):
        for row in range(batch.num_rows):
            yield batch, row


def _drop(batch: pa.RecordBatch, row: int) -> str:
    return f"{batch.column('dataset')[row].as_py()}/{batch.column('drop_date')[row].as_py()}"


def _as_measured(batch: pa.RecordBatch, rows: list[int], cache: Cache) -> Track:
    """A track of one video from its parts; its pixels come later."""

    def value(name: str, default: Any = "") -> Any:
        return batch.column(name)[rows[0]].as_py() if name in batch.schema.names else default

    def faces(name: str, kind: Any) -> Array:
        return np.concatenate([np.asarray(batch.column(name)[row].values).astype(kind) for row in rows])

    begins = [cache.add(batch, row) for row in rows]
    at = np.concatenate(
        [np.arange(len(batch.column("crop_bytes")[row])) + first for row, first in zip(rows, begins, strict=True)]
    )
    times = faces("frame_timestamp", np.float64)
    order = np.argsort(times, kind="stable")
    boxes = np.column_stack([faces(edge, np.float32) for edge in ("x1", "y1", "x2", "y2")])
    unknown, nothing = np.full(len(times), -1, dtype=np.int8), np.zeros(len(times), dtype=bool)
    return Track(
        file_id=value("file_id"),
        video_id=value("file_id"),
        drop=f"{value('dataset')}/{value('drop_date')}",
        split="",
        track_id=value("track_id"),
        talker=None,
        scene=0,
        times=times[order],
        boxes=boxes[order],
        labels=unknown,
        kept=nothing,
        trains=nothing,
        face_px=((boxes[:, 2] - boxes[:, 0]) * value("width_px"))[order],
        faces_on_screen=np.ones(len(times), dtype=np.int32),
        rows=at[order],
        pixels=EMPTY,
    )


def _in_scenes(tracks: list[Track]) -> list[Track]:
    """With the scene each is in: tracks of a video that overlap in time, directly or through others."""
    found, scene, until = [], -1, dict[str, float]()
    for track in sorted(tracks, key=lambda track: (track.file_id, track.times[0], track.track_id)):
        if track.times[0] > until.get(track.file_id, -np.inf):
            scene += 1
        until[track.file_id] = max(track.times[-1], until.get(track.file_id, -np.inf))
        found.append(replace(track, scene=scene))
    return found


def _decoded(jpeg: Array) -> Array:
    """(112, 112) uint8 of one JPEG's bytes; black where there are none.

    Raises:
        WorkError: if they are no picture of that size.
    """
    if not len(jpeg):
        return np.zeros((SIDE_PX, SIDE_PX), dtype=np.uint8)
    picture = cv2.imdecode(np.asarray(jpeg), cv2.IMREAD_GRAYSCALE)
    if picture is None or picture.shape != (SIDE_PX, SIDE_PX):
        raise WorkError("a picture in silver.face_tracks is damaged: run the pipeline again with other parameters")
    return picture
