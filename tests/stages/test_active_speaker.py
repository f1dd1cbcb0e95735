"""The bars of `active_speaker` on real talkers: how good, how fast, as a user has it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

SHARED = Path(__file__).parents[2].parent / "shared"
REAL = SHARED / "data/landing/ava/2026-09-01"
TALKERS = SHARED / "data/truth/ava.csv"
BASELINES = ("always_speaking", "loudness", "motion_x_energy")

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not REAL.exists() or not TALKERS.exists(), reason=f"{REAL} is not there: real talkers"),
]


def avlake(folder: Path, *words: str) -> str:
    env = os.environ | {
        "AVLAKE_URI": str(folder / "lake"),
        "AVLAKE_WAREHOUSE": str(folder / "warehouse.duckdb"),
        "AVLAKE_MODELS": str(SHARED / "models"),
    }
    command = [sys.executable, "-m", "avlake.cli", *words]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def length_s(film: str) -> float:
    with av.open(film) as opened:
        assert opened.duration is not None
        return opened.duration / av.time_base


def test_talkers_never_seen_are_judged_well_and_in_time(tmp_path: Path) -> None:
    began = time.monotonic()
    run = ("run", "active_speaker", "--source", str(REAL.parents[1]))
    avlake(tmp_path, *run)
    avlake(tmp_path, "labels", "import", str(TALKERS), "--by", "a test")
    avlake(tmp_path, *run)
    assert time.monotonic() - began < 20 * 60

    query = "SELECT model, value, ci_low FROM gold.model_runs WHERE split = 'cv_unseen_talkers'"
    rows = json.loads(avlake(tmp_path, "sql", f"{query} AND metric = 'average_precision'", "--format", "json"))
    figures = {row["model"]: row for row in rows}
    assert figures["network"]["value"] >= 0.80
    assert all(figures[f"network_minus_{name}"]["ci_low"] > 0 for name in BASELINES)

    films = sorted(map(str, REAL.glob("videos/*.mp4")))
    before = cpu_s()
    avlake(tmp_path, "predict", "active_speaker", *films, "--annotations", str(REAL), "--format", "ava")
    assert sum(map(length_s, films)) >= 5 * (cpu_s() - before)
