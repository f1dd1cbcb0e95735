"""Airflow reads its settings at import, so they are set here, before any test imports it."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="avlake-airflow-"))
CHECKOUT = Path(__file__).resolve().parents[1]

os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME / 'airflow.db'}",
    # A command whose files may not grow (a full disk) would leave .pyc files cut short, and every later import fails.
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], parent=hypothesis.settings.default
)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _leaks_are_errors() -> Iterator[None]:
    """pytest looks for what was never closed at its exit, where a worker of pytest-xdist can fail no test any more."""
    yield
    gc.collect()
