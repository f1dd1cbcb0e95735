"""An episode of hours is measured in the memory of a short one: `make bench` takes three hours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "long_file.py"
WHAT = "all of podcast_outros"
MIB_PER_HOUR = 200  # the samples alone are 220, and keeping them takes twice that


def test_memory_hardly_grows_with_the_length_of_an_episode() -> None:
    command = [sys.executable, BENCH, "--minutes", "1", "8", "--what", WHAT, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert [row["failed"] for row in found["rows"]] == [[], []], found
    assert found["mib_per_hour"][WHAT] < MIB_PER_HOUR, found
