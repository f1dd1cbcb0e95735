"""Planning and committing a drop stay within memory that hardly grows with the drop: `make scale` takes a million."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "scale.py"
FILES = 50_000
# With all rows as Python objects, 1095 and 401.
PLAN_CHANGED_MIB = 800
COMMIT_MIB = 350


def peak_mib(folder: Path, run: str, step: str) -> float:
    """What a step of the simulation held resident at most, in a process of its own."""
    command = [sys.executable, BENCH, "--step", step, "--run", run, "--files", str(FILES), "--keep", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["mib"])


def test_memory_of_plan_and_commit_is_bounded(tmp_path: Path) -> None:
    first = {step: peak_mib(tmp_path, "first", step) for step in ("generate", "plan", "measure", "commit")}
    changed = {step: peak_mib(tmp_path, "changed", step) for step in ("generate", "plan")}
    assert changed["plan"] < PLAN_CHANGED_MIB and first["commit"] < COMMIT_MIB, (first, changed)
