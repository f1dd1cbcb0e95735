"""Dags as Airflow loads them; a fresh bag each time, because `dag.test` leaves its conf in the Dag."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from avlake.lake import Lake
from avlake.settings import load_settings


@pytest.fixture
def dags():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Airflow's own deprecations
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(dag_folder=str(Path(__file__).resolve().parents[2] / "dags"))
    assert bag.import_errors == {}
    return bag.dags


@pytest.fixture(scope="session")
def database():
    airflow = Path(sys.executable).with_name("airflow")
    subprocess.run([airflow, "db", "migrate"], check=True, capture_output=True, timeout=120)


@pytest.fixture
def lake(tmp_path, monkeypatch):
    monkeypatch.setenv("AVLAKE_URI", str(tmp_path / "lake"))
    monkeypatch.setenv("AVLAKE_WAREHOUSE", str(tmp_path / "warehouse.duckdb"))
    return Lake.open(load_settings())
