"""Hugging Face datasets, read back with `datasets`."""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from shelf import NAMES, TABLE, Exported, delivered, make_shelf, replace_table, row

import datasets
from avlake.errors import RequestError
from avlake.exports.hf import card
from avlake.exports.recordings import Recordings
from avlake.settings import Settings
from avlake.stages.export import export


def load(folder: Path, **features: Any) -> datasets.DatasetDict:
    found = datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))
    for name, kind in features.items():
        found = found.cast_column(name, kind)
    return found


def test_files_are_the_delivered_bytes_with_their_features(shelf: Settings, exported: Exported) -> None:
    folder = exported(shelf, TABLE, "hf")
    plain = load(folder)
    assert plain["test"].features["audio"] == datasets.Audio()
    assert plain["test"].features["tags"] == datasets.List(datasets.Value("string"))
    found = plain.cast_column("audio", datasets.Audio(decode=False))
    assert {name: len(part) for name, part in found.items()} == {"test": 1, "unassigned": 1}
    first = found["test"][0]
    data = first.pop("audio")["bytes"]
    assert hashlib.sha256(data).digest() == hashlib.sha256(delivered(shelf, NAMES["odd"])).digest()
    assert math.isnan(first.pop("score")) and found["unassigned"][0]["score"] is None
    assert first == {k: v for k, v in row(NAMES["odd"]).items() if k != "score"}


def test_windows_are_cut_out_of_their_recordings(voices: Settings, exported: Exported) -> None:
    folder = exported(voices, "gold.gender_windows", "hf")
    found = load(folder, audio=datasets.Audio(decode=False))
    lake = export(voices, table="gold.gender_windows", to=str(folder.parent / "whole"), form="lhotse")
    with duckdb.connect(voices.warehouse, read_only=True) as con:
        splits = con.execute("SELECT split, count(*) FROM gold.gender_windows GROUP BY 1").fetchall()
    assert {name: len(part) for name, part in found.items()} == dict(splits) and len(splits) > 1
    assert sum(map(len, found.values())) == lake.rows > 0
    for part in found.values():
        for one in part:
            samples, rate = soundfile.read(io.BytesIO(one["audio"]["bytes"]), dtype="int16")
            name = f"{one['drop_date']}-{one['file_id']}.wav"
            whole, _ = soundfile.read(folder.parent / "whole" / "audio" / name, dtype="int16")
            start, end = round(one["window_start_s"] * rate), round(one["window_end_s"] * rate)
            assert len(samples) and np.array_equal(samples, whole[start:end])


def test_video_has_a_column_of_its_own(tmp_path: Path, exported: Exported) -> None:
    shelf = make_shelf(tmp_path / "own")
    replace_table(shelf, [row(NAMES["odd"]), row(NAMES["video"], label=None)])
    found = load(exported(shelf, TABLE, "hf"), audio=datasets.Audio(decode=False), video=datasets.Video(decode=False))[
        "test"
    ]
    by_path = {one["path"]: one for one in found}
    assert by_path[NAMES["video"]]["video"]["bytes"] == delivered(shelf, NAMES["video"])
    assert by_path[NAMES["video"]]["audio"] is None and by_path[NAMES["odd"]]["video"] is None


def test_shards_are_cut_by_size_and_numbered(voices: Settings, exported: Exported) -> None:
    folder = exported(voices, "gold.gender_windows", "hf", shard_bytes=300_000)
    names = sorted(path.name for path in (folder / "data").iterdir())
    train = [name for name in names if name.startswith("train-")]
    assert len(train) > 2
    assert train == [f"train-{i:05d}-of-{len(train):05d}.parquet" for i in range(len(train))]
    ids = [one for name in names for one in pq.read_table(folder / "data" / name)["audio"].to_pylist()]
    assert (
        len({one["path"] for one in ids})
        == len(ids)
        == sum(map(len, load(folder, audio=datasets.Audio(decode=False)).values()))
    )


def test_the_card_and_the_manifest_say_what_it_is(shelf: Settings, exported: Exported) -> None:
    folder = exported(shelf, TABLE, "hf", where="label IS NOT NULL")
    card = (folder / "README.md").read_text()
    assert "| voxforge | GPL-3.0-or-later | 2 | 2 |" in card and "- gpl-3.0" in card
    told = json.loads((folder / "export.json").read_text())
    assert (told["table"], told["where"], told["rows"], told["not_kept"]) == (TABLE, "label IS NOT NULL", 2, 1)
    assert told["versions"][TABLE] and told["sources"][0]["files"] == 2


def test_no_rows_load_as_an_empty_dataset(shelf: Settings, exported: Exported) -> None:
    folder = exported(shelf, TABLE, "hf", where="false")
    # Without streaming, datasets 5.2 refuses any split without rows.
    found = datasets.load_dataset(str(folder), streaming=True, split="train")
    assert found.features["audio"] == datasets.Audio() and list(found) == []


def test_a_column_called_audio_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    shelf = make_shelf(tmp_path)
    replace_table(shelf, [row(NAMES["odd"], audio="x")], audio=pa.string())
    with pytest.raises(RequestError, match="audio"):
        export(shelf, table=TABLE, to=str(tmp_path / "x"), form="hf")


@pytest.mark.parametrize(
    ("said", "hub"),
    [
        ("CC-BY-4.0", "cc-by-4.0"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("CC-BY-4.0 (annotations); clips: their makers'", "other"),
        ("MIT-like", "other"),
        ("unknown", "unknown"),
    ],
)
def test_a_licence_that_the_hub_does_not_know_is_other(said: str, hub: str) -> None:
    one = SimpleNamespace(summary=[{"licence": said}], splits=["train"], kinds=["audio"], table=TABLE, rows=0)
    one.totals, one.schema = lambda *names: [], SimpleNamespace(names=[])
    header = card(cast(Recordings, one)).split("---")[1]
    assert f"license:\n- {hub}\n" in header
