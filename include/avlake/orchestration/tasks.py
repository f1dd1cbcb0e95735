"""The tasks of every pipeline's Dags: thin calls of `avlake.stages`, which the command line calls too.

Stages are imported inside the tasks, so that a Dag file stays cheap to parse.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from avlake.errors import FailureBudgetExceeded, UnknownDrop
from avlake.orchestration import assets
from avlake.orchestration.approval import approved
from avlake.orchestration.context import task_settings
from avlake.orchestration.params import DropRun, extractor_params, given_sampling
from avlake.orchestration.runs import (
    RETRIES,
    adopt,
    asks,
    call,
    current_drop,
    given_thresholds,
    leave_to_later_run,
    no_work,
    tell_unmeasured,
    wake_downstream,
)
from avlake.pipelines import get_pipeline

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


def bronze(pipeline: str) -> TaskGroup:
    """The task group `bronze`: fetch the drop's bytes."""

    @task
    def ingest() -> dict[str, Any]:
        told = DropRun(**{name: get_current_context()["params"][name] for name in DropRun.model_fields})
        source = told.source or task_settings().landing
        if not source:
            raise no_work("no source: set AVLAKE_LANDING, or name one in the Param `source`")
        try:
            return call(
                "ingest.ingest",
                dataset=get_pipeline(pipeline).dataset.name,
                source=source,
                drop=current_drop(),
                max_archives=told.max_archives,
            )
        except UnknownDrop as unknown:
            raise no_work(str(unknown)) from None

    with TaskGroup("bronze") as group:
        ingest()
    return group


def silver(pipeline: str) -> TaskGroup:
    """The task group `silver`: plan, measure (one mapped task per shard), commit, and the failure budget."""
    outlet = assets.silver(pipeline)

    @task
    def plan() -> dict[str, Any]:
        params = get_current_context()["params"]
        sampling = given_sampling(pipeline, params)
        planned = call(
            "extract.plan",
            pipeline=pipeline,
            drop=current_drop(),
            limit=params["limit"],
            files_per_task=params["files_per_task"],
            params=extractor_params(pipeline, params),
            thresholds=sampling,
        )
        if planned["said"]:
            print(planned["said"])
        adopt(pipeline, sampling)  # not before: what is refused must not hold from now on
        return planned

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


def scores(pipeline: str) -> Any:
    """Take in measurements of clips that others made, where the run names a file of them."""

    @task
    def scores() -> dict[str, Any]:
        file = get_current_context()["params"]["scores"]
        if not file:
            raise AirflowSkipException("this run names no file of scores")
        return call("scores.read", file=file)

    return scores()


def curate(pipeline: str) -> Any:
    """Rebuild the pipeline's gold tables; where a person has to approve, only what that person saw."""

    @task(pool=assets.POOL, trigger_rule="none_failed")
    def curate() -> dict[str, Any]:
        if asks(pipeline):
            thresholds: dict[str, Any] | None
            thresholds, who = approved(pipeline)
            report = call("curate.curate", pipeline=pipeline, thresholds=thresholds, who=who)
        else:
            leave_to_later_run()
            thresholds = given_thresholds(pipeline)
            report = call("curate.curate", pipeline=pipeline, thresholds=thresholds)
        tell_unmeasured(pipeline, thresholds)
        return {"changed": report["changed"], **report["rows"]}

    return curate()


def listing(pipeline: str) -> Any:
    """Write the list of what the pipeline's gold keeps: also again, for an earlier attempt may have been cut short."""

    @task(task_id="list")
    def listing() -> dict[str, Any]:
        from avlake.stages.listing import write_list

        listed = write_list(task_settings(), pipeline=pipeline)
        return asdict(listed) if listed else {}

    return listing()


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
        gold, active = f"{pipeline}_gold", ["queued", "running"]
        # A gold run that waits for a person changes nothing, and neither do those that are queued behind it.
        waits = ti.get_ti_count(dag_id=gold, task_ids=["approve"], states=["awaiting_input"])
        upstream = (pipeline,) if waits else (pipeline, gold)
        return not any(ti.get_dr_count(dag_id=dag_id, states=active) for dag_id in upstream)

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


def discover_labels(pipeline: str) -> Any:
    """Start a run of the pipeline's gold where people's labels wait for one."""

    @task(task_id=f"{pipeline}_labels")
    def discover_labels() -> dict[str, int]:
        from avlake.orchestration.discover import start_gold

        return start_gold(pipeline)

    return discover_labels()


def maintain() -> Any:
    """Tidy the lake, see `avlake.stages.maintain`; bytes freed, by table."""

    @task(pool=assets.POOL)
    def maintain() -> dict[str, int]:
        from avlake.stages.maintain import maintain as tidy

        return {done.what: done.bytes_freed for done in tidy(task_settings())}

    return maintain()
