"""Extract: measure the files of a drop that are not measured yet.

`plan` compares the drop's files with what ops.extractions says is done and cuts the rest into shards; `measure_shard`
measures one of them, in one Airflow task or one of the command line's threads. The identity of a measurement is
(sha256 of the bytes, extractor, hash of its version and parameters): equal identity is never measured twice, wherever
the bytes lie.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb

from avlake.errors import Quarantined, RequestError, StaleRun
from avlake.extractors import base
from avlake.lake import Lake
from avlake.media.sandbox import Measured, Sandbox
from avlake.models import has_model
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages import bounded, carry, sample, told, work
from avlake.stages.contents import object_name
from avlake.stages.ingest import archive_failures
from avlake.stages.measured import MeasuredRows
from avlake.stages.thresholds import current
from avlake.stages.work import Item, Plan
from avlake.tables import BRONZE_FILES, EXTRACTIONS, LABELS

MAX_SHARDS = 200  # more mapped tasks in one run burden Airflow's grid

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PlanReport:
    plan: str  # its name in the lake
    shards: int
    to_measure: int  # files
    reused: int  # files whose bytes were measured under another path or drop
    unchanged: int  # files measured already
    remaining: int  # files that the limit leaves for later
    left_out: int  # files not measured, for they are not in the sample
    names: tuple[str, ...]  # one per shard, for people
    said: str | None = None  # what there is to say of what the drop says of itself, see `Dataset.summary`


@dataclass(frozen=True)
class ShardReport:
    files: int
    ok: int
    quarantined: int
    seconds: float
    media_s: float
    bytes: int
    cpu_s: float | None = None  # this thread's and the sandbox's; None in results of older runs


def plan(
    settings: Settings,
    *,
    pipeline: str,
    drop: str,
    run_id: str,
    limit: int | None = None,
    files_per_task: int = 64,
    params: dict[str, dict[str, Any]] | None = None,
    thresholds: dict[str, Any] | None = None,
) -> PlanReport:
    """Decide what is to be measured; write that, and the rows that stay, beside the lake's tables.

    Args:
        thresholds: those that say which clips are sampled, where they are not to be the recorded ones.

    Raises:
        RequestError: for a parameter the pipeline does not have, a model file that is missing, a drop that was
            never ingested, or a sample that has to train a task and cannot.
        StaleRun: when another run has replaced what this one was about to copy; a second try reads it anew.
    """
    lake, chosen = Lake.open(settings), get_pipeline(pipeline)
    chosen.check_models(settings)
    dataset, extractors, values = chosen.dataset, chosen.configured(params, settings), current(lake, chosen, thresholds)
    # Versions are read before anything they protect, for every table whose rows of this drop might change.
    known = base.all_extractors().values()
    versions = {
        t.name: lake.drop_version(t, dataset.name, drop) for t in (*(e.table for e in known), LABELS, EXTRACTIONS)
    }
    if not lake.drop_version(BRONZE_FILES, dataset.name, drop):
        raise RequestError(f"drop {drop} of {dataset.name} is not in {settings.uri}; ingest it first")
    hashes = {name: e.params_hash for name, e in extractors.items()}
    # Any extractor may have ended the child, so a file that failed to open gets another chance with other ones.
    hashes["open"] = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]
    for name, extractor in extractors.items():  # ops keeps only the hash; a model has to know what it stands for
        lake.store.write(f"params/{name}/{extractor.params_hash}.json", extractor.params.model_dump_json().encode())

    sample.require(lake, chosen, values)
    with bounded.connect() as con:
        sampled = sample.restrict(con, lake, chosen, values)
        counts = carry.find_work(con, lake, dataset, drop, hashes=hashes, limit=limit, sampled=sampled)
        failures = archive_failures(lake, dataset.name, drop, settings)
        told.keep(con, lake, dataset.name, drop)
        takeover = carry.carry(con, lake, dataset, drop, failures=failures, run_id=run_id)
        said = [takeover.said, _lacking(extractors.values(), settings) if told.untold(con) else None]
        per_task = max(files_per_task, math.ceil(counts.to_measure / MAX_SHARDS))
        shards, names = [], []
        for items in _cut(con, per_task):
            version = versions[EXTRACTIONS.name]
            shards.append(work.store_shard(lake, dataset.name, drop, items, hashes, version))
            names.append(f"{items[0].path} + {len(items) - 1}" if len(items) > 1 else items[0].path)
    made = Plan(
        pipeline=pipeline,
        dataset=dataset.name,
        drop=drop,
        run_id=run_id,
        extractors={name: e.params.model_dump(mode="json") for name, e in extractors.items()},
        hashes=hashes,
        versions={name: versions[name] for name in takeover.changed},
        carried=takeover.carried,
        claim=takeover.claim,
        shards=tuple(shards),
        remaining=counts.remaining,
        left_out=counts.left_out,
    )
    return PlanReport(
        plan=made.store(lake),
        shards=len(shards),
        to_measure=counts.to_measure,
        reused=counts.reused,
        unchanged=counts.unchanged,
        remaining=counts.remaining,
        left_out=counts.left_out,
        names=tuple(names),
        said="; ".join(filter(None, said)) or None,
    )


def _lacking(extractors: Iterable[base.Extractor], settings: Settings) -> str | None:
    """What there is to say of model files without which files that are not annotated end in quarantine."""
    files = sorted({file for one in extractors for file in one.seeks if not has_model(file, settings)})
    return f"no {' and no '.join(files)} for what is not annotated: run `avlake models pull`" if files else None


def _cut(con: duckdb.DuckDBPyConnection, per_task: int) -> Iterator[list[Item]]:
    """What is missing, in shards; in stored order, so that a shard reads few row groups."""
    con.execute(
        """CREATE TABLE items AS SELECT sha256[1] AS digit, file_id, path, sha256, uri, annotation, extractor
        FROM missing JOIN media USING (file_id) LEFT JOIN told USING (file_id)"""
    )
    rows = (
        row
        for digit in "0123456789abcdef"  # a part at a time, for DuckDB sorts in memory
        for batch in bounded.batches(
            con,
            f"""SELECT file_id, path, sha256, uri, annotation, extractor FROM items WHERE digit = '{digit}'
            ORDER BY sha256, file_id, extractor""",
        )
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    grouped = groupby(rows, key=itemgetter(0, 1, 2, 3, 4))
    items = (
        Item(file_id, path, sha256, uri, tuple(row[-1] for row in found), annotation)
        for (file_id, path, sha256, uri, annotation), found in grouped
    )
    while shard := list(islice(items, per_task)):
        yield shard


def measure_shard(
    settings: Settings,
    *,
    plan: str,
    shard: int,
    run_id: str,
    progress: Progress | None = None,
    sandbox: Sandbox | None = None,
) -> ShardReport:
    """Measure one shard; one that this run or a killed one has measured already is not measured again.

    Args:
        sandbox: one to go on with, where many shards are measured in a row; it stays open.
    """
    lake = Lake.open(settings)
    chosen = Plan.load(lake, plan)
    name = chosen.shards[shard]
    if done := work.load_result(lake, chosen, name):
        return ShardReport(**done[1])
    streams = base.streams_of(base.load(name) for name in chosen.extractors)
    items, began, cpu_began = work.load_shard(lake, chosen, name), time.perf_counter(), time.thread_time()
    rows = MeasuredRows(lake, chosen, run_id)
    size, media_s, failed = 0, 0.0, set()
    with contextlib.nullcontext(sandbox) if sandbox else Sandbox(settings) as box:
        box_began = box.cpu_s
        for done_files, (item, source) in enumerate(_sources(lake, chosen, items), start=1):
            size += source.stat().st_size if isinstance(source, Path) else len(source)
            asked = {name: chosen.extractors[name] for name in item.extractors}
            try:
                annotation = told.read(lake, chosen.dataset, chosen.drop, item.annotation)
                found = box.measure(source, asked, streams=streams, annotation=annotation)
            except Quarantined as error:
                found = {"open": Measured(None, error, 0.0)}
            for extractor, measured in found.items():
                rows.add(item, extractor, measured)
            media_s += _duration_s(found)
            failed |= {item.file_id for m in found.values() if m.error}
            if progress:
                progress(item.path, done_files, len(items))
        box_cpu_s = box.cpu_s - box_began
    report = ShardReport(
        files=len(items),
        ok=len(items) - len(failed),
        quarantined=len(failed),
        seconds=time.perf_counter() - began,
        media_s=media_s,
        bytes=size,
        cpu_s=time.thread_time() - cpu_began + box_cpu_s,
    )
    work.store_result(lake, chosen, name, rows.finish(), asdict(report))
    return report


def _sources(lake: Lake, plan: Plan, items: list[Item]) -> Iterator[tuple[Item, bytes | Path]]:
    """Each file to measure and its bytes, or the local path of an object.

    Raises:
        StaleRun: when another run has replaced the bytes meanwhile.
    """
    inline: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.uri is None:
            inline[item.sha256].append(item)
    for sha256, content in lake.contents(plan.dataset, plan.drop, set(inline)):
        for item in inline.pop(sha256):
            yield item, content
    if inline:
        raise StaleRun(
            f"{len(inline)} files of {plan.dataset} {plan.drop} have changed since this run was planned; run it again"
        )
    for item in items:
        if item.uri is not None:
            with lake.store.local_copy(object_name(item.sha256)) as path:
                yield item, path


def _duration_s(found: dict[str, Measured]) -> float:
    media = found.get("media")
    return float(media.batch["duration_s"][0].as_py()) if media and media.batch is not None else 0.0
