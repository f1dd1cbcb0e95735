"""A lake of odd files, and gold.clips: a table of every kind of value, made by hand."""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa

from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.commit import commit
from avlake.stages.extract import measure_shard, plan
from avlake.stages.ingest import ingest
from avlake.stages.publish import publish
from avlake.tables import Table

DROP = "2026-09-01"
TABLE = "gold.clips"
NAMES = {"odd": "ünï çødé/Ω 1.WAV", "empty split": "b.wav", "video": "v.mp4"}
Exported = Callable[..., Path]


def settings_of(folder: Path) -> Settings:
    # Recordings on both sides of the limit: rows of bronze.contents, and objects.
    return Settings(
        uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=2, inline_max_bytes=110_000
    )


def file_id(path: str) -> str:
    return hashlib.sha256(f"voxforge/{path}".encode()).hexdigest()[:32]


def make_shelf(folder: Path) -> Settings:
    landing = folder / "landing" / "voxforge" / DROP
    (landing / "ünï çødé").mkdir(parents=True)
    rng = np.random.default_rng(1)
    write_wav(landing / NAMES["odd"], rng.integers(-9000, 9000, (44_100, 2)), 44_100)
    write_wav(landing / NAMES["empty split"], rng.integers(-9000, 9000, (16_000, 1)), 16_000)
    write_video(landing / NAMES["video"])
    (landing / "notes.txt").write_text("not a recording")
    settings = settings_of(folder)
    ingest(settings, dataset="voxforge", source=str(folder / "landing"), drop=DROP, run_id="made")
    made = plan(settings, pipeline="voxforge_gender", drop=DROP, run_id="made")
    for shard in range(made.shards):
        measure_shard(settings, plan=made.plan, shard=shard, run_id="made")
    commit(settings, plan=made.plan, run_id="made")
    replace_table(settings, [row(NAMES["odd"]), row(NAMES["empty split"], split=None, score=None, kept=False)])
    return settings


def row(path: str, **values: Any) -> dict[str, Any]:
    return {
        "file_id": file_id(path),
        "dataset": "voxforge",
        "drop_date": DROP,
        "path": path,
        "split": "test",
        "kept": True,
        "label": 'a "b",\nc',
        "score": float("nan"),
        "tags": ["x", None],
        "day": date(2026, 9, 1),
        "seen_at": datetime(2026, 9, 1, 12, 30, tzinfo=UTC),
    } | values


def replace_table(settings: Settings, rows: list[dict[str, Any]], **types: pa.DataType) -> None:
    """Make gold.clips these rows, and publish."""
    kinds: dict[str, pa.DataType] = dict.fromkeys(row(""), pa.string())
    kinds |= {"kept": pa.bool_(), "score": pa.float64(), "tags": pa.list_(pa.string()), "day": pa.date32()}
    kinds |= {"seen_at": pa.timestamp("us", tz="UTC"), **types}
    table = Table(TABLE, "clips", ("file_id",), pa.schema(list(kinds.items())), per_drop=False)
    lake = Lake.open(settings)
    made = pa.Table.from_pylist(rows, schema=table.schema)
    lake.replace_table(table, [made], expected_version=lake.table_version(table))
    publish(settings, run_id=f"published {lake.table_version(table)}")


def write_wav(path: Path, samples: np.ndarray[Any, Any], rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(samples.astype("<i2").tobytes())


def write_video(path: Path) -> None:
    """One second of noise in MPEG-4."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        rng = np.random.default_rng(2)
        for _ in range(10):
            picture = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def delivered(settings: Settings, path: str) -> bytes:
    return (Path(settings.uri).parent / "landing" / "voxforge" / DROP / path).read_bytes()
