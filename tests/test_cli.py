"""The command line: data on standard output, words on standard error, honest exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avlake.datasets import synthetic
from avlake.stages.human import INBOX

DROP = "2026-09-01"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with one drop of synthesised voices, a torn archive among them, run without training."""
    folder = tmp_path_factory.mktemp("cli")
    synthetic.write_drop(folder / "landing", DROP, speakers=3, utterances=2)
    (folder / "landing" / "voxforge" / DROP / "torn-20260901-aaa.tgz").write_bytes(b"\x1f\x8b torn")
    done = avlake(folder, "run", "voxforge_gender", "--source", str(folder / "landing"), "--no-train", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    return folder


def avlake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        "AVLAKE_URI": str(folder / "lake"),
        "AVLAKE_WAREHOUSE": str(folder / "warehouse.duckdb"),
        "AVLAKE_MODELS": str(folder / "models"),
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
    }
    command = [sys.executable, "-m", "avlake.cli", *words]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_sql_json_is_data_alone(home: Path) -> None:
    done = avlake(home, "sql", "SELECT path, kept FROM gold.gender_windows ORDER BY ALL", "--format", "json")
    rows = json.loads(done.stdout)
    assert done.returncode == 0 and len({row["path"] for row in rows}) == 6


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM gold.gender_windows",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY gold.gender_windows TO 'stolen.csv'",
        "SELECT * FROM gold.no_such_table",
    ],
)
def test_sql_only_reads_the_warehouse(home: Path, query: str) -> None:
    done = avlake(home, "sql", query)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("avlake: sql:")
    assert not (home / "stolen.csv").exists()


def test_quarantine_names_path_stage_and_error(home: Path) -> None:
    (row,) = csv.DictReader(io.StringIO(avlake(home, "quarantine", "--format", "csv").stdout))
    assert (row["path"], row["stage"]) == ("torn-20260901-aaa.tgz", "ingest")
    assert row["error_class"] and row["error"]


def test_tables_lists_what_is_there(home: Path) -> None:
    rows = {row["table"]: row for row in json.loads(avlake(home, "tables", "--format", "json").stdout)}
    assert {"bronze.files", "silver.voice_features", "gold.gender_windows", "ops.extractions"} <= rows.keys()
    assert rows["silver.media"]["rows"] == 6 and all(row["what"] for row in rows.values())


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_export_writes_every_row(home: Path, suffix: str) -> None:
    import pyarrow.parquet as pq

    to = home / f"labels.{suffix}"
    assert avlake(home, "export", "silver.labels", "--to", str(to), "--where", "name = 'gender'").returncode == 0
    rows = {
        "parquet": lambda: pq.read_table(to).to_pylist(),
        "csv": lambda: list(csv.DictReader(io.StringIO(to.read_text()))),
        "jsonl": lambda: [json.loads(line) for line in to.read_text().splitlines()],
    }[suffix]()
    assert len(rows) == 6 and {row["value"] for row in rows} == {"female", "male"}


def test_export_refuses_what_it_does_not_know(home: Path) -> None:
    assert avlake(home, "export", "gold.x", "--to", str(home / "x.csv")).returncode == 2
    assert avlake(home, "export", "silver.labels", "--to", str(home / "x.xls")).returncode == 2
    bad = avlake(home, "export", "silver.labels", "--to", str(home / "x.csv"), "--where", "no_such = 1")
    assert bad.returncode == 2 and "no_such" in bad.stderr and not (home / "x.csv").exists()


def test_a_wrong_request_exits_2_and_says_the_next_step(home: Path) -> None:
    missing = avlake(home, "run", "voxforge_gender", "--source", str(home / "landing"), "--drop", "2020-01-01")
    assert missing.returncode == 2 and DROP in missing.stderr
    assert avlake(home, "run", "no_such_pipeline").returncode == 2
    assert (
        avlake(home, "run", "voxforge_gender", "--source", str(home / "landing"), "--set", "nonsense").returncode == 2
    )
    assert avlake(home, "no_such_command").returncode == 2
    assert avlake(home, "predict", "voxforge_gender", "x.wav").returncode == 2  # nothing is trained yet


@pytest.mark.parametrize("words", [("evaluate",), ("drift",), ("predict", "a.mp4")])
def test_a_pipeline_that_leaves_no_model_says_where_its_decisions_are(home: Path, words: tuple[str, ...]) -> None:
    done = avlake(home, words[0], "talking_heads", *words[1:])
    assert (done.returncode, done.stdout) == (2, "")
    assert "gold.talking_heads" in done.stderr and "Traceback" not in done.stderr


def test_an_empty_lake_is_told_how_each_pipeline_begins(tmp_path: Path) -> None:
    said = avlake(tmp_path).stdout
    assert "avlake run voxforge_gender --source FOLDER" in said and "FOLDER/voxceleb/YYYY-MM-DD" in said


def test_the_bare_command_says_what_is_there_and_what_is_next(home: Path) -> None:
    done = avlake(home)
    assert done.returncode == 0
    assert "voxforge_gender" in done.stdout and "avlake train voxforge_gender" in done.stdout


def test_doctor_names_the_command_that_mends(home: Path) -> None:
    damaged = home / "lake" / INBOX / "notes.txt"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("not ours")
    done = avlake(home, "doctor", "--format", "json")
    damaged.unlink()
    checks = {row["check"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 1  # the third-party model files are not here
    assert checks["yamnet.tflite"]["state"] == "PROBLEM" and "avlake models pull" in checks["yamnet.tflite"]["mend"]
    assert checks["lake"]["state"] == checks["warehouse"]["state"] == "ok"
    assert checks["labels"]["state"] == "PROBLEM" and f"{INBOX}/notes.txt" in checks["labels"]["found"]


def test_a_reader_that_goes_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run([sys.executable, "-m", "avlake.cli", "fetch"], stdout=gone, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
