"""Publishing: whole tables in one transaction each, the same statements for a file and for MotherDuck."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from avlake import warehouse
from avlake.delivery import WHOLE, Delivery, Incoming, is_shown, shown, update
from avlake.errors import RequestError, WorkError
from avlake.settings import Settings

TOKEN = "eyJhbGciOiJIUzI1NiJ9.secret"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(warehouse=str(tmp_path / "warehouse.duckdb"))


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An open database, as MotherDuck is one: what is published stays in it."""
    with duckdb.connect(str(tmp_path / "elsewhere.duckdb")) as opened:
        yield opened


def whole(*values: int, mark: str | None = None) -> Incoming:
    table = pa.table({"v": list(values)})
    return Incoming(
        {WHOLE: mark or str(values)}, lambda parts: ds.dataset(table if parts else table.schema.empty_table())
    )


class Drops:
    """A table of drops, and which of them were asked for."""

    def __init__(self, **values: list[int]) -> None:
        self.values = {f"voxforge/2026-09-0{name[1:]}": v for name, v in values.items()}
        self.sent: list[str] = []

    def incoming(self, column: str = "v") -> Incoming:
        schema = pa.schema([("dataset", pa.string()), ("drop_date", pa.string()), (column, pa.int64())])

        def rows(parts: Collection[str]) -> ds.Dataset:
            self.sent += parts
            found = [
                dict(zip(schema.names, (*part.split("/"), v), strict=True)) for part in parts for v in self.values[part]
            ]
            return ds.dataset(pa.Table.from_pylist(found, schema=schema))

        return Incoming({part: f"{column}{values}" for part, values in self.values.items()}, rows)


def publish(settings: Settings, *values: int, withdrawn: str = "") -> dict[str, int] | None:
    return warehouse.publish(settings, lambda: Delivery({"gold.things": whole(*values)}, withdrawn))


def read(settings: Settings) -> list[int]:
    with warehouse.connect(settings) as con:
        return values(con)


def values(con: duckdb.DuckDBPyConnection, table: str = "gold.things") -> list[int]:
    return [row[0] for row in con.execute(f"SELECT v FROM {table} ORDER BY v").fetchall()]


def versions(settings: Settings) -> list[Path]:
    return list(Path(settings.warehouse).parent.glob("warehouse-*.duckdb"))


def test_a_reader_keeps_the_version_it_opened(settings: Settings) -> None:
    assert publish(settings, 1, 2) == {"gold.things": 2}
    with warehouse.connect(settings) as reader:
        publish(settings, 3)
        assert reader.execute("SELECT count(*) FROM gold.things").fetchone() == (2,)
    assert read(settings) == [3]


def test_what_it_shows_already_is_not_published_again(settings: Settings) -> None:
    publish(settings, 1)
    before = Path(settings.warehouse).resolve()
    assert publish(settings, 1) is None
    assert Path(settings.warehouse).resolve() == before
    assert publish(settings, 2) == {"gold.things": 1}


def test_the_lake_is_read_once_nobody_else_publishes(settings: Settings) -> None:
    """Else a publisher that waited for another would put an older state over a newer one."""
    import fcntl
    import threading

    publish(settings, 1)
    began, lock = threading.Event(), Path(settings.warehouse).with_name(".warehouse.duckdb.lock")

    def read_lake() -> Delivery:
        began.set()
        return Delivery({"gold.things": whole(2)})

    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=warehouse.publish, args=(settings, read_lake))
        waiting.start()
        assert not began.wait(0.3)
    waiting.join(10)
    assert began.is_set() and read(settings) == [2]


def test_before_the_first_publication_the_error_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(RequestError, match="avlake run"):
        warehouse.connect(settings)


def test_nobody_writes_into_a_published_file(settings: Settings) -> None:
    publish(settings, 1)
    with warehouse.connect(settings) as con, pytest.raises(duckdb.Error, match="read-only"):
        con.execute("DELETE FROM gold.things")
    assert Path(settings.warehouse).resolve().stat().st_mode & 0o222 == 0


def torn(folder: Path) -> Incoming:
    """A table whose rows cannot be read to their end."""
    path = folder / "torn.parquet"
    pq.write_table(pa.table({"v": [1, 2, 3]}), path)
    data = ds.dataset(path)
    path.write_bytes(path.read_bytes()[:40])
    return Incoming({WHOLE: "torn"}, lambda parts: data if parts else ds.dataset(data.schema.empty_table()))


FAILURES = (duckdb.Error, pa.ArrowException, OSError)


def test_a_failed_publication_leaves_the_last_one_and_no_rubbish(settings: Settings, tmp_path: Path) -> None:
    publish(settings, 1)
    before = {p.name for p in tmp_path.iterdir()}
    (tmp_path / "lake").mkdir()
    delivery = Delivery({"gold.things": torn(tmp_path / "lake")})
    with pytest.raises(FAILURES):
        warehouse.publish(settings, lambda: delivery)
    assert read(settings) == [1]
    assert {p.name for p in tmp_path.iterdir()} - {"lake"} == before


def test_old_versions_are_removed_but_not_at_once(settings: Settings) -> None:
    for i in range(6):
        publish(settings, i)
    assert len(versions(settings)) == warehouse.KEPT_FILES
    assert read(settings) == [5]


def test_versions_that_show_what_was_withdrawn_are_removed_at_once(settings: Settings) -> None:
    publish(settings, 1)
    publish(settings, 1, 2)
    with warehouse.connect(settings) as reader:
        publish(settings, 1, withdrawn="2")
        assert versions(settings) == [Path(settings.warehouse).resolve()]
        assert values(reader) == [1, 2]  # who has it open reads on


def test_what_a_killed_publication_left_is_removed(settings: Settings) -> None:
    publish(settings, 1, 2)
    stale = Path(settings.warehouse).resolve()
    publish(settings, 1, withdrawn="2")
    # As if the publisher had been killed between the swap and the removal, and another while it filled its file.
    folder = stale.parent
    stale.write_bytes(Path(settings.warehouse).resolve().read_bytes())
    with duckdb.connect(str(stale)) as con:
        update(con, Delivery({"gold.things": whole(1, 2)}))
    for rest in (".tmp", ".tmp.wal", ".link"):
        (folder / f".{stale.name}{rest}").write_bytes(b"")
    assert publish(settings, 1, withdrawn="2") is None
    assert {p.name for p in folder.iterdir()} == {
        "warehouse.duckdb",
        ".warehouse.duckdb.lock",
        Path(settings.warehouse).resolve().name,
    }


def test_a_file_of_somebody_else_is_not_replaced(settings: Settings, tmp_path: Path) -> None:
    with duckdb.connect(settings.warehouse) as con:
        con.execute("CREATE TABLE precious AS SELECT 42 AS x")
    with pytest.raises(RequestError, match=r"AVLAKE_WAREHOUSE .* is not a warehouse of avlake; name another file"):
        publish(settings, 1)
    link = tmp_path / "link.duckdb"
    link.symlink_to("warehouse.duckdb")
    with pytest.raises(RequestError, match="is not a warehouse of avlake"):
        publish(Settings(warehouse=str(link)), 1)
    with duckdb.connect(str(link), read_only=True) as con:
        assert con.execute("FROM precious").fetchall() == [(42,)]
    assert {p.name for p in tmp_path.iterdir()} == {"warehouse.duckdb", "link.duckdb"}


def test_a_version_that_cannot_be_read_is_removed_and_built_anew(settings: Settings, tmp_path: Path) -> None:
    publish(settings, 1, 2)
    broken = tmp_path / "warehouse-000000000000-000000.duckdb"
    broken.write_bytes(os.urandom(100))
    publish(settings, 1, withdrawn="2")
    assert versions(settings) == [Path(settings.warehouse).resolve()]
    current = Path(settings.warehouse).resolve()
    current.chmod(0o644)
    current.write_bytes(os.urandom(100))
    assert publish(settings, 1, withdrawn="2") == {"gold.things": 1}
    assert read(settings) == [1] and not current.exists()


def test_a_file_that_is_no_database_is_said(settings: Settings) -> None:
    Path(settings.warehouse).write_bytes(os.urandom(100))
    with pytest.raises(RequestError, match=r"AVLAKE_WAREHOUSE .* cannot be opened") as error:
        warehouse.select(settings, "SELECT 1")
    assert "\n" not in str(error.value)


def test_a_place_that_cannot_hold_a_file_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for path in ("file/w.duckdb", "file/deeper/w.duckdb"):
        with pytest.raises(RequestError, match="AVLAKE_WAREHOUSE"):
            publish(Settings(warehouse=str(tmp_path / path)), 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    for path in ("closed/w.duckdb", "closed/deeper/w.duckdb"):
        with pytest.raises(RequestError, match="AVLAKE_WAREHOUSE"):
            publish(Settings(warehouse=str(tmp_path / path)), 1)


SMALL_FILES = """
import resource, sys
import pyarrow as pa, pyarrow.dataset as ds
from avlake import warehouse
from avlake.delivery import WHOLE, Delivery, Incoming
from avlake.errors import WorkError
from avlake.settings import Settings

resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
values = [f"{i * 7919 % 1_000_003}{i}" for i in range(1_000_000)]
rows = lambda parts: ds.dataset(pa.table({"v": pa.array(values if parts else [], pa.string())}))
try:
    warehouse.publish(Settings(warehouse=sys.argv[1]), lambda: Delivery({"gold.things": Incoming({WHOLE: "x"}, rows)}))
except WorkError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    publish(settings, 1)
    before = {p.name for p in tmp_path.iterdir()}
    command = [sys.executable, "-c", SMALL_FILES, settings.warehouse]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == (
        f"{settings.warehouse}: no room left to write; free some, raise the limit, or move AVLAKE_WAREHOUSE, "
        "then run again\n"
    )
    assert {p.name for p in tmp_path.iterdir()} == before
    assert read(settings) == [1]


def test_without_a_lock_the_lake_is_read_again_after_writing(con: duckdb.DuckDBPyConnection) -> None:
    """A publisher that read before a takedown and writes after another who knew of it."""
    early, late = Delivery({"gold.things": whole(1, 2)}), Delivery({"gold.things": whole(1)}, "2")
    reads = iter([early, late, late])

    def read_lake() -> Delivery:
        found = next(reads)
        if found is early:
            update(con, late)  # the other one is quicker
        return found

    assert warehouse.catch_up(con, read_lake) == {"gold.things": 1}
    assert values(con) == [1] and is_shown(shown(con), late)


def test_a_lake_that_never_rests_ends_in_an_error(con: duckdb.DuckDBPyConnection) -> None:
    numbers = iter(range(100))
    with pytest.raises(WorkError, match="changes faster"):
        warehouse.catch_up(con, lambda: Delivery({"gold.things": whole(next(numbers))}))


def test_publishers_that_write_the_same_at_once_fail_in_one_line(con: duckdb.DuckDBPyConnection) -> None:
    update(con, Delivery({"gold.things": whole(1)}))
    with con.cursor() as other:

        def rows(parts: Collection[str]) -> ds.Dataset:
            if parts:
                update(other, Delivery({"gold.things": whole(3)}))
            return ds.dataset(pa.table({"v": pa.array([2] if parts else [], pa.int64())}))

        with pytest.raises(WorkError, match="another run publishes") as error:
            warehouse.catch_up(con, lambda: Delivery({"gold.things": Incoming({WHOLE: "2"}, rows)}))
    assert "\n" not in str(error.value)
    assert values(con) == [1] or values(con) == [3]


def test_only_drops_that_changed_travel(con: duckdb.DuckDBPyConnection) -> None:
    drops = Drops(d1=[1], d2=[2, 3])
    update(con, Delivery({"silver.x": drops.incoming()}))
    assert drops.sent == ["voxforge/2026-09-01", "voxforge/2026-09-02"]
    later = Drops(d2=[2, 4], d3=[5])  # the first is gone, the second changed, the third is new
    assert update(con, Delivery({"silver.x": later.incoming()})) == {"silver.x": 3}
    assert later.sent == ["voxforge/2026-09-02", "voxforge/2026-09-03"]
    assert values(con, "silver.x") == [2, 4, 5]
    again = Drops(d2=[2, 4], d3=[5])
    update(con, Delivery({"silver.x": again.incoming()}))
    assert again.sent == [] and values(con, "silver.x") == [2, 4, 5]


def test_other_columns_make_a_table_anew(con: duckdb.DuckDBPyConnection) -> None:
    update(con, Delivery({"silver.x": Drops(d1=[1], d2=[2]).incoming()}))
    update(con, Delivery({"silver.x": Drops(d1=[1], d2=[2]).incoming("w")}))
    found = con.execute("SELECT drop_date, w FROM silver.x ORDER BY ALL").fetchall()
    assert found == [("2026-09-01", 1), ("2026-09-02", 2)]


def test_a_table_that_somebody_dropped_or_made_is_replaced(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE SCHEMA gold; CREATE TABLE gold.things AS SELECT 'mine' AS v")
    update(con, Delivery({"gold.things": whole(1)}))
    assert values(con) == [1]
    con.execute("DROP TABLE gold.things")
    update(con, Delivery({"gold.things": whole(1)}))
    assert values(con) == [1]


def test_tables_gone_from_the_lake_go_and_others_stay(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE notes AS SELECT 'mine' AS v")
    update(con, Delivery({"gold.things": whole(1), "gold.old": whole(2)}))
    update(con, Delivery({"gold.things": whole(1)}))
    assert warehouse.tables(con) == ["gold.things"]
    assert con.execute("FROM notes").fetchall() == [("mine",)]


def test_a_publication_cut_short_between_tables_is_finished_by_the_next(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    update(con, Delivery({"gold.a": whole(1), "gold.b": whole(1)}))
    with pytest.raises(FAILURES):
        update(con, Delivery({"gold.a": whole(2), "gold.b": torn(tmp_path)}))
    assert (values(con, "gold.a"), values(con, "gold.b")) == ([2], [1])  # each whole: the new one, and the old one
    wanted = Delivery({"gold.a": whole(2), "gold.b": whole(2)})
    assert not is_shown(shown(con), wanted)
    update(con, wanted)
    assert (values(con, "gold.a"), values(con, "gold.b")) == ([2], [2])
    assert is_shown(shown(con), wanted)


PUBLISHER = """
import sys, time
import duckdb, pyarrow as pa, pyarrow.dataset as ds
from avlake.delivery import WHOLE, Delivery, Incoming, update

def table(values, pause=0):
    def rows(parts):
        if parts and pause:
            print("half", flush=True)
            time.sleep(pause)
        return ds.dataset(pa.table({"v": pa.array(values if parts else [], pa.int64())}))
    return Incoming({WHOLE: str(values)}, rows)

with duckdb.connect(sys.argv[1]) as con:
    update(con, Delivery({"gold.a": table([1]), "gold.b": table([1])}))
    update(con, Delivery({"gold.a": table([2]), "gold.b": table([2], pause=60)}))
"""


def test_a_publication_killed_in_a_transaction_leaves_whole_tables(tmp_path: Path) -> None:
    database = tmp_path / "killed.duckdb"
    command = [sys.executable, "-c", PUBLISHER, str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdout is not None and publisher.stdout.readline() == "half\n"  # old rows of b are deleted
        publisher.send_signal(signal.SIGKILL)
    with duckdb.connect(str(database)) as con:
        assert (values(con, "gold.a"), values(con, "gold.b")) == ([2], [1])
        wanted = Delivery({name: whole(2, mark="[2]") for name in ("gold.a", "gold.b")})
        assert not is_shown(shown(con), wanted)
        assert update(con, wanted) == {"gold.a": 1, "gold.b": 1}
        assert (values(con, "gold.a"), values(con, "gold.b")) == ([2], [2])


def test_a_reader_beside_the_publisher_never_sees_half_a_table(con: duckdb.DuckDBPyConnection) -> None:
    update(con, Delivery({"gold.things": whole(*range(1000))}))
    seen = []
    with con.cursor() as reader:
        inside = Incoming({WHOLE: "new"}, lambda parts: _spied(parts, lambda: seen.append(len(values(reader)))))
        update(con, Delivery({"gold.things": inside}))
        assert seen == [1000]  # between DELETE and INSERT
        assert values(reader) == [7]


def _spied(parts: Collection[str], look: object) -> ds.Dataset:
    if parts:
        look()  # type: ignore[operator]
    return ds.dataset(pa.table({"v": pa.array([7] if parts else [], pa.int64())}))


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM gold.things",
        "EXPLAIN ANALYZE DELETE FROM gold.things",
        "SELECT 1; DROP TABLE gold.things",
        "COPY gold.things TO 'stolen.csv'",
        "ATTACH 'other.duckdb'",
        "SET enable_external_access = true",
        "",
        "SELEC 1",
    ],
)
def test_anything_but_one_select_is_refused(settings: Settings, query: str) -> None:
    publish(settings, 1)
    with pytest.raises(RequestError, match=r"^sql: "):
        warehouse.select(settings, query)
    assert read(settings) == [1]


def test_a_select_reads_nothing_but_the_warehouse(settings: Settings, tmp_path: Path) -> None:
    publish(settings, 1)
    (tmp_path / "private.csv").write_text("a\n1\n")
    with pytest.raises(RequestError, match="disabled"):
        warehouse.select(settings, f"FROM read_csv('{tmp_path}/private.csv')")
    assert warehouse.select(settings, "SELECT v FROM gold.things") == (["v"], [(1,)])


@pytest.fixture
def motherduck(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """MotherDuck on a machine without its extension and without a network to fetch it from."""
    for name in warehouse.TOKENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    return Settings(uri=str(tmp_path / "lake"), warehouse="md:avlake")


def test_motherduck_without_a_token_names_the_setting(motherduck: Settings) -> None:
    began = time.monotonic()
    for use in (warehouse.connect, lambda s: warehouse.select(s, "SELECT 1"), lambda s: publish(s, 1)):
        with pytest.raises(RequestError, match="motherduck_token"):
            use(motherduck)
    assert time.monotonic() - began < 5  # it waits for no browser


def test_motherduck_out_of_reach_is_one_error_without_the_token(
    motherduck: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("motherduck_token", TOKEN)
    with pytest.raises(RequestError, match="motherduck") as error:
        warehouse.connect(motherduck)
    with pytest.raises(RequestError, match=r"MotherDuck \(md:avlake\)"):
        warehouse.select(motherduck, "SELECT 1")
    assert TOKEN not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["md:", "md:a b", 'md:a"b', f"md:avlake?motherduck_token={TOKEN}"])
def test_a_motherduck_name_is_a_database_and_nothing_else(motherduck: Settings, name: str) -> None:
    with pytest.raises(RequestError, match="AVLAKE_WAREHOUSE") as error:
        publish(Settings(uri=motherduck.uri, warehouse=name), 1)
    assert TOKEN not in str(error.value)
