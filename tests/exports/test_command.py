"""`avlake export`: words on standard error, honest exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shelf import NAMES, TABLE, make_shelf, replace_table, row

from avlake.settings import Settings
from avlake.stages.export import export


def avlake(settings: Settings, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"AVLAKE_URI": settings.uri, "AVLAKE_WAREHOUSE": settings.warehouse, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "avlake.cli", "export", *words]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_it_says_what_is_there_and_what_is_not_kept(shelf: Settings, tmp_path: Path) -> None:
    done = avlake(shelf, tmp_path, TABLE, "--to", "list", "--format", "m3u")
    assert (done.returncode, done.stdout) == (0, "")
    first, hint = done.stderr.splitlines()
    assert first == "2 rows of 2 files in list" and hint.startswith("1 of them are not kept")
    assert (tmp_path / "list" / "clips.m3u8").is_file()


def test_what_is_left_out_is_counted(shelf: Settings, tmp_path: Path) -> None:
    done = avlake(shelf, tmp_path, "bronze.files", "--to", "all", "--format", "webdataset")
    assert done.stderr.splitlines() == [
        "3 rows of 3 files in all",
        "1 rows are left out: their files are no recordings",
    ]


def test_clips_scored_elsewhere_are_counted_and_keep_nothing_from_being_exported(tmp_path: Path) -> None:
    shelf = make_shelf(tmp_path / "own")
    scored = row("x.mp4", dataset="scores", drop_date="1970-01-01", file_id="5" * 32)
    replace_table(shelf, [row(NAMES["odd"]), scored])
    for form in ("hf", "webdataset", "lhotse", "m3u"):
        report = export(shelf, table=TABLE, to=str(tmp_path / form), form=form)
        assert (report.rows, report.left_out, report.elsewhere) == (1, 1, 1), form
    done = avlake(shelf, tmp_path, TABLE, "--to", "list", "--format", "m3u")
    assert done.stderr.splitlines() == [
        "1 rows of 1 files in list",
        "1 rows are left out: their files are not in the lake, for they were scored elsewhere",
    ]


def test_an_empty_export_says_so(shelf: Settings, tmp_path: Path) -> None:
    done = avlake(shelf, tmp_path, TABLE, "--to", "none.csv", "--where", "label = 'no such'")
    assert done.returncode == 0 and "the export is empty" in done.stderr
    assert (tmp_path / "none.csv").read_text().count("\n") == 1


def test_a_wrong_request_exits_2_and_names_what_is_wrong(shelf: Settings, tmp_path: Path) -> None:
    for words, named in (
        ((TABLE, "--to", "x.xls"), "jsonl, parquet, csv, hf, webdataset, lhotse, m3u"),
        ((TABLE, "--to", "x"), "--format"),
        ((TABLE, "--to", "x.csv", "--where", "true; DROP TABLE x"), "--where"),
        (("ops.runs", "--to", "x", "--format", "hf"), "no recordings"),
    ):
        done = avlake(shelf, tmp_path, *words)
        assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", ["x.jsonl", "x.csv", "x.parquet", "hf", "webdataset", "lhotse"])
def test_a_full_disk_is_one_line_and_leaves_nothing(shelf: Settings, tmp_path: Path, to: str) -> None:
    table = "bronze.files" if "." in to else TABLE
    form = ("--format", to) if "." not in to else ()
    command = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", sys.executable, "-m", "avlake.cli", "export", table]
    env = {"AVLAKE_URI": shelf.uri, "AVLAKE_WAREHOUSE": shelf.warehouse, "PATH": "/usr/bin:/bin"}
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # it would be cut off too
    command += ["--to", str(tmp_path / to), *form]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "no room left to write" in done.stderr and "--to" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_names_the_option(shelf: Settings, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    done = avlake(shelf, tmp_path, TABLE, "--to", "x.csv")
    assert done.returncode == 2 and "--to" in done.stderr and len(done.stderr.splitlines()) == 1
