"""Maintenance makes the lake smaller and changes nothing that anybody reads, commits or is about to commit."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import DROP, OTHER, RACERS, Racers, label_rows, values, write

from avlake.ages import RETENTION_H
from avlake.errors import StaleRun, WorkError
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.contents import object_name, store_object
from avlake.stages.maintain import Upkeep, maintain
from avlake.tables import BRONZE_CONTENTS, BRONZE_FILES, LABELS, RUNS


@pytest.fixture
def scattered(lake: Lake) -> Lake:
    """A table whose two drops are three files each, after two commits."""
    for drop in (DROP, OTHER):
        for version in range(2):
            fragments = [
                lake.write_fragment(LABELS, *drop, [label_rows(*"abc", drop=drop).slice(i, 1 + version)])
                for i in range(3)
            ]
            lake.commit_drop(LABELS, *drop, fragments, expected_version=version)
    return lake


def by_name(done: list[Upkeep]) -> dict[str, Upkeep]:
    return {one.what: one for one in done}


def parquet(lake: Lake, table: str = LABELS.path) -> list[str]:
    return [name for name in lake.store.list(table) if name.endswith(".parquet") and "_delta_log" not in name]


def test_compaction_changes_neither_rows_nor_versions(scattered: Lake, settings: Settings) -> None:
    before = [values(scattered, drop) for drop in (DROP, OTHER)]
    planned, running = scattered.drop_version(LABELS, *DROP), write(scattered, "later")
    done = by_name(maintain(settings))[LABELS.name]
    assert (done.files_before, done.files_after) == (6, 2)
    assert [values(scattered, drop) for drop in (DROP, OTHER)] == before
    assert scattered.drop_version(LABELS, *DROP) == planned
    assert scattered.commit_drop(LABELS, *DROP, running, expected_version=planned)
    assert (values(scattered), values(scattered, OTHER)) == (["later"], before[1])


def test_a_commit_repeated_after_compaction_is_refused_and_its_next_run_heals(lake: Lake, settings: Settings) -> None:
    run = [*write(lake, "a"), *write(lake, "b")]
    lake.commit_drop(LABELS, *DROP, run, expected_version=0)
    maintain(settings)
    with pytest.raises(StaleRun, match="run it again"):
        lake.commit_drop(LABELS, *DROP, run, expected_version=0)
    before = lake.log_version(LABELS.name)
    assert not lake.commit_drop(LABELS, *DROP, run, expected_version=lake.drop_version(LABELS, *DROP))
    assert (values(lake), lake.log_version(LABELS.name)) == (["a", "b"], before)


def test_drops_are_committed_while_tables_are_compacted(scattered: Lake, settings: Settings) -> None:
    racers, stop, done = Racers(), threading.Event(), []

    def tidy() -> None:
        while not stop.is_set():
            done.append(maintain(settings))

    tidying = threading.Thread(target=tidy)
    tidying.start()
    try:
        for version in range(2):
            drops = [("voxforge", f"2026-10-{day:02}") for day in range(1, RACERS + 1)]
            runs = [(drop, [f for _ in range(2) for f in write(scattered, f"{version}", drop=drop)]) for drop in drops]
            assert racers.commit(scattered, [(*run, version) for run in runs]) == ["won"] * RACERS
    finally:
        stop.set()
        tidying.join()
        racers.close()
    assert done
    assert [values(scattered, drop) for drop in drops] == [["1", "1"]] * RACERS


def test_young_files_are_spared_and_old_orphans_removed(scattered: Lake, settings: Settings) -> None:
    running = write(scattered, "not committed yet")
    everything = set(parquet(scattered))
    spared = by_name(maintain(settings))[LABELS.name]
    assert everything < set(parquet(scattered)) and spared.bytes_freed == 0
    freed = by_name(maintain(settings, retention_h=0))[LABELS.name]
    assert len(parquet(scattered)) == 2 and freed.bytes_freed > sum(f.size_bytes for f in running)
    with pytest.raises(StaleRun, match="are gone"):
        scattered.commit_drop(LABELS, *DROP, running, expected_version=2)


def test_the_log_can_be_read_from_its_last_checkpoint(scattered: Lake, settings: Settings) -> None:
    maintain(settings)
    assert scattered.store.exists(f"{LABELS.path}/_delta_log/_last_checkpoint")
    scattered.commit_drop(LABELS, *DROP, write(scattered, "x"), expected_version=2)
    assert (values(scattered), scattered.drop_version(LABELS, *OTHER)) == (["x"], 2)


def test_the_bytes_of_a_drop_stay_in_the_row_groups_they_were_written_in(lake: Lake, settings: Settings) -> None:
    def batch(*names: str) -> pa.Table:
        return pa.table({"sha256": list(names), "content": [name.encode() * 1000 for name in names]})

    for version in range(2):
        batches = [batch("a", "b"), batch("c", str(version))]
        fragment = lake.write_fragment(BRONZE_CONTENTS, *DROP, batches)
        lake.commit_drop(BRONZE_CONTENTS, *DROP, [fragment], expected_version=version)
    done = by_name(maintain(settings, retention_h=0))[BRONZE_CONTENTS.name]
    assert parquet(lake, BRONZE_CONTENTS.path) == [f"{BRONZE_CONTENTS.path}/{fragment.path}"]
    assert (done.files_before, done.files_after) == (1, 1) and done.bytes_freed > 4000
    assert dict(lake.contents(*DROP, {"c", "1"})) == {"c": b"c" * 1000, "1": b"1" * 1000}


def files_of(lake: Lake, *shas: str, version: int) -> None:
    rows = [{"file_id": s, "path": s, "sha256": s, "uri": lake.store.uri_of(object_name(s))} for s in shas]
    inline = {"file_id": "inline", "path": "inline", "sha256": "5" * 64, "uri": None}
    batch = pa.Table.from_pylist(
        [{**r, "dataset": DROP[0], "drop_date": DROP[1]} for r in [*rows, inline]], schema=BRONZE_FILES.schema
    )
    fragment = lake.write_fragment(BRONZE_FILES, *DROP, [batch])
    lake.commit_drop(BRONZE_FILES, *DROP, [fragment], expected_version=version)


def test_objects_and_notes_that_nothing_refers_to_go(lake: Lake, settings: Settings) -> None:
    named, replaced, litter, inline = (digit * 64 for digit in "abc5")
    for sha256 in (named, replaced, litter, inline):
        lake.store.write(object_name(sha256), b"bytes")
    files_of(lake, named, replaced, version=0)
    files_of(lake, named, version=1)
    kept = ["params/voice/1.json", "models/m/chosen.json", "reports/r/index.html", "_probe/mark.json"]
    notes = ["_work/voxforge/2026-09-01/plan-1.json", "_probe/race-1/0-0"]
    for name in (*kept, *notes):
        lake.store.write(name, b"{}")
    everything = set(lake.store.list())
    maintain(settings)
    assert everything <= set(lake.store.list())  # all of it is young
    done = by_name(maintain(settings, retention_h=0))
    left = set(lake.store.list())
    assert left.issuperset(kept) and left.isdisjoint(notes)
    # The replaced version went in the same run, so what only it named went, too.
    assert {name for name in left if name.startswith("objects/")} == {object_name(named)}
    assert (done["objects"].files_before, done["objects"].files_after, done["objects"].bytes_freed) == (4, 1, 15)


def make_old(lake: Lake, name: str) -> None:
    then = time.time() - (RETENTION_H + 1) * 3600
    os.utime(lake.store.path(name), (then, then))


@pytest.mark.parametrize("store_root", ["folder"], indirect=True)
def test_objects_named_by_any_version_kept_stay(lake: Lake, settings: Settings) -> None:
    named, replaced, litter = (digit * 64 for digit in "abc")
    for sha256 in (named, replaced, litter):
        lake.store.write(object_name(sha256), b"bytes")
        make_old(lake, object_name(sha256))
    files_of(lake, named, replaced, version=0)
    files_of(lake, named, version=1)
    lake.store.write(f"{BRONZE_FILES.path}/dataset=voxforge/drop_date=2026-09-01/half.parquet", b"PAR1 being written")
    maintain(settings)
    assert lake.store.list("objects") == [object_name(named), object_name(replaced)]


@pytest.mark.parametrize("store_root", ["folder"], indirect=True)
@pytest.mark.parametrize("old", [True, False])
def test_a_damaged_live_file_ends_maintenance_before_any_object_goes(lake: Lake, settings: Settings, old: bool) -> None:
    named, litter = (digit * 64 for digit in "ac")
    for sha256 in (named, litter):
        lake.store.write(object_name(sha256), b"bytes")
        make_old(lake, object_name(sha256))
    files_of(lake, named, version=0)
    [live] = parquet(lake, BRONZE_FILES.path)
    lake.store.write(live, lake.store.read(live)[:-20])
    if old:
        make_old(lake, live)
    with pytest.raises(WorkError, match=f"{Path(live).name} is damaged"):
        maintain(settings)
    assert lake.store.list("objects") == [object_name(named), object_name(litter)]


def uploaded(lake: Lake, sha256: str) -> None:
    lake.store.write(object_name(sha256), b"bytes")


def committed(lake: Lake, sha256: str) -> None:
    files_of(lake, sha256, version=1)


@pytest.mark.parametrize("store_root", ["folder"], indirect=True)
@pytest.mark.parametrize("again", [uploaded, committed])
def test_an_object_that_a_run_takes_up_during_maintenance_stays(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch, again: Callable[[Lake, str], None]
) -> None:
    named, taken_up, litter = (digit * 64 for digit in "abc")
    for sha256 in (named, taken_up, litter):
        lake.store.write(object_name(sha256), b"bytes")
        make_old(lake, object_name(sha256))
    files_of(lake, named, version=0)
    read_table, waiting = pq.read_table, [again]

    def then_a_run_goes_on(*args: Any, **options: Any) -> pa.Table:
        rows = read_table(*args, **options)
        while waiting:
            waiting.pop()(lake, taken_up)
        return rows

    monkeypatch.setattr(pq, "read_table", then_a_run_goes_on)
    maintain(settings)
    assert lake.store.list("objects") == [object_name(named), object_name(taken_up)]


@pytest.mark.parametrize("store_root", ["folder"], indirect=True)
def test_an_old_object_that_a_drop_names_again_is_made_young(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "large.wav"
    source.write_bytes(b"bytes")
    row = {"sha256": hashlib.sha256(b"bytes").hexdigest(), "source_uri": str(source)}
    name = object_name(row["sha256"])
    for _ in range(2):
        with source.open("rb") as file:
            store_object(lake, file, row)
        maintain(settings)  # between the object and the row that names it
        assert lake.store.read(name) == b"bytes"
        make_old(lake, name)


@pytest.mark.parametrize("store_root", ["folder"], indirect=True)
def test_many_appends_are_one_file_and_one_checkpoint_after_maintenance(lake: Lake, settings: Settings) -> None:
    for i in range(12):
        rows = pa.Table.from_pylist([{"run_id": str(i), "stage": "curate"}], schema=RUNS.schema)
        lake.append(RUNS, rows, once=str(i))
    done = by_name(maintain(settings))[RUNS.name]
    assert (done.files_before, done.files_after) == (12, 1)
    assert not lake.append(RUNS, rows, once="11")
    found = lake.scan(RUNS.name)
    assert found is not None and found.count_rows() == 12


@pytest.mark.parametrize("store_root", ["folder"], indirect=True)
def test_the_command_says_what_it_did(scattered: Lake) -> None:
    command = [sys.executable, "-m", "avlake.cli", "maintain", "--format", "json"]
    env = os.environ | {"AVLAKE_URI": scattered.store.uri}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert {row["what"]: (row["files_before"], row["files_after"]) for row in json.loads(done.stdout)} == {
        LABELS.name: (6, 2),
        "_work": (0, 0),
        "_probe": (1, 1),
        "reports": (0, 0),
        "objects": (0, 0),
    }
