"""Commit: make what a plan carried over and its shards measured the drop's rows.

First the ops rows that are to be replaced are marked (the claim), then silver is committed, ops.extractions last. So a
kill at any point leaves no ops row that vouches for rows which are not there, and a run that comes too late is refused
before it has touched silver.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from avlake.errors import FailureBudgetExceeded, WorkError
from avlake.extractors import base
from avlake.fragments import Fragment
from avlake.lake import Lake
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages import bounded, work
from avlake.stages.record import record
from avlake.stages.work import Plan
from avlake.tables import BRONZE_FILES, EXTRACTIONS, LABELS, Table

BUDGET_FILES = 5
BUDGET_SHARE = 0.05
SHOWN_FILES = 10
# Columns of ops.runs, and what they add up from the shards' reports.
EXTRACT_FACTS = {
    "seconds": "seconds",
    "cpu_s": "cpu_s",
    "files": "files",
    "bytes": "bytes",
    "media_s": "media_s",
    "errors": "quarantined",
}


@dataclass(frozen=True)
class CommitReport:
    changed: bool
    files: int  # media files of the drop
    measured: int  # of them, measured without any failure
    quarantined: int  # files with a failure, unreadable archives included
    partial: bool  # a limit left files for later


def commit(settings: Settings, *, plan: str, run_id: str) -> CommitReport:
    """Commit one run of one drop; running it again changes nothing.

    Raises:
        WorkError: when a shard was not measured.
        StaleRun: when another run has committed the drop since this one was planned; nothing it committed is touched.
        FailureBudgetExceeded: when too many files failed; what was good is committed.
    """
    began, lake = time.perf_counter(), Lake.open(settings)
    chosen = Plan.load(lake, plan)
    fragments, shards = dict(chosen.carried.fragments), []
    for index, shard in enumerate(chosen.shards):
        done = work.load_result(lake, chosen, shard)
        if done is None:
            raise WorkError(f"shard {index} of {len(chosen.shards)} is not measured; run its task again, then this one")
        shards.append(done[1])
        for name, found in done[0].fragments.items():
            fragments[name] = [*fragments.get(name, []), *found]
    ops_version = _claim(lake, chosen, fragments)
    changed = False
    tables = {e.table.name: e.table for e in base.all_extractors().values()} | {LABELS.name: LABELS}
    for name in sorted(chosen.versions.keys() & tables.keys()):
        changed |= _commit(lake, chosen, tables[name], fragments, chosen.versions[name])
    if EXTRACTIONS.name in chosen.versions:
        changed |= _commit(lake, chosen, EXTRACTIONS, fragments, ops_version)
    facts: dict[str, Any] = {
        "run_id": run_id,
        "pipeline": chosen.pipeline,
        "dataset": chosen.dataset,
        "drop_date": chosen.drop,
        "partial": chosen.remaining > 0,
    }
    if shards:
        spent: dict[str, Any] = {
            column: sum(s.get(name) or 0 for s in shards) for column, name in EXTRACT_FACTS.items()
        }
        record(lake, stage="extract", **spent, **facts)
    measured = sum(s["files"] for s in shards)
    written = sum(f.size_bytes for found in fragments.values() for f in found)
    record(lake, stage="commit", seconds=time.perf_counter() - began, files=measured, bytes=written, **facts)
    return _report(lake, chosen, changed)


def _claim(lake: Lake, plan: Plan, fragments: dict[str, list[Fragment]]) -> int:
    """Mark the ops rows that this commit replaces; returns the version that its own ops rows are to follow."""
    version = plan.versions.get(EXTRACTIONS.name, 0)
    claim = plan.claim.fragments.get(EXTRACTIONS.name, [])
    final = fragments.get(EXTRACTIONS.name, [])
    if not claim or lake.holds(EXTRACTIONS, plan.dataset, plan.drop, final):
        return version
    return version + lake.commit_drop(EXTRACTIONS, plan.dataset, plan.drop, claim, expected_version=version)


def _commit(lake: Lake, plan: Plan, table: Table, fragments: dict[str, list[Fragment]], expected: int) -> bool:
    return lake.commit_drop(table, plan.dataset, plan.drop, fragments.get(table.name, ()), expected_version=expected)


def _report(lake: Lake, plan: Plan, changed: bool) -> CommitReport:
    place = [(plan.dataset, plan.drop)]
    with bounded.connect() as con:
        bounded.predicate(con, "is_media", get_pipeline(plan.pipeline).dataset.is_media)
        bounded.show(con, "files", lake, BRONZE_FILES, place)
        bounded.show(con, "done", lake, EXTRACTIONS, place)
        con.execute("CREATE VIEW media AS SELECT path FROM files WHERE is_media(path)")
        con.execute(
            """CREATE TABLE failed AS SELECT path, max(extractor || ': ' || error_class) AS why
            FROM done WHERE status = 'quarantined' GROUP BY path"""
        )
        media = bounded.value(con, "SELECT count(*) FROM media")
        failed = bounded.value(con, "SELECT count(*) FROM failed")
        failed_media = bounded.value(con, "SELECT count(*) FROM media SEMI JOIN failed USING (path)")
        worst = con.execute(f"FROM failed ORDER BY path LIMIT {SHOWN_FILES}").fetchall()
    files = media + failed - failed_media  # an unreadable archive counts as one media file
    if failed > max(BUDGET_FILES, BUDGET_SHARE * files):
        shown = "; ".join(f"{path} ({why})" for path, why in worst)
        more = f"; and {failed - SHOWN_FILES} more" if failed > SHOWN_FILES else ""
        raise FailureBudgetExceeded(
            f"{failed} of {files} files of {plan.dataset} {plan.drop} failed, more than {BUDGET_FILES} and "
            f"{BUDGET_SHARE:.0%}: {shown}{more}. The rest is committed; `avlake quarantine` lists them all, "
            "`avlake quarantine --requeue` measures them again with the next run"
        )
    return CommitReport(
        changed=changed,
        files=media,
        measured=media - failed_media - plan.remaining - plan.left_out,
        quarantined=failed,
        partial=plan.remaining > 0,
    )
