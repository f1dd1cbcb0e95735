"""Lhotse manifests: one recording per file, one supervision and one cut per row, the files beside them in `audio/`.

Paths are relative, so the folder can be moved; say where it is when it is read, which stays lazy:

    cuts = lhotse.CutSet.from_jsonl_lazy("FOLDER/cuts.jsonl.gz").with_recording_path_prefix("FOLDER")
    recordings = lhotse.RecordingSet.from_jsonl_lazy("FOLDER/recordings.jsonl.gz").with_path_prefix("FOLDER")

A row's columns are the supervision's custom fields: `cut.supervisions[0].f0_hz_median`. A cut has two of them, too:
`cut.custom["split"]` and `cut.custom["kept"]`.
"""

from __future__ import annotations

import gzip
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from avlake.exports.recording import SAID, Recording
from avlake.exports.recordings import Recordings
from avlake.output import plain

MANIFESTS = ("recordings", "supervisions", "cuts")
CUT_FIELDS = ("split", "kept")
ENTITY = {"subject_id", "gender", "language", "window_start_s", "window_end_s"}  # fields that Lhotse has itself


def write(recordings: Recordings, folder: Path) -> None:
    """`recordings.jsonl.gz`, `supervisions.jsonl.gz`, `cuts.jsonl.gz` and `audio/`, which holds the delivered bytes.

    Speaker, gender and language come from the row, else from silver.labels; the text is the prompt, for rows that are
    of whole recordings.
    """
    (folder / "audio").mkdir()
    with ExitStack() as stack:
        files = {}
        for name in MANIFESTS:
            raw = stack.enter_context((folder / f"{name}.jsonl.gz").open("wb"))
            files[name] = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
        for recording in recordings:
            recording.save(folder / "audio" / recording.name)
            manifest = _recording(recording)
            _line(files["recordings"], manifest)
            for i, row in enumerate(recording.rows):
                start_s, end_s = recording.span(row) or (0.0, manifest["duration"])
                place = {"start": start_s, "duration": end_s - start_s, "channel": _channel(manifest)}
                said = {"id": recording.row_id(i), **place, **_supervision(recording, row)}
                _line(files["supervisions"], said)
                _line(
                    files["cuts"],
                    {
                        "id": recording.row_id(i),
                        **place,
                        "supervisions": [{**said, "start": 0.0}],  # a cut's own are relative to its start
                        "recording": manifest,
                        "custom": {name: row[name] for name in CUT_FIELDS if name in row},
                        "type": "MonoCut" if len(manifest["channel_ids"]) == 1 else "MultiCut",
                    },
                )


def _recording(recording: Recording) -> dict[str, Any]:
    facts = recording.facts
    channels = list(range(facts["channels"]))
    return {
        "id": recording.id,
        "sources": [{"type": "file", "channels": channels, "source": f"audio/{recording.name}"}],
        "sampling_rate": facts["native_rate_hz"],
        "num_samples": round(facts["duration_s"] * facts["native_rate_hz"]),
        "duration": facts["duration_s"],
        "channel_ids": channels,
    }


def _supervision(recording: Recording, row: dict[str, Any]) -> dict[str, Any]:
    said = {name: row.get(name) or recording.facts[name] for name in SAID}
    said["subject_id"] = row["subject_id"] if "subject_id" in row else recording.facts["subject_id"]
    fields = {
        "recording_id": recording.id,
        "text": None if recording.span(row) else said["prompt"],
        "language": said["language"],
        "speaker": said["subject_id"],
        "gender": said["gender"],
    }
    custom = {name: plain(value) for name, value in row.items() if name not in ENTITY}
    return {**{k: v for k, v in fields.items() if v is not None}, "custom": custom}


def _channel(manifest: dict[str, Any]) -> int | list[int]:
    channels = manifest["channel_ids"]
    return channels[0] if len(channels) == 1 else channels


def _line(file: gzip.GzipFile, manifest: dict[str, Any]) -> None:
    file.write(json.dumps(manifest, ensure_ascii=False).encode() + b"\n")
