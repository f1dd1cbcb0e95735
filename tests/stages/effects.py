"""Clips of VGGSound as rows of a lake, as if they had been delivered and measured."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from avlake.extractors import base
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.human import Said, submit
from avlake.tables import BRONZE_FILES, EXTRACTIONS, LABELS

DATASET, DROP = "vggsound", "2026-09-01"


@dataclass(frozen=True)
class Sound:
    """One clip; `speech` and `music` are the scores of its windows, of which the last is not trusted."""

    video_id: str = "AbCdEfGhIjK_000010"
    speech: Sequence[float] = (0.01, 0.01, 0.01, 0.0)
    music: Sequence[float] = (0.01, 0.01, 0.01, 0.0)
    speech_ratio: float | None = 0.0  # None: the voice detector has no row
    label: str | None = "dog barking"
    human: str | None = None
    tags: Sequence[tuple[str, float]] = field(default=(("Bark", 0.8), ("Dog", 0.7)))
    panns: tuple[float, float] | None = None  # scores of speech and music by the second tagger
    duration_s: float = 4.0
    has_audio: bool = True
    shard: str = "vggsound_00.tar.gz"
    clip: str | None = None  # what a Parquet file's row says

    @property
    def path(self) -> str:
        return f"{self.shard}/{self.video_id}.mp4"

    @property
    def file_id(self) -> str:
        return hashlib.sha256(f"{DATASET}/{self.path}".encode()).hexdigest()[:32]


def shelve(settings: Settings, sounds: Iterable[Sound]) -> None:
    """Commit the drop that these clips make up, and what people say of them."""
    lake, rows, said = Lake.open(settings), defaultdict(list), []
    for sound in sounds:
        for name, row in _rows(sound):
            rows[name].append({"file_id": sound.file_id, "dataset": DATASET, "drop_date": DROP, **row})
        if sound.human:
            said.append(Said(sound.video_id, "sound", sound.human, source="test"))
    tables = {t.name: t for t in (BRONZE_FILES, LABELS, EXTRACTIONS)}
    tables |= {e.table.name: e.table for e in base.all_extractors().values()}
    for name in sorted(rows, key=lambda name: name == EXTRACTIONS.name):
        made = pa.Table.from_pylist(rows[name], schema=tables[name].schema)
        fragment = lake.write_fragment(tables[name], DATASET, DROP, [made])
        version = lake.drop_version(tables[name], DATASET, DROP)
        lake.commit_drop(tables[name], DATASET, DROP, [fragment], expected_version=version)
    if said:
        submit(lake, DATASET, said, who="tester")


def _rows(sound: Sound) -> Iterable[tuple[str, dict[str, Any]]]:
    file = {"path": sound.path, "sha256": hashlib.sha256(sound.path.encode()).hexdigest()}
    facts = {"media_type": "video/mp4", "size_bytes": 9, "licence": "none"}
    yield "bronze.files", {**file, **facts, "source_uri": f"/landing/{sound.path}"}
    yield "silver.labels", {"subject_id": sound.video_id[:-7], "name": "sound", "value": sound.label, "source": "csv"}
    if sound.clip:
        yield "silver.labels", {"subject_id": sound.clip[:-7], "name": "clip", "value": sound.clip, "source": "rows"}
    if not sound.has_audio:
        yield "ops.extractions", {**file, "extractor": "open", "status": "quarantined", "error_class": "no_audio"}
        return
    yield "silver.media", {"duration_s": sound.duration_s, "codec": "aac"}
    for extractor in ("media", "audio_tags", "speech"):
        hashed = base.load(extractor)().params_hash
        done = {**file, "extractor": extractor, "status": "ok", "seconds": 0.5, "params_hash": hashed}
        yield "ops.extractions", done
    yield from _windows("silver.audio_tags", sound.speech, sound.music, sound.tags)
    if sound.panns:
        yield from _windows("silver.panns_tags", (sound.panns[0], 0.0), (sound.panns[1], 0.0), ())
    if sound.speech_ratio is not None:
        speech = {"duration_s": sound.duration_s, "speech_s": sound.speech_ratio * sound.duration_s}
        yield "silver.speech", {**speech, "speech_ratio": sound.speech_ratio}


def _windows(
    table: str, speech: Sequence[float], music: Sequence[float], tags: Sequence[tuple[str, float]]
) -> Iterable[tuple[str, dict[str, Any]]]:
    for index, (s, m) in enumerate(zip(speech, music, strict=True)):
        row: dict[str, Any] = {"window_index": index, "start_s": 0.975 * index, "trusted": index < len(speech) - 1}
        row |= {"speech": s, "music": m, "top_tags": [tag for tag, _ in tags], "top_scores": [p for _, p in tags]}
        yield table, row
