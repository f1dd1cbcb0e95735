"""Tables whose rows are faces: a recording is exported once, not once a face."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from shelf import NAMES, Exported, delivered, file_id
from test_m3u import entries
from test_webdataset import samples

from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.export import export
from avlake.stages.publish import publish
from avlake.tables import Table

TABLE = "gold.faces"
PLACE = {"dataset": "voxforge", "drop_date": "2026-09-01"}
TIMES = {"one:1": (0.1, 0.2, 0.5, 9.0), "one:2": (0.3,), "one:3": (9.5,)}  # s; the recording is a second long


@pytest.fixture
def faces(shelf: Settings, tmp_path: Path) -> Settings:
    """Three tracks of one recording: the last face of the first is after its end, and so is all of the third."""
    shutil.copytree(Path(shelf.uri).parent, tmp_path / "own", symlinks=True)
    settings = shelf.model_copy(
        update={"uri": str(tmp_path / "own" / "lake"), "warehouse": str(tmp_path / "own" / "warehouse.duckdb")}
    )
    place = PLACE | {"file_id": file_id(NAMES["odd"]), "path": NAMES["odd"]}
    rows: list[dict[str, Any]] = [
        place
        | {"track_id": track, "subject_id": "ann" if track == "one:1" else None, "split": "test"}
        | {"frame_timestamp": time_s, "label": f"at {time_s}", "kept": time_s < 1}
        | {"reject_reason": "unknown_label,past_end" if time_s > 1 else None}
        for track, times in TIMES.items()
        for time_s in reversed(times)
    ]
    kinds = dict.fromkeys(rows[0], pa.string()) | {"frame_timestamp": pa.float64(), "kept": pa.bool_()}
    table = Table(TABLE, "faces", ("file_id",), pa.schema(list(kinds.items())), per_drop=False)
    lake = Lake.open(settings)
    lake.replace_table(table, [pa.Table.from_pylist(rows, schema=table.schema)], expected_version=0)
    publish(settings, run_id="faces")
    return settings


def test_an_example_is_a_recording_with_its_faces_in_lists(faces: Settings, exported: Exported) -> None:
    (sample,) = samples(exported(faces, TABLE, "webdataset"))
    assert sample["wav"] == delivered(faces, NAMES["odd"])
    row = sample["json"]
    assert (row["path"], row["split"], row["kept"]) == (NAMES["odd"], "test", True)
    told = list(zip(row["track_id"], row["frame_timestamp"], row["label"], row["subject_id"], strict=True))
    who = {"one:1": "ann", "one:2": None, "one:3": None}
    assert told == [(track, time, f"at {time}", who[track]) for track, times in TIMES.items() for time in times]


def test_an_entry_is_a_track_as_long_as_it_is_in_the_recording(faces: Settings, exported: Exported) -> None:
    folder = exported(faces, TABLE, "lhotse")
    with gzip.open(folder / "supervisions.jsonl.gz", "rt") as file:
        first, second = map(json.loads, file)
    assert (first["start"], first["duration"], first["speaker"]) == (0.1, pytest.approx(0.4), "ann")
    assert (second["start"], second["duration"]) == (0.3, pytest.approx(0.04)) and "speaker" not in second
    assert first["custom"]["frame_timestamp"] == list(TIMES["one:1"])
    listed = exported(faces, TABLE, "m3u")
    assert entries(listed)[0] == [
        f"#EXTINF:0,{NAMES['odd']} | ann | test | 0.1-0.5 s",
        "#EXTVLCOPT:start-time=0.100",
        "#EXTVLCOPT:stop-time=0.500",
        next(str(path.relative_to(listed)) for path in (listed / "media").iterdir()),
    ]


def test_rows_that_are_tracks_already_stay_as_they_are(faces: Settings, exported: Exported) -> None:
    lake, place = Lake.open(faces), PLACE | {"file_id": file_id(NAMES["odd"])}
    seen = {track: times for track, times in TIMES.items() if times[0] < 1}
    rows = [
        place | {"track_id": track, "frame_timestamp": list(times), "start_s": times[0], "end_s": times[0] + 0.1}
        for track, times in seen.items()
    ]
    made = pa.Table.from_pylist(rows)
    table = Table("gold.tracks", "tracks", ("track_id",), made.schema, per_drop=False)
    lake.replace_table(table, [made], expected_version=0)
    publish(faces, run_id="tracks")
    said = [one["json"] for one in samples(exported(faces, table.name, "webdataset"))]
    assert {one["track_id"]: one["frame_timestamp"] for one in said} == {
        track: list(times) for track, times in seen.items()
    }


def test_files_of_rows_have_one_a_face(faces: Settings, tmp_path: Path) -> None:
    done = export(faces, table=TABLE, to=str(tmp_path / "faces.csv"), form="csv")
    assert (done.rows, done.not_kept) == (6, 2)
    done = export(faces, table=TABLE, to=str(tmp_path / "faces"), form="webdataset", where="NOT kept")
    assert (done.rows, done.files, done.not_kept) == (1, 1, 1)


def test_many_faces_are_read_a_part_at_a_time(
    faces: Settings, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them in lists would not fit into memory."""
    lake, paths, each = Lake.open(faces), sorted(NAMES.values()), 15_000
    n = each * len(paths)
    which, text = pa.array(np.arange(n) % len(paths)), pa.array(["x" * 1000]).take(pa.array(np.zeros(n, int)))
    made = pa.table(
        {
            **{"file_id": pa.array([file_id(path) for path in paths]).take(which), "path": pa.array(paths).take(which)},
            **{name: pa.array([value]).take(pa.array(np.zeros(n, int))) for name, value in PLACE.items()},
            "track_id": pa.array([f"one:{i}" for i in range(3)]).take(pa.array(np.arange(n) // len(paths) % 3)),
            **{"frame_timestamp": pa.array((np.arange(n) * 7919 % n) / n), "label": text, "label_source": text},
        }
    )
    table = Table("gold.many", "many", ("file_id",), made.schema, per_drop=False)
    lake.replace_table(table, [made], expected_version=0)
    publish(faces, run_id="many")
    monkeypatch.setattr("avlake.exports.rows.MEMORY", "200MB")
    monkeypatch.setattr("avlake.exports.faces.AT_ONCE", each)
    rows = [one["json"] for one in samples(exported(faces, table.name, "webdataset"))]
    assert sorted(row["path"] for row in rows) == paths
    for row in rows:
        seen = list(zip(row["track_id"], row["frame_timestamp"], strict=True))
        assert len(seen) == each and seen == sorted(seen)
