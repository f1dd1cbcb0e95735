"""Films of two square faces, the one that speaks being bright; and a model that goes by that.

Its checkpoints are JSON here: what is tested is what stages make of a model, whichever.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import pyarrow as pa

from avlake.errors import Quarantined, WorkError
from avlake.extractors.face_tracks import FaceTracks
from avlake.learn.artifacts import Chosen, choose, write_files
from avlake.learn.base import Measured, Place, Progress, Trained
from avlake.learn.drift import Drift
from avlake.storage import open_store
from avlake.tables import MODEL_RUNS, Table
from clips import make_clip

PIPELINE = "active_speaker"
WIDTH, HEIGHT, RATE_HZ, SECONDS = 320, 160, 25, 1.2
LEFT, RIGHT = (0.1, 0.25, 0.3, 0.75), (0.65, 0.25, 0.85, 0.75)
BRIGHT, DIM = 220, 70
BOXES = pa.schema(
    {"track_id": pa.string(), "frame_timestamp": pa.float64()}
    | dict.fromkeys(("x1", "y1", "x2", "y2"), pa.float32())
    | {"score": pa.float64()}
)
Row = tuple[str, float, float, float, float, float, str, str]


def speaks(name: str, entity: str, time_s: float) -> bool:
    """In turns: the face on the left of `a` in the first half, of `b` in the second, and so on."""
    return (time_s < SECONDS / 2) == ((entity == "left") == (ord(name[-1]) % 2 == 1))


def film(name: str, *, silent: bool = False) -> bytes:
    """An mp4 in which whoever speaks is bright; a tone while the left one does."""

    def draw(time_s: float) -> np.ndarray[Any, Any]:
        picture = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
        for entity, (x1, y1, x2, y2) in (("left", LEFT), ("right", RIGHT)):
            picture[round(y1 * HEIGHT) : round(y2 * HEIGHT), round(x1 * WIDTH) : round(x2 * WIDTH)] = (
                BRIGHT if speaks(name, entity, time_s) else DIM
            )
        return picture

    at = np.arange(round(SECONDS * 16_000)) / 16_000
    left = np.array([speaks(name, "left", t) for t in at])
    tone = np.where(left, 0.5 * np.sin(2 * np.pi * 440 * at), 0.0)
    return make_clip(draw, None if silent else tone, seconds=SECONDS, rate_hz=RATE_HZ)


def annotated(name: str) -> list[Row]:
    """Every face of every picture, as AVA has it."""
    return [
        (
            name,
            round(i / RATE_HZ, 2),
            *box,
            "SPEAKING_AUDIBLE" if speaks(name, entity, i / RATE_HZ) else "NOT_SPEAKING",
            f"{name}:{entity}",
        )
        for entity, box in (("left", LEFT), ("right", RIGHT))
        for i in range(round(SECONDS * RATE_HZ))
    ]


def as_csv(rows: list[Row]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_drop(landing: Path, drop: str, names: str) -> None:
    """A drop with a film for each letter, and one CSV of them all."""
    folder = landing / "ava" / drop
    (folder / "videos").mkdir(parents=True)
    for name in names:
        (folder / "videos" / f"{name}.mp4").write_bytes(film(name))
    (folder / "train.csv").write_text("".join(as_csv(annotated(name)) for name in names))


@dataclass(frozen=True)
class BrightnessModel:
    """The brighter a face, the more it speaks; or, with `sign` -1, the less."""

    measured: Mapping[str, Measured]
    drops: tuple[str, ...] = ()
    videos: frozenset[str] = frozenset()
    sign: int = 1

    def boxes(self, measured: Mapping[str, pa.RecordBatch]) -> pa.Table:
        found = []
        for row in measured["face_tracks"].to_pylist():
            start = 0
            for i, size in enumerate(row["crop_bytes"]):
                jpeg = row["crops"][start : start + size]
                start += size
                if size:
                    look = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE).mean() / 255
                    same = {name: row[name][i] for name in ("frame_timestamp", "x1", "y1", "x2", "y2")}
                    found.append({"track_id": row["track_id"], **same, "score": 0.5 + self.sign * (look - 0.5)})
        if not found:
            raise Quarantined("no_faces", "nobody is to be seen")
        return pa.Table.from_pylist(found[::-1], BOXES)

    def drift(self, con: duckdb.DuckDBPyConnection) -> list[Drift]:
        return []

    def dump(self) -> bytes:
        about = asdict(self) | {
            "videos": sorted(self.videos),
            "measured": {k: asdict(v) for k, v in self.measured.items()},
        }
        return json.dumps(about).encode()


@dataclass(frozen=True)
class BrightnessLearner:
    table: str = "gold.active_speaker_frames"
    extractors: tuple[str, ...] = ("face_tracks",)
    also_reads: tuple[str, ...] = ()
    results: Table = MODEL_RUNS
    predicts: bool = True
    answers: tuple[str, ...] = ("score",)

    def identity(self) -> dict[str, Any]:
        return {}

    def train(
        self,
        con: duckdb.DuckDBPyConnection,
        measured: Mapping[str, Measured],
        progress: Progress,
        place: Place | None = None,
    ) -> Trained:
        raise NotImplementedError

    def load(self, files: Mapping[str, bytes]) -> BrightnessModel:
        return self.checkpoint(files["model.safetensors"], "the model")

    def checkpoint(self, data: bytes, name: str) -> BrightnessModel:
        try:
            told = json.loads(data)
        except ValueError:
            raise WorkError(f"{name} is damaged, or no checkpoint") from None
        measured = {extractor: Measured(**one) for extractor, one in told["measured"].items()}
        return BrightnessModel(measured, (), frozenset(told["videos"]), told["sign"])


def model(sign: int = 1, videos: str = "", **params: Any) -> BrightnessModel:
    """One that learned from faces measured with these parameters."""
    extractor = FaceTracks(FaceTracks.Params(**params))
    measured = Measured("face_tracks", extractor.params.model_dump(mode="json"), extractor.params_hash)
    return BrightnessModel({"face_tracks": measured}, (), frozenset(videos), sign)


def put_in_charge(uri: str, made: BrightnessModel) -> None:
    store = open_store(uri)
    write_files(store, f"models/{PIPELINE}/first", {"model.safetensors": made.dump()})
    choose(store, PIPELINE, Chosen("first", "key", "network", "1", f"models/{PIPELINE}/first"))
