"""Clips of talking heads as rows of a lake, as if they had been delivered and measured."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from avlake.datasets.voxceleb import place_of
from avlake.extractors import base
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.tables import BRONZE_FILES, EXTRACTIONS, LABELS, Table

GOOD = {"face_presence_ratio": 1.0, "avg_blur_score": 80.0, "speech_ratio": 0.95}


@dataclass(frozen=True)
class Head:
    """One clip: `metrics` by name, instead of those of a good one; None leaves out the whole row it is in."""

    path: str = "mp4/ann/v1/00001.mp4"
    drop: str = "2026-09-01"
    metrics: dict[str, float | None] = field(default_factory=dict)
    content: str | None = None  # equal content, equal bytes
    streams: tuple[str, ...] = ("audio", "video")
    size_px: tuple[int, int] = (224, 224)
    opens: bool = True

    @property
    def file_id(self) -> str:
        return hashlib.sha256(f"voxceleb/{self.path}".encode()).hexdigest()[:32]


def shelve(settings: Settings, heads: Iterable[Head]) -> None:
    """Commit the drops that these clips make up."""
    lake, drops = Lake.open(settings), defaultdict(list)
    for head in heads:
        drops[head.drop].append(head)
    for drop, found in drops.items():
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for head in found:
            for name, row in _rows(head):
                rows[name].append({"file_id": head.file_id, "dataset": "voxceleb", "drop_date": drop, **row})
        tables = {t.name: t for t in (BRONZE_FILES, LABELS, EXTRACTIONS)}
        tables |= {e.table.name: e.table for e in base.all_extractors().values()}
        for name in sorted(rows, key=lambda name: name == EXTRACTIONS.name):
            _commit(lake, tables[name], drop, rows[name])


def _rows(head: Head) -> Iterable[tuple[str, dict[str, Any]]]:
    place = place_of(head.path)
    assert place is not None
    sha256 = hashlib.sha256((head.content or head.path).encode()).hexdigest()
    file = {"path": head.path, "sha256": sha256}
    yield (
        "bronze.files",
        {**file, "source_uri": f"/landing/{head.path}", "media_type": "video/mp4", "size_bytes": 9, "licence": "none"},
    )
    yield "silver.labels", {"subject_id": place.speaker, "name": "video", "value": place.video, "source": head.path}
    yield "ops.extractions", {**file, "extractor": "media", "status": "ok" if head.opens else "quarantined"}
    if not head.opens:
        return
    audio, video = (name in head.streams for name in ("audio", "video"))
    yield (
        "silver.media",
        {
            "duration_s": 3.0,
            "codec": "aac" if audio else None,
            "video_codec": "h264" if video else None,
            **(dict(zip(("width_px", "height_px"), head.size_px, strict=True)) if video else {}),
        },
    )
    metrics = GOOD | head.metrics
    if video and metrics["face_presence_ratio"] is not None:
        yield "silver.video_quality", {name: metrics[name] for name in ("face_presence_ratio", "avg_blur_score")}
    if audio and metrics["speech_ratio"] is not None:
        yield "silver.speech", {"speech_ratio": metrics["speech_ratio"]}
    yield "silver.standardised", {"video": "v" * 64 if video else None, "audio": "a" * 64 if audio else None}


def _commit(lake: Lake, table: Table, drop: str, rows: list[dict[str, Any]]) -> None:
    fragment = lake.write_fragment(table, "voxceleb", drop, [pa.Table.from_pylist(rows, schema=table.schema)])
    version = lake.drop_version(table, "voxceleb", drop)
    lake.commit_drop(table, "voxceleb", drop, [fragment], expected_version=version)
