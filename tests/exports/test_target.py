"""An export is there whole or not at all, and replaces nothing but what it may."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from shelf import DROP, NAMES, TABLE, delivered, file_id, make_shelf, replace_table, row

from avlake.errors import RequestError, WorkError
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages import takedowns
from avlake.stages.contents import object_name
from avlake.stages.curate import curate
from avlake.stages.export import FOLDERS, FORMATS, export
from avlake.stages.publish import publish
from avlake.tables import BRONZE_FILES, Table


@pytest.fixture
def own(shelf: Settings, tmp_path: Path) -> Settings:
    """A copy of the shelf that a test may damage."""
    home = Path(shelf.uri).parent
    shutil.copytree(home, tmp_path / "own", symlinks=True)
    return shelf.model_copy(
        update={"uri": str(tmp_path / "own" / "lake"), "warehouse": str(tmp_path / "own" / "warehouse.duckdb")}
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("form", FOLDERS)
def test_missing_bytes_are_named_and_nothing_is_left(own: Settings, out: Path, form: str) -> None:
    lake = Lake.open(own)
    (large,) = [r for r in lake.rows(BRONZE_FILES, "voxforge", DROP).to_pylist() if r["path"] == NAMES["odd"]]
    lake.store.delete(object_name(large["sha256"]))
    with pytest.raises(WorkError, match=r"Ω 1\.WAV"):
        export(own, table=TABLE, to=str(out / "x"), form=form)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("form", FOLDERS)
def test_damaged_bytes_are_not_passed_on(own: Settings, out: Path, form: str) -> None:
    lake = Lake.open(own)
    (large,) = [r for r in lake.rows(BRONZE_FILES, "voxforge", DROP).to_pylist() if r["path"] == NAMES["odd"]]
    path = Path(lake.store.path(object_name(large["sha256"])))
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(WorkError, match=r"Ω 1.WAV.*sha256"):
        export(own, table=TABLE, to=str(out / "x"), form=form)
    assert list(out.iterdir()) == []


def test_rows_of_unknown_files_are_an_error(own: Settings, out: Path) -> None:
    replace_table(own, [row(NAMES["odd"]), row("never delivered.wav")])
    with pytest.raises(WorkError, match=file_id("never delivered.wav")):
        export(own, table=TABLE, to=str(out / "x"), form="m3u")


def test_a_row_is_of_its_own_drop_and_else_of_the_latest(voices: Settings, out: Path) -> None:
    drops = {"2026-09-01", "2026-09-02"}
    export(voices, table="silver.media", to=str(out / "own"), form="lhotse")
    assert {path.name[:10] for path in (out / "own" / "audio").iterdir()} == drops
    shelf = make_shelf(out / "shelf")
    replace_table(shelf, [row(NAMES["odd"], drop_date="2020-01-01")])
    with pytest.raises(WorkError, match=r"bronze\.files does not hold"):
        export(shelf, table=TABLE, to=str(out / "x"), form="m3u")
    table = Table("gold.plain", "files alone", ("file_id",), pa.schema([("file_id", pa.string())]), per_drop=False)
    rows = pa.Table.from_pylist([{"file_id": file_id(NAMES["odd"])}], schema=table.schema)
    Lake.open(shelf).replace_table(table, [rows], expected_version=0)
    publish(shelf, run_id="plain")
    export(shelf, table="gold.plain", to=str(out / "plain"), form="lhotse")
    (audio,) = (out / "plain" / "audio").iterdir()
    assert audio.name == f"{DROP}-{file_id(NAMES['odd'])}.wav" and audio.read_bytes() == delivered(shelf, NAMES["odd"])


def test_what_was_taken_down_is_not_exported(voices: Settings, tmp_path: Path, out: Path) -> None:
    home = Path(voices.uri).parent
    shutil.copytree(home, tmp_path / "own", symlinks=True)
    own = voices.model_copy(
        update={"uri": str(tmp_path / "own" / "lake"), "warehouse": str(tmp_path / "own" / "warehouse.duckdb")}
    )
    before = export(own, table="gold.gender_windows", to=str(out / "before"), form="lhotse")
    takedowns.add(own, subjects=["voxforge/synthetic03"], reason="asked to", who="tester")
    curate(own, pipeline="voxforge_gender", run_id="after")
    publish(own, run_id="after")
    after = export(own, table="gold.gender_windows", to=str(out / "after"), form="lhotse")
    gone = {path.name for path in (out / "before" / "audio").iterdir()}
    gone -= {path.name for path in (out / "after" / "audio").iterdir()}
    assert len(gone) == 2 and before.files is not None and after.files == before.files - 2
    for table in ("silver.media", "bronze.files"):
        export(own, table=table, to=str(out / table), form="m3u")
        assert gone.isdisjoint(path.name for path in (out / table / "media").iterdir())


@pytest.mark.parametrize("form", FOLDERS)
def test_an_export_replaces_its_like_and_nothing_else(shelf: Settings, out: Path, form: str) -> None:
    to = out / "x"
    export(shelf, table=TABLE, to=str(to), form=form)
    before = sorted(path.name for path in to.rglob("*"))
    (to / "stale").write_text("from an older export")
    export(shelf, table=TABLE, to=str(to), form=form)
    assert sorted(path.name for path in to.rglob("*")) == before
    other = next(name for name in FOLDERS if name != form)
    for taken, asked in ((to, other), (to, "csv")):
        with pytest.raises(RequestError):
            export(shelf, table=TABLE, to=str(taken), form=asked)
    (out / "theirs").mkdir()
    export(shelf, table=TABLE, to=str(out / "theirs"), form=form)  # an empty folder is nobody's
    shutil.rmtree(out / "theirs")
    (out / "theirs").mkdir()
    (out / "theirs" / "export.json").write_text(f'{{"format": "{form}"}}')
    (out / "file").write_text("x")
    for taken in (out / "theirs", out / "file"):
        with pytest.raises(RequestError, match=r"no .* export of avlake"):
            export(shelf, table=TABLE, to=str(taken), form=form)
    assert sorted(path.name for path in out.iterdir()) == ["file", "theirs", "x"]


def test_a_file_replaces_a_file_only_when_all_of_it_is_written(shelf: Settings, out: Path) -> None:
    to = out / "x.csv"
    to.write_text("before")
    with pytest.raises(RequestError):
        export(shelf, table=TABLE, to=str(to), form="csv", where="CAST(label AS INTEGER) = 1")
    assert to.read_text() == "before"
    export(shelf, table=TABLE, to=str(to), form="csv")
    assert to.read_text().startswith('"file_id"') and [p.name for p in out.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("form", FORMATS)
def test_wrong_requests_say_so(shelf: Settings, out: Path, form: str) -> None:
    with pytest.raises(RequestError, match=r"gold\.clips"):
        export(shelf, table="gold.no_such", to=str(out / "x"), form=form)
    with pytest.raises(RequestError, match="no folder"):
        export(shelf, table=TABLE, to=str(out / "no" / "x"), form=form)
    with pytest.raises(RequestError, match=r"ftp"):
        export(shelf, table=TABLE, to="ftp://somewhere/x", form=form)
    if form in FOLDERS:
        with pytest.raises(RequestError, match="parquet, csv or jsonl"):
            export(shelf, table="ops.runs", to=str(out / "x"), form=form)
    assert list(out.iterdir()) == []


def test_rows_that_gold_decided_against_are_there_and_counted(shelf: Settings, out: Path) -> None:
    report = export(shelf, table=TABLE, to=str(out / "x"), form="m3u")
    assert (report.rows, report.files, report.not_kept, report.left_out) == (2, 2, 1, 0)
    report = export(shelf, table="bronze.files", to=str(out / "y"), form="webdataset")
    assert (report.rows, report.left_out) == (3, 1)  # the text file is no recording
