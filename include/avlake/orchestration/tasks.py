"""The tasks of every pipeline's Dags: thin calls of `avlake.stages`, which the command line calls too.

What is decided here, and nowhere else: which drop a run is about, which errors are worth a retry, and when an asset
event is emitted. Stages are imported inside the tasks, so that a Dag file stays cheap to parse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from importlib import import_module
from typing import Any

from airflow.sdk import TaskGroup, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from avlake.errors import FailureBudgetExceeded, RequestError, StaleRun, UnknownDrop
from avlake.orchestration import assets
from avlake.orchestration.context import task_settings
from avlake.orchestration.params import DropRun, extractor_params
from avlake.pipelines import get_pipeline

RETRIES = 3
BRIEF = timedelta(minutes=10)  # for tasks that ask something and do no work
DAG: dict[str, Any] = {  # what all Dags have in common
    "catchup": False,
    "default_args": {
        # After 10, 20 and 40 s: a store or database that restarts, and a worker that died, cost no person's night.
        "retries": RETRIES,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2.0,
        # The last resort against hanging for ever, below the broker's visibility timeout (see docker-compose.yaml).
        "execution_timeout": timedelta(hours=5),
    },
}
PIPELINE_DAG = DAG | {"is_paused_upon_creation": False}  # a paused consumer loses its asset events
GATE_H = 24
PLANNED = ("extract.measure_shard", "commit.commit")  # bound to a plan, which only a new run makes


def bronze(pipeline: str) -> TaskGroup:
    """The task group `bronze`: fetch the drop's bytes."""

    @task
    def ingest() -> dict[str, Any]:
        told = DropRun(**{name: get_current_context()["params"][name] for name in DropRun.model_fields})
        source = told.source or task_settings().landing
        if not source:
            raise _no_work("no source: set AVLAKE_LANDING, or name one in the Param `source`")
        try:
            return call(
                "ingest.ingest",
                dataset=get_pipeline(pipeline).dataset.name,
                source=source,
                drop=current_drop(),
                max_archives=told.max_archives,
            )
        except UnknownDrop as unknown:
            raise _no_work(str(unknown)) from None

    with TaskGroup("bronze") as group:
        ingest()
    return group


def silver(pipeline: str) -> TaskGroup:
    """The task group `silver`: plan, measure (one mapped task per shard), commit, and the failure budget."""
    outlet = assets.silver(pipeline)

    @task
    def plan() -> dict[str, Any]:
        params = get_current_context()["params"]
        return call(
            "extract.plan",
            pipeline=pipeline,
            drop=current_drop(),
            limit=params["limit"],
            files_per_task=params["files_per_task"],
            params=extractor_params(pipeline, params),
        )

    @task(execution_timeout=BRIEF)
    def shards(planned: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"plan": planned["plan"], "shard": i, "name": name} for i, name in enumerate(planned["names"])]

    @task(map_index_template="{{ shard_name }}")
    def measure(plan: str, shard: int, name: str) -> dict[str, Any]:
        get_current_context()["shard_name"] = name  # type: ignore[typeddict-unknown-key]
        return call("extract.measure_shard", plan=plan, shard=shard)

    # None of the mapped tasks exists where there is nothing to measure; the rows of files that are gone still go.
    @task(outlets=[outlet], trigger_rule="none_failed_min_one_success")
    def commit(planned: dict[str, Any]) -> dict[str, Any]:
        try:
            report = {**call("commit.commit", plan=planned["plan"]), "over_budget": None}
        except FailureBudgetExceeded as exceeded:
            report = {"changed": True, "over_budget": str(exceeded)}  # what was good is committed
        wake_downstream(report["changed"], f"{planned['unchanged']} files are measured already")
        if (key := current_drop()) != get_current_context()["dag_run"].partition_key:
            get_current_context()["outlet_events"][outlet].add_partitions(key)
        return report

    # A task of its own, because a failed task emits no event: the good rows of a bad drop reach gold too.
    @task(execution_timeout=BRIEF)
    def budget(committed: dict[str, Any]) -> None:
        if committed["over_budget"]:
            raise AirflowFailException(committed["over_budget"])

    with TaskGroup("silver") as group:
        planned: Any = plan()
        committed: Any = commit(planned)
        cut: Any = shards(planned)
        measure.expand_kwargs(cut) >> committed
        budget(committed)
    return group


def curate(pipeline: str) -> Any:
    """Rebuild the pipeline's gold tables."""

    @task(pool=assets.POOL)
    def curate() -> dict[str, Any]:
        leave_to_later_run()
        # Only what this run was asked to change: else every run that an asset starts would restore the defaults.
        asked = get_current_context()["dag_run"].conf or None
        report = call("curate.curate", pipeline=pipeline, thresholds=asked)
        return {"changed": report["changed"], **report["rows"]}

    return curate()


def publish(pipeline: str, *, wakes: bool) -> Any:
    """Copy gold into the warehouse, which itself knows whether there is anything new; `wakes`: training follows."""
    outlets = [assets.warehouse(pipeline)] if wakes else []

    @task(pool=assets.POOL, outlets=outlets)
    def publish() -> dict[str, Any]:
        report = call("publish.publish")
        # Another Dag or the command line may have published this gold before; training has to see it all the same.
        curated = (get_current_context()["ti"].xcom_pull(task_ids="curate") or {}) if wakes else {}
        wake_downstream(report["changed"] or curated.get("changed", False), "the warehouse is up to date")
        return {"changed": report["changed"], "warehouse": report["warehouse"], **report["tables"]}

    return publish()


def quiet(pipeline: str) -> Any:
    """Wait until no drop and no gold run is queued or running: a backfill of any length trains once, at its end."""

    @task.sensor(poke_interval=5, timeout=GATE_H * 3600, mode="reschedule", execution_timeout=BRIEF)
    def quiet() -> bool:
        leave_to_later_run()
        ti = get_current_context()["ti"]
        upstream = (pipeline, f"{pipeline}_gold")
        return not any(ti.get_dr_count(dag_id=dag_id, states=["queued", "running"]) for dag_id in upstream)

    return quiet()


def train(pipeline: str) -> Any:
    """Train, unless this gold was trained on already; then the model in charge stays."""

    @task
    def train() -> dict[str, Any]:
        report = call("train.train", pipeline=pipeline)
        return {name: report[name] for name in ("changed", "model", "model_uri")}

    return train()


def report(pipeline: str) -> Any:
    """Write the page about the model in charge, again where an earlier attempt was cut short; its URI."""

    @task
    def report() -> str:
        return str(call("report.report", pipeline=pipeline)["value"])

    return report()


def discover(pipeline: str) -> Any:
    """Start runs for the pipeline's new and changed drops."""

    @task(task_id=pipeline)
    def discover() -> dict[str, int]:
        from avlake.orchestration.discover import start_runs

        return start_runs(pipeline)

    return discover()


def maintain() -> Any:
    """Tidy the lake, see `avlake.stages.maintain`; bytes freed, by table."""

    @task(pool=assets.POOL)
    def maintain() -> dict[str, int]:
        from avlake.stages.maintain import maintain as tidy

        return {done.what: done.bytes_freed for done in tidy(task_settings())}

    return maintain()


def call(stage: str, /, **arguments: Any) -> dict[str, Any]:
    """Call `avlake.stages.<module>.<function>` for this run; its report as a dict.

    Raises:
        AirflowFailException: for errors that a retry cannot mend.
    """
    module, _, function = stage.partition(".")
    settings = task_settings()
    try:
        made = getattr(import_module(f"avlake.stages.{module}"), function)(settings, **arguments, run_id=run_id())
    except UnknownDrop:
        raise
    except StaleRun as error:
        if stage in PLANNED:
            raise AirflowFailException(str(error)) from error
        raise  # a retry reads the lake anew
    except RequestError as error:
        raise AirflowFailException(str(error)) from error
    return asdict(made) if hasattr(made, "__dataclass_fields__") else {"value": made}


def run_id() -> str:
    """The Dag run's id, fit for names of files and objects."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", get_current_context()["dag_run"].run_id)


def current_drop() -> str:
    """The run's partition key, else its Param `drop`."""
    context = get_current_context()
    key, named = context["dag_run"].partition_key, context["params"]["drop"]
    if key and named and key != named:
        raise AirflowFailException(f"the run's partition key is {key}, but its Param `drop` says {named}: name one")
    if not (drop := key or named):
        raise AirflowFailException("which drop? Give the run a partition key or the Param `drop`, both YYYY-MM-DD")
    return str(drop)


def leave_to_later_run() -> None:
    """Skip this rebuild of whole tables when the next is queued already: that one sees all that this one does."""
    context = get_current_context()
    if context["ti"].get_dr_count(dag_id=context["dag"].dag_id, states=["queued"]) and not context["dag_run"].conf:
        raise AirflowSkipException("the run that is queued behind this one does its work too")


def wake_downstream(changed: bool, why_not: str) -> None:
    """Skip, and so emit no event, when nothing changed.

    An earlier attempt at this task may have been killed between its commit and its event; then it is this attempt that
    finds nothing changed, and still it must wake the next Dag. A wake-up for nothing does nothing.
    """
    ti = get_current_context()["ti"]
    first_attempt = ti.max_tries - ti.try_number + 1 >= RETRIES  # max_tries grows when a run is cleared
    if not changed and first_attempt:
        raise AirflowSkipException(f"nothing changed: {why_not}")


def _no_work(reason: str) -> Exception:
    """A run that the schedule or a backfill made for a day without a drop is skipped; one that a person made fails."""
    asked: Mapping[str, Any] = get_current_context()["dag_run"].conf or {}
    return AirflowFailException(reason) if asked.get("drop") else AirflowSkipException(reason)
