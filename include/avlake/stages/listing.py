"""The list of what a pipeline keeps, as one file of JSON lines that others can read: `sfx_filtered.jsonl`.

It lies in the lake, in `exports/<pipeline>`, and is written whole with every curate; the same content is not written
again. What was taken down is not in it, from the next curate on.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from avlake.lake import Lake
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages import bounded
from avlake.stages.takedowns import excluded

COLUMNS = (
    "video_id",
    "audio_text_description",
    "path",
    "sound",
    "speech_score",
    "music_score",
    "p_sfx",
    "top_tags",
    "youtube_id",
    "start_s",
)
# A clip that several shards or drops have is one clip; a name that says no start may well be that of several.
KEPT = f"""
SELECT {", ".join(COLUMNS)} FROM kept WHERE kept
QUALIFY start_s IS NULL OR row_number() OVER (PARTITION BY video_id ORDER BY path, file_id) = 1 ORDER BY path, file_id
"""


@dataclass(frozen=True)
class Listed:
    uri: str
    rows: int
    changed: bool


def write_list(settings: Settings, *, pipeline: str) -> Listed | None:
    """Write the pipeline's list of the clips that gold keeps; None for one that has no list, or no gold yet.

    One JSON object per clip and line, sorted by path: `COLUMNS`, NULL as null. Memory does not grow with the rows.
    """
    chosen, lake = get_pipeline(pipeline), Lake.open(settings)
    data = lake.scan(f"gold.{chosen.gold[-1]}") if chosen.lists else None
    if data is None:
        return None
    name, rows, digest = f"exports/{pipeline}/{chosen.lists}", 0, hashlib.sha256()
    with bounded.connect() as con, tempfile.TemporaryDirectory(prefix="avlake-") as folder:
        con.register("kept", excluded(lake).without(data))
        made = Path(folder) / "list.jsonl"
        with made.open("wb") as out:
            for batch in bounded.batches(con, KEPT):
                for row in batch.to_pylist():
                    line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
                    digest.update(line)
                    out.write(line)
                    rows += 1
        changed = not lake.store.exists(name) or _digest(lake, name) != digest.hexdigest()
        if changed:
            lake.store.upload(made, name)
    return Listed(lake.store.uri_of(name), rows, changed)


def _digest(lake: Lake, name: str) -> str:
    digest = hashlib.sha256()
    with lake.store.open(name) as file:
        while some := file.read(1 << 20):
            digest.update(some)
    return digest.hexdigest()
