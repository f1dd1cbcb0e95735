"""WebDataset shards, read back with `webdataset`."""

from __future__ import annotations

import gc
import io
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import soundfile
import webdataset
from shelf import NAMES, TABLE, Exported, delivered

from avlake.settings import Settings


def samples(folder: Path) -> list[dict[str, Any]]:
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its shards to the garbage collector
        found = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode())
        gc.collect()
    return found


def test_a_sample_is_the_delivered_bytes_and_the_row(shelf: Settings, exported: Exported) -> None:
    folder = exported(shelf, TABLE, "webdataset")
    assert sorted(p.name for p in folder.glob("*.tar")) == ["clips-test-000000.tar", "clips-unassigned-000000.tar"]
    first, second = samples(folder)
    assert (first["wav"], second["wav"]) == (delivered(shelf, NAMES["odd"]), delivered(shelf, NAMES["empty split"]))
    assert first["json"]["path"] == NAMES["odd"] and first["json"]["score"] is None
    assert first["json"]["seen_at"] == "2026-09-01T12:30:00+00:00"


def test_windows_are_samples_of_their_own(voices: Settings, exported: Exported) -> None:
    found = samples(exported(voices, "gold.gender_windows", "webdataset"))
    assert len({sample["__key__"] for sample in found}) == len(found) > 24
    for sample in found:
        told = soundfile.info(io.BytesIO(sample["wav"]))
        assert told.duration == pytest.approx(
            sample["json"]["window_end_s"] - sample["json"]["window_start_s"], abs=1e-4
        )


def test_the_same_table_gives_the_same_shards(voices: Settings, exported: Exported) -> None:
    def shards() -> dict[str, bytes]:
        folder = exported(voices, "gold.gender_windows", "webdataset", shard_bytes=300_000)
        return {path.name: path.read_bytes() for path in folder.glob("*.tar")}

    once = shards()
    assert once == shards() and len(once) > 5
    assert all(len(data) < 330_000 for data in once.values())
    with tarfile.open(fileobj=io.BytesIO(once["gender_windows-train-000000.tar"])) as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_no_rows_are_an_empty_shard(shelf: Settings, exported: Exported) -> None:
    folder = exported(shelf, TABLE, "webdataset", where="false")
    assert [p.name for p in folder.glob("*.tar")] == ["clips-train-000000.tar"] and samples(folder) == []
