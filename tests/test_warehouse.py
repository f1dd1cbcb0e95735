"""Publishing swaps a whole file: readers keep what they opened, and nobody writes into a published one."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from avlake import warehouse
from avlake.errors import RequestError
from avlake.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(warehouse=str(tmp_path / "warehouse.duckdb"))


def publish(settings: Settings, *values: int, shown: str) -> dict[str, int]:
    return warehouse.publish(settings, {"gold.things": ds.dataset(pa.table({"v": list(values)}))}, shown)


def read(settings: Settings) -> list[int]:
    with warehouse.connect(settings) as con:
        return [row[0] for row in con.execute("SELECT v FROM gold.things ORDER BY v").fetchall()]


def test_a_reader_keeps_the_version_it_opened(settings: Settings) -> None:
    assert publish(settings, 1, 2, shown="first") == {"gold.things": 2}
    with warehouse.connect(settings) as reader:
        publish(settings, 3, shown="second")
        assert reader.execute("SELECT count(*) FROM gold.things").fetchone() == (2,)
    assert read(settings) == [3]
    assert warehouse.state(settings) == "second"


def test_before_the_first_publication_the_error_says_what_to_do(settings: Settings) -> None:
    assert warehouse.state(settings) is None
    with pytest.raises(RequestError, match="avlake run"):
        warehouse.connect(settings)


def test_nobody_writes_into_a_published_file(settings: Settings) -> None:
    publish(settings, 1, shown="first")
    with warehouse.connect(settings) as con, pytest.raises(duckdb.Error, match="read-only"):
        con.execute("DELETE FROM gold.things")
    assert Path(settings.warehouse).resolve().stat().st_mode & 0o222 == 0


def test_a_failed_publication_leaves_the_last_one_and_no_rubbish(settings: Settings, tmp_path: Path) -> None:
    publish(settings, 1, shown="first")
    before = {p.name for p in tmp_path.iterdir()}
    torn = tmp_path / "lake" / "torn.parquet"
    torn.parent.mkdir()
    pq.write_table(pa.table({"v": [1, 2, 3]}), torn)
    data = ds.dataset(torn)
    torn.write_bytes(torn.read_bytes()[:40])
    with pytest.raises((duckdb.Error, pa.ArrowException, OSError)):
        warehouse.publish(settings, {"gold.things": data}, "second")
    assert read(settings) == [1]
    assert {p.name for p in tmp_path.iterdir()} - {"lake"} == before


def test_old_versions_are_removed_but_not_at_once(settings: Settings) -> None:
    for i in range(6):
        publish(settings, i, shown=str(i))
    files = list(Path(settings.warehouse).parent.glob("warehouse-*.duckdb"))
    assert len(files) == warehouse.KEPT_FILES
    assert read(settings) == [5]
