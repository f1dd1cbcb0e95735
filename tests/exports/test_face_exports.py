"""Tables whose rows are faces: a recording is exported once, not once a face."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

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
TIMES = {"one:1": (0.1, 0.2, 0.5, 9.0), "one:2": (0.3,)}  # s; the recording is a second long


@pytest.fixture
def faces(shelf: Settings, tmp_path: Path) -> Settings:
    """Two tracks of one recording, the last face of the first after its end."""
    shutil.copytree(Path(shelf.uri).parent, tmp_path / "own", symlinks=True)
    settings = shelf.model_copy(
        update={"uri": str(tmp_path / "own" / "lake"), "warehouse": str(tmp_path / "own" / "warehouse.duckdb")}
    )
    place = {"file_id": file_id(NAMES["odd"]), "dataset": "voxforge", "drop_date": "2026-09-01", "path": NAMES["odd"]}
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
    who = {"one:1": "ann", "one:2": None}
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
    lake, place = Lake.open(faces), {"file_id": file_id(NAMES["odd"]), "dataset": "voxforge", "drop_date": "2026-09-01"}
    rows = [
        place | {"track_id": track, "frame_timestamp": list(times), "start_s": times[0], "end_s": times[0] + 0.1}
        for track, times in TIMES.items()
    ]
    made = pa.Table.from_pylist(rows)
    table = Table("gold.tracks", "tracks", ("track_id",), made.schema, per_drop=False)
    lake.replace_table(table, [made], expected_version=0)
    publish(faces, run_id="tracks")
    said = [one["json"] for one in samples(exported(faces, table.name, "webdataset"))]
    assert {one["track_id"]: one["frame_timestamp"] for one in said} == {
        track: list(times) for track, times in TIMES.items()
    }


def test_files_of_rows_have_one_a_face(faces: Settings, tmp_path: Path) -> None:
    done = export(faces, table=TABLE, to=str(tmp_path / "faces.csv"), form="csv")
    assert (done.rows, done.not_kept) == (5, 1)
    done = export(faces, table=TABLE, to=str(tmp_path / "faces"), form="webdataset", where="NOT kept")
    assert (done.rows, done.files, done.not_kept) == (1, 1, 1)
