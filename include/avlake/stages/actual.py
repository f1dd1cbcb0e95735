"""What a run took, beside what was forecast; and a forecast from earlier runs where no pilot was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avlake.lake import Lake
from avlake.pipelines import Pipeline
from avlake.settings import Settings
from avlake.stages.estimate import total_by_size
from avlake.stages.forecast import Forecast, Listing, forecast, has_pilot, hashes_of, list_source, stored_pilot
from avlake.tables import RUNS

LEAST_DROPS = 2  # with fewer there is no spread to tell an interval from
NAMES = {
    "delivered_files": "delivered files",
    "delivered_bytes": "delivered",
    "files": "media files",
    "media_s": "media",
    "measure_cpu_s": "CPU, measuring",
    "cpu_s": "CPU, all",
    "wall_s": "time",
    "bronze_bytes": "bronze",
    "silver_bytes": "silver",
    "gold_bytes": "gold",
    "writes": "requests, write",
    "reads": "requests, read",
    "cost_cpu": "cost, CPU",
    "cost_storage_month": "cost, a month's storage",
    "cost_requests": "cost, requests",
    "cost_first_month": "cost, all of it",
}


def expect(
    settings: Settings,
    pipeline: Pipeline,
    source: str | None,
    *,
    drop: str | None = None,
    params: dict[str, dict[str, Any]] | None = None,
) -> Forecast | None:
    """What a run is expected to take: from the source's pilot, else from earlier drops; None where there is neither.

    A pilot that measured with other parameters, or other versions of the extractors, says nothing of this run.
    """
    lake = Lake.open(settings)
    rows = run_rows(lake)
    if not (rows or has_pilot(lake, pipeline.name)):
        return None
    listing = list_source(settings, pipeline, source, drop, params)
    stored = stored_pilot(lake, pipeline.name, listing.uri)
    if stored and stored.hashes == hashes_of(settings, pipeline, params):
        return forecast(
            stored,
            listing.to_do,
            is_media=pipeline.dataset.is_media,
            jobs=settings.jobs,
            landing_is_remote="://" in listing.uri,
            opens=pipeline.dataset.opens,
        )
    return _from_runs(rows, pipeline, listing, settings.jobs)


def _from_runs(rows: list[dict[str, Any]], pipeline: Pipeline, listing: Listing, jobs: int) -> Forecast | None:
    """A drop is one unit; its time is that of its stages, with the measuring divided among the jobs."""
    ingested = {(r["run_id"], r["drop_date"]): r for r in rows if r["stage"] == "ingest"}
    committed = {(r["run_id"], r["drop_date"]): r for r in rows if r["stage"] == "commit"}
    seen = []
    for row in rows:
        key = (row["run_id"], row["drop_date"])
        whole = row["stage"] == "extract" and row["pipeline"] == pipeline.name and not row["partial"]
        if whole and key in committed and (got := ingested.get(key)) and got["bytes"] and row["cpu_s"]:
            serial = got["seconds"] + committed[key]["seconds"]
            seen.append((got["bytes"], row["files"], row["media_s"], row["cpu_s"], row["seconds"] / jobs + serial))
    size = float(sum(unit.entry.size_bytes or 0 for unit in listing.to_do))
    if len(seen) < LEAST_DROPS or (listing.to_do and not size):
        return None
    sizes, *columns = zip(*seen, strict=True)
    found = {
        name: total_by_size(sizes, column, rest=len(listing.drops_to_do), rest_size=size)
        for name, column in zip(("files", "media_s", "measure_cpu_s", "wall_s"), columns, strict=True)
    }
    return Forecast(found, f"{len(seen)} drops of earlier runs")


def run_rows(lake: Lake) -> list[dict[str, Any]]:
    """ops.runs."""
    data = lake.scan(RUNS.name)
    return [] if data is None else data.to_table().to_pylist()


def in_words(expected: Forecast | None, source: str, pipeline: str) -> str:
    """One line before a run starts."""
    if expected is None:
        return f"forecast  none; `avlake plan {pipeline} --source {source}` measures a few files and makes one"
    wall, files = expected["wall_s"], expected["files"]
    spread = f" ({_time(wall.low)} to {_time(wall.high)})" if wall.low is not None and wall.high is not None else ""
    return f"forecast  about {_time(wall.value)}{spread}, {files.value:,.0f} media files, from {expected.basis}"


def compare(expected: Forecast, actual: Mapping[str, float]) -> list[str]:
    """Lines for the end of a run: forecast, interval, actual, and whether it is inside."""
    lines = [f"forecast, from {expected.basis}, and what it was"]
    for name, value in actual.items():
        if name not in expected.estimates:
            continue
        told = expected[name]
        spread, where = "no interval", ""
        if told.low is not None and told.high is not None:
            spread = f"[{shown(name, told.low)}, {shown(name, told.high)}]"
            slack = 1e-9 * max(1.0, abs(value))
            where = "below" if value < told.low - slack else "above" if value > told.high + slack else "inside"
        words = f"{NAMES[name]:<15} {shown(name, told.value):>10}  {spread:<24} {shown(name, value):>10}  {where}"
        lines.append(f"  {words}".rstrip())
    return lines


def shown(name: str, value: float) -> str:
    """A value for people, with its unit where the name does not tell it."""
    if name.endswith("_bytes"):
        return f"{value / 1e9:,.2f} GB" if value >= 1e9 else f"{value / 1e6:,.2f} MB"
    if name.endswith("_s"):
        return _time(value)
    return f"${value:,.4g}" if name.startswith("cost") else f"{value:,.0f}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def measured_in(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Files, media seconds and CPU seconds that rows of ops.runs add up to."""
    extracted = [row for row in rows if row["stage"] == "extract"]
    return {
        "files": float(sum(row["files"] or 0 for row in extracted)),
        "media_s": float(sum(row["media_s"] or 0 for row in extracted)),
        "measure_cpu_s": float(sum(row["cpu_s"] or 0 for row in extracted)),
    }
