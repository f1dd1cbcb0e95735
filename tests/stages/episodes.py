"""A lake with a few small episodes, and gold.podcast_segments made by hand: for pages and batches, in a second."""

from __future__ import annotations

import hashlib
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avlake.lake import Lake
from avlake.learn import artifacts
from avlake.learn.artifacts import Chosen
from avlake.settings import Settings
from avlake.stages.ingest import ingest
from avlake.stages.publish import publish
from avlake.tables import EXTRACTIONS, Table

PIPELINE, DATASET, DROP, RUN = "podcast_outros", "podcasts", "2026-09-01", "train-1"
TABLE = "gold.podcast_segments"
RATE, SEGMENT_S, SEGMENTS, FEATURES = 8_000, 4.0, 8, 6
PATHS = ("a/one.wav", "two <b>$x_{$ 二.wav", "three, 3.wav", "=four.wav")
MUSIC_FROM = 6  # segments from here on sound like music


def file_id(path: str) -> str:
    return hashlib.sha256(f"{DATASET}/{path}".encode()).hexdigest()[:32]


def make_lake(folder: Path, **columns: Any) -> Settings:
    """Four episodes of 8 segments, ingested and published; the tone of a segment tells which it is (see `tone_hz`).

    Args:
        columns: of gold, by name: a value for all segments, or a function of path and index.
    """
    landing = folder / "landing" / DATASET / DROP
    for path in PATHS:
        (landing / path).parent.mkdir(parents=True, exist_ok=True)
        (landing / path).write_bytes(_episode(path))
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=1)
    ingest(settings, dataset=DATASET, source=str(folder / "landing"), drop=DROP, run_id="made")
    lake = Lake.open(settings)
    row = {"dataset": DATASET, "drop_date": DROP, "file_id": file_id(PATHS[0]), "path": PATHS[0], "status": "ok"}
    made = pa.Table.from_pylist([row | {"extractor": "segment_features"}], schema=EXTRACTIONS.schema)
    fragment = lake.write_fragment(EXTRACTIONS, DATASET, DROP, [made])
    lake.commit_drop(EXTRACTIONS, DATASET, DROP, [fragment], expected_version=0)
    put_gold(settings, **columns)
    return settings


def put_gold(settings: Settings, **columns: Any) -> None:
    """Make gold anew, and publish."""
    rows = [
        segment(path, index) | {name: v(path, index) if callable(v) else v for name, v in columns.items()}
        for path in PATHS
        for index in range(SEGMENTS)
    ]
    texts = dict.fromkeys(("label", "label_source", "machine_label", "reject_reason"), pa.string())
    schema = pa.schema(
        [
            (name, texts.get(name, pa.float32() if name.startswith(("f_", "tag_")) else pa.infer_type([value])))
            for name, value in rows[0].items()
        ]
    )
    table = Table(TABLE, "segments", ("file_id", "segment_index"), schema, per_drop=False)
    put(settings, table, rows)


def put(settings: Settings, table: Table, rows: list[dict[str, Any]]) -> None:
    """Make a whole table hold these rows, and publish."""
    lake = Lake.open(settings)
    made = pa.Table.from_pylist(rows, schema=table.schema)
    lake.replace_table(table, [made], expected_version=lake.table_version(table))
    publish(settings, run_id=f"published {table.name} {lake.table_version(table)}")


def segment(path: str, index: int) -> dict[str, Any]:
    """A row of gold: unlabelled, of features that differ between speech and music."""
    rng = np.random.default_rng([index, *path.encode()])
    is_music = index >= MUSIC_FROM
    return {
        "file_id": file_id(path),
        "dataset": DATASET,
        "drop_date": DROP,
        "path": path,
        "segment_index": index,
        "start_s": index * SEGMENT_S,
        "end_s": (index + 1) * SEGMENT_S,
        "is_short": False,
        "label": None,
        "label_source": None,
        "machine_label": "music" if is_music else "dialogue",
        "split": "train",
        "kept": True,
        "reject_reason": None,
        "licence": "its own",
        "source": f"{DATASET}/{DROP}/{path}",
        **{f"f_{i}_mean": float(4 * is_music + rng.normal()) for i in range(FEATURES)},
        "f_still": 1.0,
        "tag_music_mean": float(is_music),
    }


def put_model(settings: Settings, *, run_id: str = RUN, **files: bytes) -> None:
    """A model in charge that has judged every segment: the first ones of each episode are what it is least sure of."""
    store = Lake.open(settings).store
    folder = artifacts.model_folder(PIPELINE, run_id)
    artifacts.write_files(store, folder, {"predictions.parquet": predictions(), **said_of_itself(), **files})
    artifacts.choose(store, PIPELINE, Chosen(run_id, "key", "vote", "gold", folder))


def said_of_itself(*, verified: bool = True) -> dict[str, bytes]:
    """What a training says of itself: see `avlake.learn.outros`."""
    figures = [score(name, "segment_macro_f1", value) for name, value in (("random_forest", 0.9), ("vote", 0.92))]
    figures += [score("vote_minus_random_forest", "segment_macro_f1", 0.02)]
    figures += [score("vote", "outro_within_2_s", 1.0, n=2), score("vote", "outro_invented", 0.5, n=2)]
    results = dict(zip(PATHS, ("right", "right", "invented", "unlabelled"), strict=True))
    values = {
        "features.json": {"verified": verified, "counts": {"seeded": not verified}},
        "metrics.json": figures if verified else [score("vote", "unverified", 1.0)],
        "outros.json": [outro(path, result) for path, result in results.items()],
        "verdict.json": {"words": ["It is a test."]},
    }
    return {"card.md": b"# A card", **{name: artifacts.to_json(value) for name, value in values.items()}}


def score(model: str, metric: str, value: float, n: int = 30) -> dict[str, Any]:
    ends = {"ci_low": value - 0.05, "ci_high": value + 0.05}
    return {"model": model, "split": "cv", "metric": metric, "value": value, "n": n, **ends}


def outro(path: str, result: str) -> dict[str, Any]:
    found = None if path == PATHS[1] else MUSIC_FROM * SEGMENT_S
    label = found + 0.4 if found is not None and result == "right" else None
    return {
        "file_id": file_id(path),
        "path": path,
        "duration_s": SEGMENTS * SEGMENT_S,
        "labelled": result != "unlabelled",
        "has_outro": None if result == "unlabelled" else label is not None,
        "label_outro_start_s": label,
        "label_intro_end_s": None,
        "outro_start_s": found,
        "intro_end_s": None,
        "confidence": 0.75,
        "error_s": None if label is None or found is None else found - label,
        "held_out": result != "unlabelled",
        "result": result,
    }


def predictions(*, labelled: bool = True) -> bytes:
    """What it says of every segment; `labelled` of those of the first two episodes also what people say."""
    rows = []
    for path in PATHS:
        for index in range(SEGMENTS):
            music = (0.45 + 0.05 * index) if index < 2 else 0.95 if index >= MUSIC_FROM else 0.02
            shares = {"music": music, "both": 0.02, "dialogue": 0.98 - music}
            predicted = max(shares, key=shares.__getitem__)
            made = segment(path, index)
            told = labelled and path in PATHS[:2]
            label = ("music" if index >= MUSIC_FROM else "dialogue") if told else None
            rows.append(
                {name: made[name] for name in ("file_id", "path", "segment_index", "start_s", "end_s")}
                | {"label": label, "label_source": "human_outro" if told else None, "held_out": told}
                | {"y": int(label == "music") if told else None, "vote": music + 0.02}
                | {"random_forest": music, "gradient_boosting": music}
                | {"predicted": predicted, "probability": shares[predicted]}
                | {f"p_{name}": value for name, value in shares.items()}
            )
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def tone_hz(path: str, index: int) -> float:
    """What is heard in a segment: all of them differ."""
    return 200.0 + 40.0 * (SEGMENTS * PATHS.index(path) + index)


def _episode(path: str) -> bytes:
    time_s = np.arange(round(SEGMENT_S * RATE)) / RATE
    sound = np.concatenate([np.sin(2 * np.pi * tone_hz(path, index) * time_s) for index in range(SEGMENTS)])
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes((8000 * sound).astype("<i2").tobytes())
    return out.getvalue()
