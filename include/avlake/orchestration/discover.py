"""Finding new and changed drops in the landing zone, and starting a run for each."""

from __future__ import annotations

import hashlib
import json

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException

from avlake.datasets.base import Entry
from avlake.orchestration.client import Airflow
from avlake.orchestration.context import task_settings
from avlake.orchestration.server import CONNECTION
from avlake.pipelines import get_pipeline


def start_runs(pipeline: str) -> dict[str, int]:
    """Start a run, under its date as partition key, for every drop that is new or delivers other files than before.

    The run's id holds a hash of what the drop delivers, and Airflow refuses an id twice: nothing has to be remembered.

    Returns:
        How many drops were seen, and how many runs were started.
    """
    landing = task_settings().landing
    if not landing:
        raise AirflowSkipException("AVLAKE_LANDING names no landing zone")
    airflow = _airflow()
    source = get_pipeline(pipeline).dataset.open_source(landing, task_settings())
    drops, started = source.drops(), 0
    for drop in drops:
        run_id = f"discovered__{drop}__{fingerprint(source.entries(drop))}"
        if airflow.trigger(pipeline, key=drop, conf={"source": landing}, run_id=run_id):
            print(f"started {run_id}")
            started += 1
    return {"drops": len(drops), "started": started}


def fingerprint(entries: list[Entry]) -> str:
    """Equal for equal deliveries: 12 hex digits over paths and versions."""
    listed = sorted([entry.path, entry.version] for entry in entries)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:12]


def _airflow() -> Airflow:
    """Airflow's own REST API: a task's own channel to Airflow cannot start a run that has a partition key."""
    try:
        connection = Connection.get(CONNECTION)
    except AirflowNotFoundException:
        raise AirflowSkipException(
            f"no connection {CONNECTION}: make one of type http with Airflow's address and a user of role op"
        ) from None
    return Airflow(connection.host or "", connection.login or "", connection.password or "")
