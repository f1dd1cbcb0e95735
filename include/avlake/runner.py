"""A pipeline without Airflow: every drop through gold, then the model and its report, on this machine's cores."""

from __future__ import annotations

import secrets
import textwrap
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from avlake import warehouse
from avlake.datasets.base import Source
from avlake.errors import RequestError, UnknownDrop, WorkError
from avlake.lake import Lake
from avlake.learn.diagnosis import count
from avlake.media.sandbox import Sandbox
from avlake.pipelines import Pipeline, get_pipeline
from avlake.settings import Settings
from avlake.stages import sample
from avlake.stages import thresholds as decided
from avlake.stages.commit import CommitReport, commit
from avlake.stages.curate import CurateReport, curate
from avlake.stages.extract import PlanReport, plan
from avlake.stages.ingest import ingest
from avlake.stages.listing import write_list
from avlake.stages.publish import publish
from avlake.stages.scores import read as read_scores
from avlake.stages.side_by_side import FILES_PER_SHARD, Measurers
from avlake.stages.watch import Watch
from avlake.thresholds import Sampling

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
T = TypeVar("T")
SAID = 120  # characters of an error, where it is said in passing


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
    scores: str | None = None,
    train: bool = True,
    say: Say = lambda line: None,
    progress: Progress | None = None,
) -> RunReport:
    """Take every drop of a source (or one) from landing to gold, then train and report.

    A drop that breaks the failure budget does not keep the others from gold; the run fails at its end.

    Args:
        scores: a CSV file of clips measured elsewhere, see `stages.scores`; empty text takes those of an earlier file
            out again. Then gold is decided and published, and that is all: nothing is delivered, decoded or trained.

    Raises:
        RequestError: before anything is done, for parameters or thresholds that the pipeline does not take, or a
            warehouse that is none; before anything is measured, for a sample that has to train a task and cannot.
    """
    chosen, run_id = get_pipeline(pipeline), new_run_id()
    chosen.configured(params)
    chosen.decided(thresholds)
    warehouse.check(settings)
    if scores is not None:
        if not chosen.takes_scores:
            raise RequestError(f"{pipeline} takes no scores: it decides over what it measures itself")
        if source or drop or limit or params:
            raise RequestError("scores are of clips measured elsewhere: leave out the source, drop, limit, parameters")
        got = read_scores(settings, file=scores, run_id=run_id)
        say(f"scores  {count(got.rows, 'clip')}" + ("" if got.changed else "; nothing changed"))
        return RunReport(run_id, {}, _decide(settings, chosen, run_id, thresholds, say), None, False)
    chosen.check_models(settings)
    where = source or settings.landing
    if not where:
        raise RequestError("no source: give --source FOLDER|URI, or set AVLAKE_LANDING")
    drops = choose_drops(chosen, where, drop, settings)
    values = decided.current(Lake.open(settings), chosen, thresholds)
    # A forecast is of all that is delivered.
    whole = limit is None and not (isinstance(values, Sampling) and values.sampling != "all")
    watch = Watch(settings, chosen, where, drop, drops, params) if whole else None
    if watch:
        say(watch.announced())
    with Measurers(settings) as measurers:
        work = _Work(settings, chosen, where, run_id, limit, params, thresholds, measurers, say, progress)
        if isinstance(values, Sampling):
            delivered = work.each(drops, work.ingest, asked=drop is not None)  # a sample is one of all drops
            work.analyse(values)
            done = work.each(delivered, work.measure)
        else:
            done = work.each(drops, work.take, asked=drop is not None)
        broken, sandbox_cpu_s = work.broken, measurers.cpu_s
    if broken and not Lake.open(settings).drops():
        raise WorkError(f"no drop could be processed: {' | '.join(broken)}")
    gold = _decide(settings, chosen, run_id, thresholds, say)
    if watch:
        for line in watch.compared(run_id, sandbox_cpu_s):
            say(line)
    report_uri, trained = None, False
    if train and not broken:
        report_uri, trained = _train(settings, pipeline, run_id, gold.other_thresholds, say, progress)
    if broken:
        raise WorkError(f"{len(broken)} of {count(len(drops), 'drop')} failed: " + " | ".join(broken))
    return RunReport(run_id, done, gold, report_uri, trained)


@dataclass
class _Work:
    """What is done to each drop."""

    settings: Settings
    pipeline: Pipeline
    source: str
    run_id: str
    limit: int | None
    params: dict[str, dict[str, Any]] | None
    thresholds: dict[str, Any] | None
    measurers: Measurers
    say: Say
    progress: Progress | None
    broken: list[str] = field(default_factory=list)  # what went wrong, by drop

    def each(self, drops: Iterable[str], step: Callable[[str], T], *, asked: bool = False) -> dict[str, T]:
        """What a step returns of each drop that it works with; `asked`: a person named the drop."""
        done = {}
        for drop in drops:
            try:
                done[drop] = step(drop)
            except UnknownDrop as error:
                if asked:
                    raise
                self.say(f"{drop}  skipped: {error}")
            except WorkError as error:
                self.broken.append(str(error))
                self.say(f"{drop}  failed: {textwrap.shorten(str(error), SAID)}")  # the run ends with all of it
        return done

    def take(self, drop: str) -> CommitReport:
        self.ingest(drop)
        return self.measure(drop)

    def ingest(self, drop: str) -> None:
        name, told = self.pipeline.dataset.name, self.progress
        got = ingest(self.settings, dataset=name, source=self.source, drop=drop, run_id=self.run_id, progress=told)
        more = "" if got.changed else "; nothing new"
        self.say(f"{drop}  ingest: {count(got.files, 'file')}, {count(got.archives, 'archive')}{more}")

    def analyse(self, values: Sampling) -> None:
        """Say what was delivered, what of it is sampled, and what may be hoped for.

        Raises:
            RequestError: where the task has to be trainable and is not; the manifest is there, to see why.
        """
        lake = Lake.open(self.settings)
        for line in sample.analyse(lake, self.pipeline, values).lines():
            self.say(line)
        try:
            sample.require(lake, self.pipeline, values)
        except RequestError:
            name, manifest = self.pipeline.name, self.pipeline.gold[:1]
            curate(self.settings, pipeline=name, run_id=self.run_id, thresholds=self.thresholds, only=manifest)
            publish(self.settings, run_id=self.run_id)
            raise

    def measure(self, drop: str) -> CommitReport:
        """Plan, measure, commit."""
        made = plan(
            self.settings,
            pipeline=self.pipeline.name,
            drop=drop,
            run_id=f"{self.run_id}/{drop}",
            limit=self.limit,
            params=self.params,
            thresholds=self.thresholds,
            files_per_task=FILES_PER_SHARD,
        )
        if made.said:
            self.say(f"{drop}  {made.said}")
        if made.to_measure == 0:
            self.say(f"{drop}  extract: nothing to do, {made.unchanged + made.reused} files are measured already")
        else:
            self._measure(made)
        report = commit(self.settings, plan=made.plan, run_id=self.run_id)
        self.say(
            f"{drop}  silver: {count(report.files, 'media file')}, {report.quarantined} quarantined"
            + (f", {made.left_out} not measured: they are not in the sample" if made.left_out else "")
            + (f", {made.remaining} left for later: the drop is partial" if report.partial else "")
            + ("" if report.changed else "; nothing changed")
        )
        return report

    def _measure(self, made: PlanReport) -> None:
        """Measure all shards of a drop, and count the files done."""
        counted, done = threading.Lock(), 0

        def one_more(path: str, _: Sandbox) -> None:
            nonlocal done
            with counted:
                done += 1
                if self.progress:
                    self.progress(f"measure {path}", done, made.to_measure)

        self.measurers.measure(self.settings, plan=made.plan, shards=made.shards, run_id=self.run_id, measured=one_more)


def _decide(
    settings: Settings, pipeline: Pipeline, run_id: str, thresholds: dict[str, Any] | None, say: Say
) -> CurateReport:
    """Gold from all silver, and the warehouse."""
    say(f"decides  {decided.in_words(Lake.open(settings), pipeline, thresholds)}")
    gold = curate(settings, pipeline=pipeline.name, run_id=run_id, thresholds=thresholds)
    for name, rows in gold.rows.items():
        say(
            f"gold  {name}: {count(rows, 'row')}, {gold.kept[name]} kept"
            + ("" if gold.changed else "; nothing changed")
        )
    if gold.taken_down:
        say(f"gold  {gold.taken_down}")
    if listed := write_list(settings, pipeline=pipeline.name):
        say(f"list  {listed.uri}" + ("" if listed.changed else "; nothing changed"))
    shown = publish(settings, run_id=run_id)
    say(f"warehouse  {shown.warehouse}" + ("" if shown.changed else "; nothing changed"))
    if shown.left_out:
        say(f"warehouse  left out, more than {settings.warehouse_max_rows} rows: {', '.join(shown.left_out)}")
    return gold


def _train(
    settings: Settings, pipeline: str, run_id: str, other_thresholds: bool, say: Say, progress: Progress | None
) -> tuple[str | None, bool]:
    from avlake.learn.base import learner_of
    from avlake.stages.report import report  # scikit-learn and matplotlib, only where something is trained
    from avlake.stages.train import train

    trained = train(settings, pipeline=pipeline, run_id=run_id, progress=progress)
    for line in trained.words[:2]:  # the most important ones; the report has them all
        say(f"verdict  {line}")
    made = "model" if learner_of(get_pipeline(pipeline).learner).predicts else "verdict"
    say(f"{made}  {trained.model_uri}" + ("" if trained.changed else "; gold is unchanged, nothing to train"))
    publish(settings, run_id=run_id)  # with the new rows of gold.model_runs
    store, latest = Lake.open(settings).store, f"reports/{pipeline}/index.html"
    if trained.changed or other_thresholds or not store.exists(latest):  # the page draws the thresholds
        report(settings, pipeline=pipeline, run_id=run_id)
    uri = store.uri_of(latest)
    say(f"report  {uri}")
    return uri, trained.changed
