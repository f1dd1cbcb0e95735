"""Preview: what gold would hold by other thresholds, to be looked at and listened to before it is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.learn.artifacts import safe_name
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages.curate import proposed
from avlake.stages.pages import clips
from avlake.stages.pages.base import html
from avlake.stages.thresholds import current


@dataclass(frozen=True)
class PreviewReport:
    """What gold would hold; a clip counts under each of its reasons."""

    rows: int
    kept: int
    reasons: dict[str, int]
    sheet_uri: str


def preview(
    settings: Settings, *, pipeline: str, run_id: str, thresholds: dict[str, Any] | None = None
) -> PreviewReport:
    """Write `reports/<pipeline>/preview-<run_id>/index.html`; gold and the recorded thresholds stay as they are.

    Args:
        thresholds: those to change; the recorded ones for the rest.

    Raises:
        RequestError: for a threshold the pipeline does not have, a pipeline whose rows are no clips to look at, or a
            lake without its silver tables.
        WorkError: when the table that would be breaks its own checks.
    """
    lake, chosen = Lake.open(settings), get_pipeline(pipeline)
    if not chosen.approvable:
        raise RequestError(f"{pipeline} has no preview: its gold is not made of clips to look at")
    values = current(lake, chosen, thresholds)
    with proposed(settings, pipeline=pipeline, name=chosen.gold[-1], thresholds=values) as con:
        shown = clips.shown(con, "built", lake.store, values)
    name = f"reports/{pipeline}/preview-{safe_name(run_id)}/index.html"
    lake.store.write(name, html("preview.html", pipeline=pipeline, run_id=run_id, **shown))
    headline, reasons = shown["headline"], {row["reason"]: row["clips"] for row in shown["reasons"]}
    return PreviewReport(headline["all_clips"], headline["kept_clips"], reasons, lake.store.uri_of(name))
