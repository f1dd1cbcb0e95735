"""An optional human gate: gold is shown as it would become, and stays as it is until somebody agrees.

It is off unless AVLAKE_APPROVAL names the pipeline or the run's Param `approval` is true; then `preview` and `approve`
are skipped and gold is rebuilt at once. Where it is on, `approve` waits, without a worker, for one of three ends:
approved, with the thresholds shown or others; rejected; or nobody answers, which is a rejection. Approval is for what
was shown and no more: where silver has changed meanwhile, gold is not replaced, and the next run asks again.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from avlake.orchestration.context import task_settings
from avlake.orchestration.params import params_of
from avlake.orchestration.runs import asks, call, given_thresholds, leave_to_later_run, tell_unmeasured
from avlake.pipelines import get_pipeline
from avlake.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

WAIT_H = 12
BODY = """\
| gold now would hold | rows |
|---|---|
| clips | {rows} |
| kept | {kept} |
{reasons}

A clip may have several reasons. The clips nearest to each threshold, to look at and listen to: {sheet}

**Approve** replaces gold, by the thresholds below; change them and gold is decided by what you enter. **Reject** leaves
gold as it is, and so does no answer within {wait_h} hours."""


class Approval(ApprovalOperator):
    """Asks with what `preview` found; its form shows the thresholds that this would be decided by."""

    def execute(self, context: Context) -> Any:
        found = context["ti"].xcom_pull(task_ids="preview")
        for name, value in found["thresholds"].items():
            self.params[name] = value
        return super().execute(context)


def approve(pipeline: str) -> tuple[Any, Any]:
    """The tasks `preview` and `approve`, the second to follow the first; skipped where nobody is to be asked."""

    @task(trigger_rule="none_failed")
    def preview() -> dict[str, Any]:
        if not asks(pipeline):
            raise AirflowSkipException("nobody is to be asked: see the Param `approval` and AVLAKE_APPROVAL")
        leave_to_later_run()
        mark = silver_mark(task_settings(), pipeline)  # before it is read: what comes later is noticed
        given = given_thresholds(pipeline)
        found = call("preview.preview", pipeline=pipeline, thresholds=given)
        tell_unmeasured(pipeline, given)
        return {
            "rows": found["rows"],
            "kept": found["kept"],
            "body": in_words(found),
            "thresholds": _thresholds(task_settings(), pipeline, given),
            "mark": mark,
        }

    asked = Approval(
        task_id="approve",
        subject=f"Replace the gold of {pipeline}?",
        body="{{ ti.xcom_pull(task_ids='preview')['body'] }}",
        defaults=Approval.REJECT,
        response_timeout=timedelta(hours=WAIT_H),
        params=params_of(get_pipeline(pipeline).thresholds),
    )
    return preview(), asked


def approved(pipeline: str) -> tuple[dict[str, Any], str]:
    """The thresholds that were approved in this run, and by whom.

    Raises:
        AirflowSkipException: nobody approved, or a later run asks again because silver has changed.
        AirflowFailException: silver has changed, and no other run is there to ask again.
    """
    ti = get_current_context()["ti"]
    shown, answer = ti.xcom_pull(task_ids="preview"), ti.xcom_pull(task_ids="approve")
    if not shown or not answer or answer["chosen_options"] != [Approval.APPROVE]:
        raise AirflowSkipException("nobody approved this")
    if silver_mark(task_settings(), pipeline) != shown["mark"]:
        leave_to_later_run(even_if_asked=True)
        raise AirflowFailException(
            f"silver has changed since the preview that was approved; trigger {pipeline}_gold again, which asks again"
        )
    who = answer["responded_by_user"] or {}
    return {**shown["thresholds"], **(answer["params_input"] or {})}, str(who.get("name") or who.get("id"))


def in_words(found: dict[str, Any]) -> str:
    """A preview as Markdown: counts, reasons, and where the sheet is."""
    counts = sorted(found["reasons"].items(), key=lambda item: (-item[1], item[0]))
    reasons = "\n".join(f"| rejected: {reason} | {count} |" for reason, count in counts)
    return BODY.format(
        rows=found["rows"], kept=found["kept"], reasons=reasons, sheet=_link(found["sheet_uri"]), wait_h=WAIT_H
    )


def silver_mark(settings: Settings, pipeline: str) -> str:
    """Equal as long as the pipeline's measurements and scores are the same."""
    from avlake.lake import Lake, live_files
    from avlake.tables import EXTRACTIONS, SCORES

    lake, dataset = Lake.open(settings), get_pipeline(pipeline).dataset.name
    live = live_files(delta) if (delta := lake.delta(EXTRACTIONS.name)) else []
    seen = [file.path for file in live if file.drop and file.drop[0] == dataset]
    return hashlib.sha256(json.dumps([seen, lake.log_version(SCORES.name)]).encode()).hexdigest()[:16]


def _thresholds(settings: Settings, pipeline: str, given: dict[str, Any] | None) -> dict[str, Any]:
    from avlake.lake import Lake
    from avlake.stages.thresholds import current

    return dict(current(Lake.open(settings), get_pipeline(pipeline), given).model_dump(mode="json"))


def _link(uri: str) -> str:
    """A URI to follow or to copy: browsers open no local file from a page that came over http, hence its path too."""
    if uri.startswith(("http://", "https://")):
        return f"[{uri}]({uri})"
    return f"`{uri}`"
