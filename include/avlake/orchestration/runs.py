"""The run at work: what it is about, what it was told, how its tasks call stages, and what it leaves to later runs.

What is decided here, and nowhere else: which drop a run is about, which errors are worth a retry, and when an asset
event is emitted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from avlake.errors import RequestError, StaleRun, UnknownDrop
from avlake.orchestration.context import task_settings
from avlake.orchestration.params import GoldRun
from avlake.pipelines import get_pipeline, needing_approval

RETRIES = 3
PLANNED = ("extract.measure_shard", "commit.commit")  # bound to a plan, which only a new run makes


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


def leave_to_later_run(*, even_if_asked: bool = False) -> None:
    """Skip this rebuild of whole tables when the next is queued already: that one sees all that this one does.

    What a person asked of this run the next would not do, unless `even_if_asked`.
    """
    context = get_current_context()
    queued = context["ti"].get_dr_count(dag_id=context["dag"].dag_id, states=["queued"])
    if queued and (even_if_asked or not context["dag_run"].conf):
        raise AirflowSkipException("the run that is queued behind this one does its work too")


def asks(pipeline: str) -> bool:
    """Has a person to approve, before this run replaces gold?"""
    try:
        required = pipeline in needing_approval(task_settings())
    except RequestError as error:
        raise AirflowFailException(str(error)) from error
    return required or bool(get_current_context()["params"].get("approval"))


def given_thresholds(pipeline: str) -> dict[str, Any] | None:
    """Only what this run was told: else every run that an asset starts would restore the defaults."""
    conf: Mapping[str, Any] = get_current_context()["dag_run"].conf or {}
    return {name: value for name, value in conf.items() if name not in GoldRun.model_fields} or None


def adopt(pipeline: str, given: dict[str, Any]) -> None:
    """Record these thresholds, which hold from now on; nothing given changes nothing."""
    from avlake.lake import Lake
    from avlake.stages.thresholds import adopt as record

    if given:
        try:
            record(Lake.open(task_settings()), get_pipeline(pipeline), given, who="avlake", run_id=run_id())
        except RequestError as error:
            raise AirflowFailException(str(error)) from error


def tell_unmeasured(pipeline: str, thresholds: dict[str, Any] | None) -> None:
    """Log how many clips gold is about that no run has looked at."""
    from avlake.lake import Lake
    from avlake.stages.unmeasured import unmeasured

    if found := unmeasured(Lake.open(task_settings()), get_pipeline(pipeline), thresholds):
        print(
            f"{sum(one.clips for one in found.values())} sampled clips are not measured, of the drops "
            f"{', '.join(sorted(found))}: discover_drops starts runs for those in AVLAKE_LANDING; trigger {pipeline} "
            "for others"
        )


def wake_downstream(changed: bool, why_not: str) -> None:
    """Skip, and so emit no event, when nothing changed.

    An earlier attempt at this task may have been killed between its commit and its event; then it is this attempt that
    finds nothing changed, and still it must wake the next Dag. A wake-up for nothing does nothing.
    """
    ti = get_current_context()["ti"]
    first_attempt = ti.max_tries - ti.try_number + 1 >= RETRIES  # max_tries grows when a run is cleared
    if not changed and first_attempt:
        raise AirflowSkipException(f"nothing changed: {why_not}")


def no_work(reason: str) -> Exception:
    """A run that the schedule or a backfill made for a day without a drop is skipped; one that a person made fails."""
    asked: Mapping[str, Any] = get_current_context()["dag_run"].conf or {}
    return AirflowFailException(reason) if asked.get("drop") else AirflowSkipException(reason)
