"""Dag files parse fast, load nothing heavy, and say what the design says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "librosa", "mediapipe", "cv2", "duckdb", "sklearn", "matplotlib")
DAG_FILES = sorted((CHECKOUT / "dags").glob("*.py"))

# Airflow itself is loaded before the clock starts, as it is in the Dag processor.
PARSE = """
import importlib.util, json, sys, time
import airflow.sdk, airflow.dag_processing.dagbag
began = time.process_time()
spec = importlib.util.spec_from_file_location("parsed", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
seconds = time.process_time() - began
print(json.dumps({"seconds": seconds, "heavy": [m for m in sys.argv[2:] if m in sys.modules]}))
"""


@pytest.mark.parametrize("file", DAG_FILES, ids=lambda file: file.stem)
def test_parses_in_a_second_and_loads_nothing_heavy(file: Path):
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(file), *HEAVY], capture_output=True, text=True, check=True, timeout=120
    )
    parsed = json.loads(done.stdout.splitlines()[-1])
    assert parsed["heavy"] == []
    assert parsed["seconds"] < 1.0


@pytest.mark.parametrize("file", DAG_FILES, ids=lambda file: file.stem)
def test_a_dag_file_is_wiring_only(file: Path):
    assert len(file.read_text().splitlines()) < 80
