"""Dags as Airflow loads them; a fresh bag each time, because `dag.test` leaves its conf in the Dag."""

import warnings
from pathlib import Path

import pytest


@pytest.fixture
def dags():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Airflow's own deprecations
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(dag_folder=str(Path(__file__).resolve().parents[2] / "dags"))
    assert bag.import_errors == {}
    return bag.dags
