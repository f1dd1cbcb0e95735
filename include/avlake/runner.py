"""A pipeline without Airflow: every drop through gold, then the model and its report, on this machine's cores."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from avlake.datasets.base import Source
from avlake.errors import RequestError, UnknownDrop, WorkError
from avlake.lake import Lake
from avlake.media.sandbox import Sandbox
from avlake.pipelines import Pipeline, get_pipeline
from avlake.settings import Settings
from avlake.stages import actual
from avlake.stages.commit import CommitReport, commit
from avlake.stages.costs import live_bytes
from avlake.stages.curate import CurateReport, curate
from avlake.stages.extract import plan
from avlake.stages.ingest import ingest
from avlake.stages.publish import publish
from avlake.stages.side_by_side import FILES_PER_SHARD, Measurers

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


def new_run_id(prefix: str = "cli") -> str:
    """Unique, and sorted by time: `cli-20260901T120000-1f2e3d`."""
    return f"{prefix}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class RunReport:
    run_id: str
    drops: dict[str, CommitReport]
    gold: CurateReport
    report_uri: str | None
    trained: bool


def choose_drops(pipeline: Pipeline, source: str, drop: str | None, settings: Settings) -> list[str]:
    """The drops a run is about: the one asked for, else all there are.

    Raises:
        UnknownDrop: listing the dates that exist.
    """
    opened: Source = pipeline.dataset.open_source(source, settings)
    found = opened.drops()
    if not found or (drop is not None and drop not in found):
        raise UnknownDrop(pipeline.dataset.name, drop, opened.uri, found)
    return found if drop is None else [drop]


def run(
    settings: Settings,
    *,
    pipeline: str,
    source: str | None = None,
    drop: str | None = None,
    limit: int | None = None,
    params: dict[str, dict[str, Any]] | None = None,
    thresholds: dict[str, Any] | None = None,
    train: bool = True,
    say: Say = lambda line: None,
    progress: Progress | None = None,
) -> RunReport:
    """Take every drop of a source (or one) from landing to gold, then train and report.

    A drop that breaks the failure budget does not keep the others from gold; the run fails at its end.

    Raises:
        RequestError: before anything is done, for parameters or thresholds that the pipeline does not take.
    """
    chosen, run_id = get_pipeline(pipeline), new_run_id()
    chosen.configured(params)
    chosen.decided(thresholds)
    chosen.check_models(settings)
    where = source or settings.landing
    if not where:
        raise RequestError("no source: give --source FOLDER|URI, or set AVLAKE_LANDING")
    drops = choose_drops(chosen, where, drop, settings)
    done: dict[str, CommitReport] = {}
    broken: list[str] = []
    watch = _Watch(settings, chosen, where, drop, drops, params) if limit is None else None
    if watch:
        say(watch.announced())
    with Measurers(settings) as measurers:
        for date in drops:
            try:
                done[date] = _run_drop(settings, chosen, where, date, run_id, limit, params, measurers, say, progress)
            except UnknownDrop as error:
                if drop is not None:
                    raise
                say(f"{date}  skipped: {error}")
            except WorkError as error:
                broken.append(str(error))
                say(f"{date}  {error}")
        sandbox_cpu_s = measurers.cpu_s
    if broken and not Lake.open(settings).drops():
        raise WorkError(f"no drop could be processed: {' | '.join(broken)}")
    gold = curate(settings, pipeline=pipeline, run_id=run_id, thresholds=thresholds)
    for name, rows in gold.rows.items():
        say(f"gold  {name}: {rows} rows, {gold.kept[name]} kept" + ("" if gold.changed else "; nothing changed"))
    if gold.taken_down:
        say(f"gold  {gold.taken_down}")
    shown = publish(settings, run_id=run_id)
    say(f"warehouse  {shown.warehouse}" + ("" if shown.changed else "; nothing changed"))
    if shown.left_out:
        say(f"warehouse  left out, more than {settings.warehouse_max_rows} rows: {', '.join(shown.left_out)}")
    if watch:
        for line in watch.compared(run_id, sandbox_cpu_s):
            say(line)
    report_uri, trained = None, False
    if train and not broken:
        report_uri, trained = _train(settings, pipeline, run_id, say, progress)
    if broken:
        raise WorkError(f"{len(broken)} of {len(drops)} drops failed: " + " | ".join(broken))
    return RunReport(run_id, done, gold, report_uri, trained)


def _run_drop(
    settings: Settings,
    pipeline: Pipeline,
    source: str,
    drop: str,
    run_id: str,
    limit: int | None,
    params: dict[str, dict[str, Any]] | None,
    measurers: Measurers,
    say: Say,
    progress: Progress | None,
) -> CommitReport:
    got = ingest(settings, dataset=pipeline.dataset.name, source=source, drop=drop, run_id=run_id, progress=progress)
    say(f"{drop}  ingest: {got.files} files, {got.archives} archives" + ("" if got.changed else "; nothing new"))
    made = plan(
        settings,
        pipeline=pipeline.name,
        drop=drop,
        run_id=f"{run_id}/{drop}",
        limit=limit,
        params=params,
        files_per_task=FILES_PER_SHARD,
    )
    if made.to_measure == 0:
        say(f"{drop}  extract: nothing to do, {made.unchanged + made.reused} files are measured already")
    else:
        _measure(settings, made.plan, made.shards, made.to_measure, run_id, measurers, progress)
    report = commit(settings, plan=made.plan, run_id=run_id)
    say(
        f"{drop}  silver: {report.files} media files, {report.quarantined} quarantined"
        + (f", {made.remaining} left for later: the drop is partial" if report.partial else "")
        + ("" if report.changed else "; nothing changed")
    )
    return report


def _measure(
    settings: Settings,
    plan: str,
    shards: int,
    files: int,
    run_id: str,
    measurers: Measurers,
    progress: Progress | None,
) -> None:
    """Measure all shards of a drop, and count the files done."""
    counted, done = threading.Lock(), 0

    def one_more(path: str, _: Sandbox) -> None:
        nonlocal done
        with counted:
            done += 1
            if progress:
                progress(f"measure {path}", done, files)

    measurers.measure(settings, plan=plan, shards=shards, run_id=run_id, measured=one_more)


class _Watch:
    """What a run is expected to take, and what it took until gold was published."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        source: str,
        drop: str | None,
        drops: list[str],
        params: dict[str, dict[str, Any]] | None,
    ) -> None:
        self._settings, self._pipeline, self._source, self._drops = settings, pipeline, source, drops
        self.expected = None
        with contextlib.suppress(RequestError):  # a drop without files: ingest will say so
            self.expected = actual.expect(settings, pipeline, source, drop=drop, params=params)
        self._before = self._live()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def announced(self) -> str:
        return actual.in_words(self.expected, self._source, self._pipeline.name)

    def compared(self, run_id: str, sandbox_cpu_s: float) -> list[str]:
        """The lines that set what it took beside the forecast."""
        took = {
            "cpu_s": time.process_time() - self._cpu + sandbox_cpu_s,
            "wall_s": time.perf_counter() - self._wall,
        }
        if self.expected is None:
            return []
        rows = [row for row in actual.run_rows(Lake.open(self._settings)) if row["run_id"] == run_id]
        grown = {f"{layer}_bytes": float(size - self._before[layer]) for layer, size in self._live().items()}
        return actual.compare(self.expected, {**actual.measured_in(rows), **took, **grown})

    def _live(self) -> dict[str, int]:
        gold = [f"gold.{name}" for name in self._pipeline.gold]
        return live_bytes(Lake.open(self._settings), self._pipeline.dataset.name, self._drops, gold)


def _train(
    settings: Settings, pipeline: str, run_id: str, say: Say, progress: Progress | None
) -> tuple[str | None, bool]:
    from avlake.stages.report import report  # scikit-learn and matplotlib, only where something is trained
    from avlake.stages.train import train

    trained = train(settings, pipeline=pipeline, run_id=run_id, progress=progress)
    say(f"model  {trained.model_uri}" + ("" if trained.changed else "; gold is unchanged, nothing to train"))
    publish(settings, run_id=run_id)  # with the new rows of gold.model_runs
    store, latest = Lake.open(settings).store, f"reports/{pipeline}/index.html"
    if trained.changed or not store.exists(latest):
        report(settings, pipeline=pipeline, run_id=run_id)
    uri = store.uri_of(latest)
    say(f"report  {uri}")
    return uri, trained.changed
