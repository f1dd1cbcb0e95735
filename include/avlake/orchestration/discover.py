"""Finding what is new, and starting runs for it: drops in the landing zone, clips newly sampled, people's labels."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.orchestration.assets import WHOLE
from avlake.orchestration.client import Airflow
from avlake.orchestration.context import task_settings
from avlake.orchestration.server import CONNECTION
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages import human
from avlake.stages.unmeasured import unmeasured
from avlake.tables import BRONZE_FILES

# Every row of a file's delivery has its source_uri; the file's own path is a prefix of its members'.
DELIVERED = """
SELECT drop_date, min(path) AS path, any_value(source_version) AS version
FROM files WHERE dataset = ? GROUP BY drop_date, source_uri
"""


def start_runs(pipeline: str) -> dict[str, int]:
    """Start a run, under its date as partition key, for every drop of which bronze does not hold what lies there now.

    And for every drop with clips that are sampled and that no run has looked at, see `stages.unmeasured`: a sample is
    of all drops, so another one leaves drops to measure of which nothing has changed.

    The run's id names what lies there and which version of the drop bronze holds, or the clips that are to be measured.
    Airflow refuses an id twice, so a run that failed is not repeated every 15 minutes, but a drop that goes back to an
    earlier delivery is noticed.

    Returns:
        How many drops were seen, and how many runs were started.
    """
    settings = task_settings()
    if not settings.landing:
        raise AirflowSkipException("AVLAKE_LANDING names no landing zone")
    airflow, chosen, lake = _airflow(), get_pipeline(pipeline), Lake.open(settings)
    dataset = chosen.dataset
    source = dataset.open_source(settings.landing, settings)
    # Runs first: one that ends after this has committed before bronze is read.
    under_way = {run["partition_key"] for run in airflow.active_runs(pipeline)}
    held, drops, started = bronze_fingerprints(lake, dataset.name), source.drops(), 0
    missing = unmeasured(lake, chosen)
    for drop in drops:
        now = fingerprint((entry.path, entry.version) for entry in source.entries(drop))
        if drop in under_way:
            continue
        if now != held.get(drop, fingerprint([])):
            run_id = f"discovered__{drop}__{lake.drop_version(BRONZE_FILES, dataset.name, drop)}-{now}"
        elif drop in missing:
            run_id = f"sampled__{drop}__{missing[drop].mark}"
        else:
            continue
        _check_models(pipeline, settings)
        if airflow.trigger(pipeline, key=drop, conf={"source": settings.landing}, run_id=run_id):
            print(f"started {run_id}")
            started += 1
    return {"drops": len(drops), "started": started}


def start_gold(pipeline: str) -> dict[str, int]:
    """Start a run of the pipeline's gold where labels wait that it has not seen; training follows it by itself.

    None before the first drop is measured: its gold takes them in.
    The run's id names the labels that wait, and Airflow refuses an id twice: a run that failed is not repeated.

    Returns:
        How many labels wait, and how many runs were started.
    """
    lake, dataset = Lake.open(task_settings()), get_pipeline(pipeline).dataset.name
    waiting = sorted(row["label_id"] for row in human.inbox(lake)[0] if row["dataset"] == dataset)
    gold, started = f"{pipeline}_gold", 0
    measured = any(name == dataset for name, _ in lake.drops())
    if waiting and measured and not (airflow := _airflow()).active_runs(gold):
        run_id = f"labelled__{fingerprint(waiting)}"
        if airflow.trigger(gold, key=WHOLE, run_id=run_id):
            print(f"started {run_id}")
            started = 1
    return {"labels": len(waiting), "started": started}


def _check_models(pipeline: str, settings: Settings) -> None:
    """No run without the model files: it would fail after its bytes are in bronze, and not be started once more.

    Raises:
        AirflowFailException: naming the file and the next step; the next look starts the runs.
    """
    try:
        get_pipeline(pipeline).check_models(settings)
    except RequestError as error:
        raise AirflowFailException(f"{pipeline} has drops to measure, and no run is started: {error}") from None


def bronze_fingerprints(lake: Lake, dataset: str) -> dict[str, str]:
    """The fingerprint of each drop as bronze holds it."""
    import duckdb

    files = lake.scan(BRONZE_FILES.name, lake.drops(BRONZE_FILES.name))
    delivered = defaultdict(list)
    if files is not None:
        with duckdb.connect() as con:
            con.register("files", files)
            for drop, path, version in con.execute(DELIVERED, [dataset]).fetchall():
                delivered[drop].append((path, version))
    return {drop: fingerprint(entries) for drop, entries in delivered.items()}


def fingerprint(entries: Iterable[tuple[str, str] | str]) -> str:
    """Equal for equal deliveries: 12 hex digits over paths and versions, or over names."""
    return hashlib.sha256(json.dumps(sorted(entries)).encode()).hexdigest()[:12]


def _airflow() -> Airflow:
    """Airflow's own REST API: a task's own channel to Airflow cannot start a run that has a partition key."""
    try:
        connection = Connection.get(CONNECTION)
    except AirflowNotFoundException:
        raise AirflowSkipException(
            f"no connection {CONNECTION}: make one of type http with Airflow's address and a user of role op"
        ) from None
    return Airflow(connection.host or "", connection.login or "", connection.password or "")
