"""A drop enters a table exactly once: replaced, raced, retried, killed and fenced, on the real log of every store."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from faulty import proxy
from rows import DROP, OTHER, RACERS, Racers, commit_and_die, label_rows, values, write

from avlake.errors import StaleRun, WorkError
from avlake.fragments import copy_path
from avlake.lake import Lake
from avlake.storage import open_store
from avlake.tables import BRONZE_CONTENTS, EXTRACTIONS, LABELS, RUNS, THRESHOLDS, Table, silver


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    processes = Racers()
    yield processes
    processes.close()


def test_nothing_is_there_before_the_first_commit(lake: Lake) -> None:
    write(lake, "a")
    assert values(lake) == []
    assert lake.drop_version(LABELS, *DROP) == 0
    assert lake.scan(LABELS.name) is None


def test_tables_are_what_has_a_log_and_objects_are_not_walked(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    write(lake, "not committed")
    assert lake.tables() == []
    lake.append(RUNS, pa.Table.from_pylist([{"run_id": "a"}], schema=RUNS.schema), once="a")
    lake.commit_drop(LABELS, *DROP, write(lake, "a"), expected_version=0)
    lake.write_fragment(EXTRACTIONS, *DROP, [EXTRACTIONS.schema.empty_table()])
    lake.store.write("objects/00/_delta_log/x", b"no table")
    listed, ls = [], lake.store.fs.ls
    monkeypatch.setattr(lake.store.fs, "ls", lambda path, **options: listed.append(path) or ls(path, **options))
    assert lake.tables() == [RUNS.name, LABELS.name]
    assert listed and not [path for path in listed if "/objects" in path]


def test_a_commit_replaces_its_drop_and_no_other(lake: Lake) -> None:
    assert lake.commit_drop(LABELS, *DROP, write(lake, "a", "b"), expected_version=0)
    assert lake.commit_drop(LABELS, *OTHER, write(lake, "x", drop=OTHER), expected_version=0)
    assert lake.commit_drop(LABELS, *DROP, write(lake, "c"), expected_version=1)
    assert values(lake) == ["c"]
    assert values(lake, OTHER) == ["x"]
    assert lake.drop_version(LABELS, *DROP) == 2


def test_equal_rows_make_no_commit_whatever_their_order(lake: Lake) -> None:
    lake.commit_drop(LABELS, *DROP, write(lake, "a", "b"), expected_version=0)
    before = lake.log_version(LABELS.name)
    halves = [lake.write_fragment(LABELS, *DROP, [label_rows("a", "b").slice(i, 1)]) for i in (1, 0)]
    assert not lake.commit_drop(LABELS, *DROP, halves, expected_version=1)
    assert lake.log_version(LABELS.name) == before


def test_one_changed_value_is_a_change(lake: Lake) -> None:
    lake.commit_drop(LABELS, *DROP, write(lake, "a", "b"), expected_version=0)
    assert lake.commit_drop(LABELS, *DROP, write(lake, "b", "a"), expected_version=1)


def test_an_empty_commit_empties_the_drop(lake: Lake) -> None:
    lake.commit_drop(LABELS, *DROP, write(lake, "a"), expected_version=0)
    lake.commit_drop(LABELS, *OTHER, write(lake, "x", drop=OTHER), expected_version=0)
    assert lake.commit_drop(LABELS, *DROP, [], expected_version=1)
    assert (values(lake), values(lake, OTHER)) == ([], ["x"])


def test_a_stale_run_changes_nothing(lake: Lake) -> None:
    zombie = write(lake, "zombie")
    lake.commit_drop(LABELS, *DROP, write(lake, "a"), expected_version=0)
    with pytest.raises(StaleRun, match="planned"):
        lake.commit_drop(LABELS, *DROP, zombie, expected_version=0)
    assert values(lake) == ["a"]


def test_the_same_commit_again_is_a_success(lake: Lake) -> None:
    fragments = write(lake, "a")
    assert lake.commit_drop(LABELS, *DROP, fragments, expected_version=0)
    assert lake.commit_drop(LABELS, *DROP, fragments, expected_version=0)
    assert values(lake) == ["a"]
    assert lake.drop_version(LABELS, *DROP) == 1


def test_a_live_fragment_can_be_part_of_a_later_commit(lake: Lake) -> None:
    first = write(lake, "a")
    lake.commit_drop(LABELS, *DROP, first, expected_version=0)
    assert lake.commit_drop(LABELS, *DROP, [*first, *write(lake, "b")], expected_version=1)
    assert values(lake) == ["a", "b"]


@pytest.mark.parametrize("existing", [False, True])
def test_of_racing_runs_of_one_drop_exactly_one_wins(lake: Lake, racers: Racers, existing: bool) -> None:
    if existing:
        lake.commit_drop(LABELS, *DROP, write(lake, "old"), expected_version=0)
    runs = [write(lake, f"run{i}", f"more{i}") for i in range(RACERS)]
    outcomes = racers.commit(lake, [(DROP, run, int(existing)) for run in runs])
    assert sorted(outcomes) == ["stale"] * (RACERS - 1) + ["won"]
    winner = outcomes.index("won")
    assert values(lake) == [f"more{winner}", f"run{winner}"]
    assert lake.drop_version(LABELS, *DROP) == 1 + existing


def test_a_run_started_twice_leaves_its_rows_once(lake: Lake, racers: Racers) -> None:
    run = write(lake, "a", "b")
    outcomes = racers.commit(lake, [(DROP, run, 0)] * RACERS)
    assert outcomes == ["won"] * RACERS
    assert values(lake) == ["a", "b"]
    assert lake.drop_version(LABELS, *DROP) == 1


def test_racing_runs_of_different_drops_all_win(lake: Lake, racers: Racers) -> None:
    drops = [("voxforge", f"2026-10-{day:02}") for day in range(1, RACERS + 1)]
    outcomes = racers.commit(lake, [(drop, write(lake, drop[1], drop=drop), 0) for drop in drops])
    assert outcomes == ["won"] * RACERS
    assert [values(lake, drop) for drop in drops] == [[drop[1]] for drop in drops]


def test_a_commit_whose_process_was_killed_is_known_by_the_next(lake: Lake) -> None:
    first = write(lake, "a")
    lake.commit_drop(LABELS, *DROP, first, expected_version=0)
    run = [*first, *write(lake, "b")]
    assert commit_and_die(lake, run, 1) == -9
    before = lake.log_version(LABELS.name)
    assert before is not None and before.endswith("/2")
    assert lake.commit_drop(LABELS, *DROP, run, expected_version=1)
    assert (values(lake), lake.log_version(LABELS.name)) == (["a", "b"], before)
    (live,) = [path for path in lake.store.list(LABELS.path) if path.endswith(copy_path(first[0].path, 2))]
    assert live


def test_a_run_whose_files_are_gone_is_refused(lake: Lake) -> None:
    lake.commit_drop(LABELS, *DROP, write(lake, "a"), expected_version=0)
    old = write(lake, "b")
    lake.store.delete(f"{LABELS.path}/{old[0].path}")
    with pytest.raises(StaleRun, match="1 of the files that this run wrote"):
        lake.commit_drop(LABELS, *DROP, old, expected_version=1)
    assert values(lake) == ["a"]


@pytest.mark.parametrize(
    ("store_root", "variable"),
    [
        pytest.param("s3", "AWS_ENDPOINT_URL", marks=pytest.mark.storage),
        pytest.param("azure", "AZURE_STORAGE_ENDPOINT", marks=pytest.mark.storage),
    ],
    indirect=["store_root"],
)
def test_a_commit_whose_answer_is_lost_has_happened_once(
    lake: Lake, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lake.commit_drop(LABELS, *DROP, write(lake, "a"), expected_version=0)
    run = write(lake, "b", "c")
    log = tmp_path / "requests"
    with proxy(os.environ[variable], log, fault="mute") as address:
        monkeypatch.setenv(variable, address)
        assert Lake(open_store(lake.store.uri)).commit_drop(LABELS, *DROP, run, expected_version=1)
    assert [line for line in log.read_text().splitlines() if line.startswith("PUT") and "_delta_log" in line]
    assert values(lake) == ["b", "c"]
    assert (lake.drop_version(LABELS, *DROP), (lake.log_version(LABELS.name) or "").rpartition("/")[2]) == (2, "2")


@pytest.mark.parametrize("store_root", [pytest.param("azure", marks=pytest.mark.storage)], indirect=True)
def test_a_copy_is_waited_for(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avlake.lake.COMMIT_ATTEMPTS", 1)
    run = [*write(lake, "a"), *write(lake, "b")]
    lake.commit_drop(LABELS, *DROP, run, expected_version=0)
    upstream, log = os.environ["AZURE_STORAGE_ENDPOINT"], tmp_path / "requests"
    with proxy(upstream, log, fault="failed") as address:
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", address)
        with pytest.raises(WorkError, match="has not copied"):
            Lake(open_store(lake.store.uri)).commit_drop(LABELS, *DROP, run[:1], expected_version=1)
    assert values(lake) == ["a", "b"]
    log.unlink()
    with proxy(upstream, log, fault="pending") as address:
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", address)
        assert Lake(open_store(lake.store.uri)).commit_drop(LABELS, *DROP, run[:1], expected_version=1)
    copy = Path(copy_path(run[0].path, 2)).name
    assert sum(line.startswith("HEAD") and copy in line for line in log.read_text().splitlines()) == 4
    assert values(lake) == ["a"]


def test_a_table_is_read_as_it_was(lake: Lake) -> None:
    def ops(drop: tuple[str, str]) -> None:
        row = {"dataset": drop[0], "drop_date": drop[1], "file_id": "f"}
        rows = pa.Table.from_pylist([row], schema=EXTRACTIONS.schema)
        lake.commit_drop(EXTRACTIONS, *drop, [lake.write_fragment(EXTRACTIONS, *drop, [rows])], expected_version=0)

    def seen(at: datetime | None) -> list[str]:
        found = lake.scan(LABELS.name, at=at)
        return sorted(found.to_table()["value"].to_pylist()) if found else []

    moments = [_now()]
    lake.commit_drop(LABELS, *DROP, write(lake, "a"), expected_version=0)
    ops(DROP)
    moments.append(_now())
    lake.commit_drop(LABELS, *OTHER, write(lake, "x", drop=OTHER), expected_version=0)  # no ops rows: not there yet
    moments.append(_now())
    lake.commit_drop(LABELS, *DROP, write(lake, "b"), expected_version=1)
    ops(OTHER)
    assert [seen(at) for at in moments] == [[], ["a"], ["a"]]
    assert seen(None) == ["b", "x"]


def _now() -> datetime:
    """A moment that no commit shares: object stores keep whole seconds."""
    time.sleep(1.1)
    now = datetime.now(UTC)
    time.sleep(1.1)
    return now


def test_readers_see_only_drops_whose_ops_rows_are_committed(lake: Lake) -> None:
    for drop in (DROP, OTHER):
        lake.commit_drop(LABELS, *drop, write(lake, drop[1], drop=drop), expected_version=0)
    ops = pa.Table.from_pylist([{"dataset": DROP[0], "drop_date": DROP[1], "file_id": "f"}], schema=EXTRACTIONS.schema)
    lake.commit_drop(EXTRACTIONS, *DROP, [lake.write_fragment(EXTRACTIONS, *DROP, [ops])], expected_version=0)
    scanned = lake.scan(LABELS.name)
    assert scanned is not None and scanned.to_table()["value"].to_pylist() == [DROP[1]]


def test_a_table_may_gain_a_column(lake: Lake) -> None:
    def grown(*extra: str) -> Table:
        return silver("loudness", "", columns={name: pa.float32() for name in ("lufs", *extra)})

    def row(drop: tuple[str, str], **features: float) -> pa.Table:
        return pa.table(
            {"file_id": ["f"], "dataset": [drop[0]], "drop_date": [drop[1]], **{k: [v] for k, v in features.items()}}
        )

    old, new = grown(), grown("range_lu")
    lake.commit_drop(old, *DROP, [lake.write_fragment(old, *DROP, [row(DROP, lufs=1.0)])], expected_version=0)
    fragments = [lake.write_fragment(new, *OTHER, [row(OTHER, lufs=2.0, range_lu=3.0)])]
    lake.commit_drop(new, *OTHER, fragments, expected_version=0)
    assert lake.rows(new, *DROP, ["lufs", "range_lu"]).to_pylist() == [{"lufs": 1.0, "range_lu": None}]
    assert lake.rows(new, *OTHER, ["lufs", "range_lu"]).to_pylist() == [{"lufs": 2.0, "range_lu": 3.0}]


def test_commits_carry_statistics_for_file_skipping(lake: Lake) -> None:
    (fragment,) = write(lake, "a", "b", "c")
    assert json.loads(fragment.stats) == {
        "numRecords": 3,
        "minValues": {"file_id": "f0", "name": "gender"},
        "maxValues": {"file_id": "f2", "name": "gender"},
    }


def test_contents_come_back_whole_and_only_those_asked_for(lake: Lake) -> None:
    def batch(*pairs: tuple[str, bytes]) -> pa.Table:
        rows = [{"sha256": s, "content": c, "dataset": DROP[0], "drop_date": DROP[1]} for s, c in pairs]
        return pa.Table.from_pylist(rows, schema=BRONZE_CONTENTS.schema)

    batches = [batch(("a", b"1"), ("b", b"\x00" * 1000)), batch(("c", b"3"))]
    lake.commit_drop(BRONZE_CONTENTS, *DROP, [lake.write_fragment(BRONZE_CONTENTS, *DROP, batches)], expected_version=0)
    assert dict(lake.contents(*DROP, {"b", "c", "unknown"})) == {"b": b"\x00" * 1000, "c": b"3"}
    assert dict(lake.contents(*OTHER, {"b"})) == {}


def test_an_append_happens_once(lake: Lake) -> None:
    rows = pa.Table.from_pylist([{"pipeline": "p", "values": "{}"}], schema=THRESHOLDS.schema)
    assert lake.append(THRESHOLDS, rows, once="run1")
    assert not lake.append(THRESHOLDS, rows, once="run1")
    assert lake.append(THRESHOLDS, rows, once="run2")
    scanned = lake.scan(THRESHOLDS.name)
    assert scanned is not None and scanned.count_rows() == 2


def test_an_append_of_rows_with_a_new_column_keeps_it(lake: Lake) -> None:
    older = replace(RUNS, schema=pa.schema([f for f in RUNS.schema if f.name != "files_per_s"]))
    for table, run in ((older, "a"), (RUNS, "b")):
        row = {"run_id": run, "stage": "curate", "files_per_s": 2.0}
        lake.append(table, pa.Table.from_pylist([row], schema=table.schema), once=run)
    found = lake.scan(RUNS.name)
    assert found is not None
    assert {r["run_id"]: r["files_per_s"] for r in found.to_table().to_pylist()} == {"a": None, "b": 2.0}


def test_a_whole_table_is_replaced_with_its_schema(lake: Lake) -> None:
    def gold(**columns: pa.DataType) -> Table:
        return Table("gold.things", "", ("a",), pa.schema(list(columns.items())), per_drop=False)

    first, second = gold(a=pa.string(), b=pa.int64()), gold(a=pa.string(), c=pa.float32())
    assert lake.replace_table(first, [pa.table({"a": ["x"], "b": [1]})], expected_version=0)
    assert lake.replace_table(second, [pa.table({"a": ["y"], "c": [0.5]})], expected_version=1)
    scanned = lake.scan("gold.things")
    assert scanned is not None and scanned.to_table().to_pylist() == [{"a": "y", "c": 0.5}]
    with pytest.raises(StaleRun):
        lake.replace_table(second, [pa.table({"a": ["z"], "c": [0.5]})], expected_version=1)


def test_a_whole_table_loses_a_column_that_is_not_made_any_more(lake: Lake) -> None:
    wide = Table("gold.things", "", ("a",), pa.schema([("a", pa.string()), ("b", pa.string())]), per_drop=False)
    narrow = Table("gold.things", "", ("a",), pa.schema([("a", pa.string())]), per_drop=False)
    lake.replace_table(wide, [pa.table({"a": ["x"], "b": ["y"]})], expected_version=0)
    assert lake.replace_table(narrow, [pa.table({"a": ["x"]})], expected_version=1)
    scanned = lake.scan("gold.things")
    assert scanned is not None and scanned.schema.names == ["a"]
