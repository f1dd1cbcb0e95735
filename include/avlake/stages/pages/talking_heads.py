"""The page on clips of talking heads: does curation help, what decides, what it sounds and looks like, where from."""

from __future__ import annotations

import base64
from typing import Any, cast

from avlake.learn import artifacts, plots
from avlake.learn.data_card import describe
from avlake.learn.frame import content_hash
from avlake.pipelines import get_pipeline
from avlake.stages import sample
from avlake.stages.pages import clips, impact
from avlake.stages.pages.base import Page, html, left, quarantine
from avlake.stages.pages.decisions import decided_by
from avlake.thresholds import Sampling

TABLE = "gold.talking_heads"


def render(page: Page) -> bytes:
    """The page on the clips of a pipeline that decides over clips; without a training it says so and shows the rest."""
    con, store, pipeline = page.con, page.lake.store, get_pipeline(page.pipeline)
    thresholds = decided_by(con, pipeline.name)
    chosen = artifacts.find_chosen(store, pipeline.name)
    proof = impact.shown(artifacts.read_files(store, chosen.folder)) if chosen else None
    delivered = sample.analyse(page.lake, pipeline, cast(Sampling, thresholds))
    shown = clips.shown(con, left(page, TABLE), store, thresholds)
    if proof and proof["differences"]:
        shown["pictures"]["differences"] = base64.b64encode(_differences(proof["differences"])).decode()
    return html(
        "talking_heads.html",
        pipeline=pipeline.name,
        doc=pipeline.doc,
        chosen=chosen,
        stale=chosen is not None and content_hash(con, TABLE) != chosen.gold_version,
        proof=proof,
        sampling=delivered.lines() if delivered.clips else [],
        quarantine=quarantine(con, pipeline.dataset.name),
        data=describe(con, TABLE, taken_down=str(page.out)),
        **shown,
    )


def _differences(differences: list[dict[str, Any]]) -> bytes:
    rows = []
    for d in differences:
        if d["drawn"]:
            what = f"{d['model']}, {d['metric']}\n{d['compared']}{'' if d['fair'] else ' (not comparable)'}"
            rows.append((what, d["value"], d["low"], d["high"], d["fair"]))
    return plots.differences(rows)
