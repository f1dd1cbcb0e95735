"""Report: one self-contained HTML page per pipeline, every figure of it from the warehouse and the lake's files."""

from __future__ import annotations

from importlib import import_module

from avlake import warehouse
from avlake.lake import Lake
from avlake.learn import artifacts
from avlake.learn.base import learner_of
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages.pages.base import Page
from avlake.stages.takedowns import excluded


def report(settings: Settings, *, pipeline: str, run_id: str) -> str:
    """Write `reports/<pipeline>/<run_id>/index.html` and the same as `reports/<pipeline>/index.html`; the former's URI.

    Raises:
        RequestError: if nothing was published, or nothing trained where the page is about what was.
    """
    lake = Lake.open(settings)
    if learner_of(get_pipeline(pipeline).learner).predicts:
        artifacts.get_chosen(lake.store, pipeline)
    con = warehouse.connect(settings)
    try:
        page = import_module(get_pipeline(pipeline).page).render(Page(settings, pipeline, lake, con, excluded(lake)))
    finally:
        con.close()
    name = f"reports/{pipeline}/{artifacts.safe_name(run_id)}/index.html"
    lake.store.write(name, page)
    lake.store.write(f"reports/{pipeline}/index.html", page)
    return lake.store.uri_of(name)
