"""What the warehouse shows is what the lake holds, whether it is built anew or brought up to date."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from avlake import warehouse
from avlake.datasets import synthetic
from avlake.delivery import Delivery, Incoming, is_shown, shown, update
from avlake.extractors.audio_tags import AudioTags
from avlake.lake import Lake
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages import takedowns
from avlake.stages.curate import curate
from avlake.stages.publish import deliver, publish

PIPELINE, DROPS = "voxforge_gender", ("2026-09-01", "2026-09-02")
MAX_ROWS = 1_000_000


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with two drops of two people each, published; a third drop has not arrived."""
    folder = tmp_path_factory.mktemp("publish")
    settings = settings_in(folder)
    for drop in DROPS:
        synthetic.write_drop(folder / "landing", drop, speakers=2, utterances=1)
    run(settings, pipeline=PIPELINE, source=str(folder / "landing"), train=False)
    return settings


@pytest.fixture
def settings(made: Settings, tmp_path: Path) -> Settings:
    """A copy of it that a test may change."""
    shutil.copytree(Path(made.uri).parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return settings_in(tmp_path)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An open database that stays, as in MotherDuck."""
    with duckdb.connect(str(tmp_path / "elsewhere.duckdb")) as con:
        yield con


def settings_in(folder: Path) -> Settings:
    return Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=2)


def arrives(settings: Settings, drop: str, **options: Any) -> None:
    """One more drop, or other files of one, through gold to the warehouse."""
    landing = Path(settings.uri).parent / "landing"
    synthetic.write_drop(landing, drop, **{"speakers": 2, "utterances": 1, **options})
    run(settings, pipeline=PIPELINE, source=str(landing), drop=drop, train=False)


class Watched:
    """A delivery that notes which slices of which tables are read."""

    def __init__(self, delivery: Delivery) -> None:
        self.read: list[tuple[str, str]] = []
        tables = {name: self._watch(name, table) for name, table in delivery.tables.items()}
        self.delivery = Delivery(tables, delivery.withdrawn)

    def _watch(self, name: str, table: Incoming) -> Incoming:
        def rows(parts: Collection[str]) -> ds.Dataset:
            self.read += [(name, part) for part in parts]
            return table.rows(parts)

        return Incoming(table.slices, rows)


def bring_up_to_date(con: duckdb.DuckDBPyConnection, settings: Settings) -> list[tuple[str, str]]:
    """Publish as to MotherDuck; returns the slices that were sent."""
    watched = Watched(deliver(Lake.open(settings), MAX_ROWS))
    update(con, watched.delivery)
    assert is_shown(shown(con), deliver(Lake.open(settings), MAX_ROWS))
    return watched.read


def everything(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables but ops.runs, in an order of their own."""
    names = [name for name in warehouse.tables(con) if name != "ops.runs"]
    return {name: con.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in names}


def in_file(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    with warehouse.connect(settings) as con:
        return everything(con)


def test_bringing_up_to_date_ends_where_building_anew_does(
    settings: Settings, elsewhere: duckdb.DuckDBPyConnection
) -> None:
    """New drops, changed drops, removed files, a takedown, other thresholds: the same rows either way."""
    bring_up_to_date(elsewhere, settings)
    assert everything(elsewhere) == in_file(settings)
    arrives(settings, "2026-09-03", seed=3)
    bring_up_to_date(elsewhere, settings)
    assert everything(elsewhere) == in_file(settings)
    arrives(settings, DROPS[0], utterances=2)
    next((Path(settings.uri).parent / "landing" / "voxforge" / DROPS[0]).glob("synthetic02*")).unlink()
    arrives(settings, DROPS[0], speakers=1, utterances=2)
    takedowns.add(settings, subjects=["voxforge/synthetic02"], reason="asked", who="ada")
    curate(settings, pipeline=PIPELINE, run_id="t", thresholds={"min_snr_db": 5.0})
    publish(settings, run_id="t")
    bring_up_to_date(elsewhere, settings)
    assert everything(elsewhere) == in_file(settings)
    assert "synthetic02" not in {row[0] for row in elsewhere.execute("SELECT subject_id FROM silver.labels").fetchall()}


def test_of_silver_only_the_drop_that_arrived_is_sent(settings: Settings, elsewhere: duckdb.DuckDBPyConnection) -> None:
    assert {part for name, part in bring_up_to_date(elsewhere, settings) if name == "silver.media"} == {
        f"voxforge/{drop}" for drop in DROPS
    }
    assert bring_up_to_date(elsewhere, settings) == []
    arrives(settings, "2026-09-03", seed=3)
    sent = bring_up_to_date(elsewhere, settings)
    assert {part for _, part in sent} == {"voxforge/2026-09-03", ""}
    assert {name for name, part in sent if part == ""} == {"gold.gender_windows", "ops.runs"}


def test_a_takedown_sends_the_drops_it_touches(settings: Settings, elsewhere: duckdb.DuckDBPyConnection) -> None:
    arrives(settings, "2026-09-03", speakers=3, seed=3)
    bring_up_to_date(elsewhere, settings)
    takedowns.add(settings, subjects=["voxforge/synthetic03"], reason="asked", who="ada")
    sent = bring_up_to_date(elsewhere, settings)
    assert {part for name, part in sent if name.startswith("silver")} == {"voxforge/2026-09-03"}
    labelled = elsewhere.execute("SELECT count(*) FROM silver.labels WHERE subject_id = 'synthetic03'").fetchone()
    assert labelled == (0,)


def test_a_run_that_changed_nothing_publishes_nothing(settings: Settings) -> None:
    before = Path(settings.warehouse).resolve()
    curate(settings, pipeline=PIPELINE, run_id="again")  # adds a row to ops.runs
    assert not publish(settings, run_id="again").changed
    assert Path(settings.warehouse).resolve() == before


def test_a_table_with_too_many_rows_is_left_out_and_said(settings: Settings) -> None:
    few = settings.model_copy(update={"warehouse_max_rows": 10})
    report = publish(few, run_id="few")
    assert "silver.labels" in report.left_out and "silver.labels" not in report.tables
    with warehouse.connect(few) as con:
        assert "silver.labels" not in warehouse.tables(con) and "silver.media" in warehouse.tables(con)
    assert "silver.labels" in publish(settings, run_id="all").tables


def test_an_empty_gold_table_is_shown_empty(settings: Settings) -> None:
    for person in ("synthetic01", "synthetic02"):
        takedowns.add(settings, subjects=[f"voxforge/{person}"], reason="asked", who="ada")
    curate(settings, pipeline=PIPELINE, run_id="empty")
    assert publish(settings, run_id="empty").tables["gold.gender_windows"] == 0
    assert warehouse.select(settings, "SELECT count(*) FROM gold.gender_windows")[1] == [(0,)]


def test_no_bytes_and_no_takedowns_are_in_the_warehouse(settings: Settings) -> None:
    takedowns.add(settings, subjects=["voxforge/synthetic01"], reason="asked", who="ada")
    publish(settings, run_id="t")
    with warehouse.connect(settings) as con:
        assert not {"bronze.contents", "governance.takedowns"} & set(warehouse.tables(con))
        assert con.execute("SELECT count(*) FROM duckdb_columns() WHERE data_type = 'BLOB'").fetchone() == (0,)


def test_columns_of_bytes_stay_in_the_lake_and_the_rest_of_their_table_is_shown(
    settings: Settings, elsewhere: duckdb.DuckDBPyConnection
) -> None:
    bring_up_to_date(elsewhere, settings)
    lake, table = Lake.open(settings), AudioTags.table
    row = {"file_id": "f", "dataset": "voxforge", "drop_date": DROPS[0], "window_index": 0, "trusted": True}
    rows = pa.Table.from_pylist([{**row, "speech": 0.5, "top_tags": ["Speech"], "scores": b"\x80"}], table.schema)
    fragment = lake.write_fragment(table, "voxforge", DROPS[0], [rows])
    lake.commit_drop(table, "voxforge", DROPS[0], [fragment], expected_version=0)
    publish(settings, run_id="tags")
    assert ("silver.audio_tags", f"voxforge/{DROPS[0]}") in bring_up_to_date(elsewhere, settings)
    assert everything(elsewhere) == in_file(settings)
    shown = elsewhere.execute("SELECT * FROM silver.audio_tags")
    assert [column for column, *_ in shown.description] == [c for c in table.schema.names if c != "scores"]
    assert elsewhere.execute("SELECT speech, top_tags FROM silver.audio_tags").fetchall() == [(0.5, ["Speech"])]
    assert lake.rows(table, "voxforge", DROPS[0])["scores"].to_pylist() == [b"\x80"]
    assert bring_up_to_date(elsewhere, settings) == []


def test_ops_runs_says_how_much_and_how_fast_of_every_stage(settings: Settings) -> None:
    columns = "stage, files, bytes, media_s, errors, seconds, files_per_s, media_s_per_s"
    data = Lake.open(settings).scan("ops.runs")
    assert data is not None
    rows: dict[str, dict[str, Any]] = {row["stage"]: row for row in data.to_table(columns.split(", ")).to_pylist()}
    assert rows.keys() == {"ingest", "extract", "commit", "curate", "publish"}
    for stage, row in rows.items():
        assert row["files"] > 0 and row["files_per_s"] == pytest.approx(row["files"] / row["seconds"]), stage
    for stage in ("ingest", "extract", "commit", "publish"):
        assert rows[stage]["bytes"] > 0, stage
    for stage in ("extract", "curate"):
        assert rows[stage]["media_s_per_s"] == pytest.approx(rows[stage]["media_s"] / rows[stage]["seconds"]), stage
    assert rows["ingest"]["media_s_per_s"] is None
    assert [rows[stage]["errors"] for stage in ("ingest", "extract")] == [0, 0]
