"""Small worlds of faces: rows of silver.face_tracks and of gold, whose mouths move with the sound, or not.

In each scene two mouths open and close, each with a sound of its own; the sound that is heard is one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import pyarrow as pa

from avlake.extractors.face_tracks import COEFFICIENTS, EXTRACTOR, MELS, SIDE_PX, STEPS
from avlake.learn.base import Measured, Place
from avlake.storage import open_store
from avlake.thresholds import ActiveSpeakerThresholds

FPS = 25
TABLE = "gold.active_speaker_frames"
FACES = EXTRACTOR()
MEASURED = {"face_tracks": Measured("face_tracks", FACES.params.model_dump(mode="json"), FACES.params_hash)}
Row = dict[str, Any]


@dataclass
class World:
    """Videos of one scene each; `track` adds to them."""

    silver: list[Row] = field(default_factory=list)
    gold: list[Row] = field(default_factory=list)

    def rows(self, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """As `learn.base.Silver`, three rows at a time."""
        assert name == "silver.face_tracks"
        yield from pa.Table.from_batches([measured(self.silver)]).select(list(columns)).to_batches(max_chunksize=3)

    def con(self) -> duckdb.DuckDBPyConnection:
        """A warehouse with the gold table."""
        con = duckdb.connect()
        con.execute("CREATE SCHEMA gold")
        con.register("gold_rows", pa.Table.from_pylist(self.gold, schema=GOLD))
        con.execute(f"CREATE TABLE {TABLE} AS FROM gold_rows")
        return con

    def place(self, folder: Path, **options: Any) -> Place:
        """Where a training may be at home: `folder` is the lake."""
        store = open_store(str(folder), setting="AVLAKE_URI")
        return Place(self, store, "_training/speakers", ActiveSpeakerThresholds(**options))

    def add(
        self,
        video: str,
        track: str,
        *,
        opens: np.ndarray[Any, Any],
        heard: np.ndarray[Any, Any],
        audible: bool | None,
        start_s: float = 0.0,
        talker: str | None = None,
        parts: int = 1,
        dataset: str = "ava",
        split: str = "train",
        problems: Sequence[int] = (),
        kept: bool = True,
        fps: float = FPS,
    ) -> None:
        """A track: how far its mouth is open at each of n times, and how loud the sound is then, both in [0, 1]."""
        times = start_s + np.arange(len(opens)) / fps
        for part, places in enumerate(np.array_split(np.arange(len(opens)), parts)):
            crops = [b"" if i in problems else drawn(opens[i]) for i in places]
            log_mel, mfcc = sounding(heard[places])
            label = None if audible is None else "SPEAKING_AUDIBLE" if audible else "SPEAKING_NOT_AUDIBLE"
            self.silver.append(
                {
                    "file_id": video,
                    "dataset": dataset,
                    "drop_date": "2026-01-01",
                    "track_id": track,
                    "part": part,
                    "source": "annotation",
                    "start_s": times[places[0]],
                    "end_s": times[places[-1]],
                    "faces": len(places),
                    "frame_timestamp": times[places].tolist(),
                    "x1": [0.1] * len(places),
                    "y1": [0.2] * len(places),
                    "x2": [0.3] * len(places),
                    "y2": [0.6] * len(places),
                    "label": [label] * len(places),
                    "problem": ["no_frame" if i in problems else None for i in places],
                    "width_px": 500,
                    "height_px": 300,
                    "crops": b"".join(crops),
                    "crop_bytes": [len(one) for one in crops],
                    "log_mel": log_mel,
                    "mfcc": mfcc,
                }
            )
            if dataset != "ava":
                continue
            for index, i in enumerate(places):
                fine = kept and i not in problems
                self.gold.append(
                    {
                        "file_id": video,
                        "dataset": dataset,
                        "drop_date": "2026-01-01",
                        "path": f"{video}.mp4",
                        "video_id": video,
                        "track_id": track,
                        "part": part,
                        "face_index": index,
                        "frame_timestamp": times[i],
                        "x1": 0.1,
                        "y1": 0.2,
                        "x2": 0.3,
                        "y2": 0.6,
                        "label": label,
                        "audible": audible,
                        "subject_id": talker,
                        "scene": 0,
                        "faces_on_screen": 2,
                        "face_px": 100.0,
                        "track_s": times[-1] - times[0],
                        "split": split,
                        "kept": fine and audible is not None,
                        "trains": fine and audible is not None,
                    }
                )


GOLD = pa.schema(
    {
        **dict.fromkeys(("file_id", "dataset", "drop_date", "path", "video_id", "track_id"), pa.string()),
        **dict.fromkeys(("part", "face_index"), pa.int32()),
        **dict.fromkeys(("frame_timestamp", "track_s", "face_px"), pa.float64()),
        **dict.fromkeys(("x1", "y1", "x2", "y2"), pa.float32()),
        **dict.fromkeys(("label", "subject_id", "split"), pa.string()),
        **dict.fromkeys(("audible", "kept", "trains"), pa.bool_()),
        **dict.fromkeys(("scene", "faces_on_screen"), pa.int32()),
    }
)


def drawn(opened: float) -> bytes:
    """A face's JPEG with a mouth that is open so far."""
    face = np.full((SIDE_PX, SIDE_PX), 160, dtype=np.uint8)
    cv2.ellipse(face, (56, 84), (16, 2 + int(12 * opened)), 0, 0, 360, 30, -1)
    return bytes(cv2.imencode(".jpg", face)[1])


def sounding(loud: np.ndarray[Any, Any]) -> tuple[bytes, bytes]:
    """log_mel and mfcc of n faces, as stored; each sound has a timbre of its own, which does not change its level."""
    timbre = np.cumsum(np.random.default_rng(int(1e6 * loud.sum())).normal(0, 0.1, (len(loud) * STEPS, MELS)), axis=0)
    level = np.repeat(-9 + 8 * loud, STEPS)[:, None] + np.linspace(0, -2, MELS)
    level = level + timbre - timbre.mean(axis=1, keepdims=True)
    cepstrum = np.zeros((len(level), COEFFICIENTS))
    cepstrum[:, 0] = 40 * np.repeat(loud, STEPS)
    return level.astype("<f2").tobytes(), cepstrum.astype("<f2").tobytes()


def measured(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows of silver.face_tracks."""
    schema = FACES.table.schema
    return pa.RecordBatch.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)


def moving(seed: int, n: int) -> np.ndarray[Any, Any]:
    """(n,) in [0, 1]: how something opens and closes, about three times a second."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=n + 8)
    smooth = np.convolve(rough, np.hanning(9), "valid")
    found: np.ndarray[Any, Any] = (smooth - smooth.min()) / np.ptp(smooth)
    return found


def two_talkers(videos: int = 6, n: int = 24, talkers: Sequence[str] = (), heads: int = 0) -> World:
    """Videos of two talkers of whom one is heard; and talking heads without labels."""
    world = World()
    for video in range(videos):
        first, second = moving(2 * video, n), moving(2 * video + 1, n)
        names = (talkers[video % len(talkers)], talkers[(video + 1) % len(talkers)]) if talkers else (None, None)
        heard = second if video % 2 else first
        for track, (opens, name) in enumerate(zip((first, second), names, strict=True)):
            is_heard = track == video % 2
            world.add(f"v{video}", f"v{video}:{track}", opens=opens, heard=heard, audible=is_heard, talker=name)
    for head in range(heads):
        opens = moving(1000 + head, 60)
        world.add(f"h{head}", "face_0001", opens=opens, heard=opens, audible=None, dataset="voxceleb")
    return world
