"""`avlake labels`: words on standard error, data on standard output, honest exit codes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path


def labels(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        "AVLAKE_URI": str(folder / "lake"),
        "AVLAKE_WAREHOUSE": str(folder / "warehouse.duckdb"),
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
    }
    command = [sys.executable, "-m", "avlake.cli", "labels", *words]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_labels_come_in_and_go_out(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text(
        "file,origin,kind,outro_start_s\na.mp3,real,outro,59.45\nb.mp3,real,none,\nc.mp3,real,,\n"
    )
    done = labels(tmp_path, "import", "truth.csv", "--by", "ann")
    assert (done.returncode, done.stdout) == (0, "")
    for said in ("2 labels of podcasts added", "1 fields are empty", "not read: origin", "2 items name no file"):
        assert said in done.stderr
    assert "avlake run podcast_outros --source" in done.stderr and "trigger podcast_outros_gold" in done.stderr
    printed = labels(tmp_path, "export", "--pipeline", "podcast_outros")
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    assert [(row["item"], row["value"], row["who"]) for row in rows] == [
        ("a.mp3", "59.45", "ann"),
        ("b.mp3", "none", "ann"),
    ]
    wrote = labels(tmp_path, "export", "--format", "json", "--to", "out.json")
    assert (wrote.returncode, wrote.stdout, wrote.stderr) == (0, "", "2 labels in out.json\n")
    assert [row["item"] for row in json.loads((tmp_path / "out.json").read_text())] == ["a.mp3", "b.mp3"]
    assert "0 labels of podcasts added" in labels(tmp_path, "import", "out.json", "--by", "ann").stderr


def test_talkers_of_face_tracks_come_in_and_go_out(tmp_path: Path) -> None:
    (tmp_path / "talkers.csv").write_text(
        "entity_id,talker,audible\nfilm_0.00_2.96:1,s1,True\nfilm_0.00_2.96:2,,False\n"
    )
    done = labels(tmp_path, "import", "talkers.csv", "--by", "ann")
    assert (done.returncode, done.stdout) == (0, "")
    for said in ("1 labels of ava added", "1 fields are empty", "not read: audible", "avlake run active_speaker"):
        assert said in done.stderr
    (row,) = csv.DictReader(io.StringIO(labels(tmp_path, "export", "--pipeline", "active_speaker").stdout))
    assert (row["item"], row["name"], row["value"]) == ("film", "talker:film_0.00_2.96:1", "s1")


def test_a_wrong_request_is_told_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "slip.csv").write_text("item,value\na,sfx\nb,loud\n")
    slip = labels(tmp_path, "import", "slip.csv", "--by", "ann")
    assert (slip.returncode, slip.stdout) == (2, "")
    assert slip.stderr.startswith("avlake: slip.csv: nothing is imported. line 3, column value: 'loud' is no sound")
    nobody = labels(tmp_path, "import", "slip.csv", "--by", " ")
    assert nobody.returncode == 2 and "--by NAME" in nobody.stderr
    assert not (tmp_path / "lake").exists() or not list((tmp_path / "lake").rglob("*.jsonl"))
