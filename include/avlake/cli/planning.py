"""The command that says what a source will take before it is taken: plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from avlake import output
from avlake.cli.console import Format, PipelineName, Progress, split_settings
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.pipelines import Pipeline, get_pipeline
from avlake.settings import load_settings
from avlake.stages import actual
from avlake.stages.actual import shown
from avlake.stages.estimate import Estimate
from avlake.stages.forecast import forecast, list_source, make_pilot
from avlake.stages.store_requests import Prices
from avlake.stages.thresholds import current
from avlake.thresholds import Sampling

PILOT = 24
COLUMNS = ("what", "value", "low", "high")

app = typer.Typer()


@app.command()
def plan(
    pipeline: PipelineName,
    source: Annotated[str | None, typer.Option(help="folder, s3://, abfss:// or HTTP index of drops")] = None,
    drop: Annotated[str | None, typer.Option(help="one drop, YYYY-MM-DD; default all")] = None,
    pilot: Annotated[int, typer.Option(min=1, help="delivered files to measure")] = PILOT,
    jobs: Annotated[int | None, typer.Option(min=1, help="files measured side by side")] = None,
    files: Annotated[int | None, typer.Option(min=1, help="extrapolate to so many delivered files like these")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="EXTRACTOR.PARAMETER=VALUE", help="measure with another parameter, as in run"),
    ] = None,
    price_cpu_hour: Annotated[float | None, typer.Option(min=0, help="$; default is an example")] = None,
    price_gb_month: Annotated[float | None, typer.Option(min=0, help="$; default is an example")] = None,
    price_1000_requests: Annotated[
        float | None, typer.Option(min=0, help="$, for reads and writes alike; default is an example of each")
    ] = None,
    format_: Format = "table",
) -> None:
    """Measure a few files, and say what the whole source will take: hours, bytes, requests, cost, with intervals."""
    settings = load_settings(**({"jobs": jobs} if jobs else {}))
    chosen = get_pipeline(pipeline)
    thresholds, params = split_settings(set_ or [], chosen.measurable)
    if thresholds:
        raise RequestError(
            f"--set {', '.join(thresholds)}: plan takes parameters of extractors, EXTRACTOR.PARAMETER=VALUE; "
            "thresholds cost nothing to change, and a forecast is of all that is delivered, not of a sample"
        )
    given = {"cpu_hour": price_cpu_hour, "gb_month": price_gb_month}
    given |= dict.fromkeys(("writes_1000", "reads_1000"), price_1000_requests)
    prices = replace(Prices(), **{name: price for name, price in given.items() if price is not None})
    with Progress() as progress:
        listing = list_source(settings, chosen, source, drop, params)
        held = f"{listing.drops} drops, {listing.files} delivered files, {listing.size_bytes / 1e6:,.1f} MB"
        progress.say(f"source    {listing.uri}: {held}")
        if not listing.to_do:
            progress.say("to do     nothing: all of it is measured already")
            _show({}, format_)
            return
        if len(listing.to_do) < listing.files:
            progress.say(f"to do     {len(listing.to_do)} files; the others are in the lake, measured")
        if pilot > len(listing.to_do):
            progress.say(f"pilot     --pilot {pilot} is more than there is: all {len(listing.to_do)} files")
        made = make_pilot(settings, chosen, source, listing, size=pilot, params=params, progress=progress.update)
        units = made.pilot.units
        failed, media = sum(u.failed for u in units), sum(u.files for u in units)
        size = sum(u.size_bytes for u in units) / 1e6
        took = f"{len(units)} files ({size:,.1f} MB, {media} media files) in {made.pilot.seconds:.0f} s"
        progress.say(f"pilot     {took}" + (f"; {failed} failed: {'; '.join(made.pilot.failures)}" if failed else ""))
        told = forecast(
            made,
            listing.to_do,
            is_media=chosen.dataset.is_media,
            opens=chosen.dataset.opens,
            jobs=settings.jobs,
            files=files,
            landing_is_remote="://" in listing.uri,
        )
        every = told.estimates | prices.of(told.estimates)
        progress.say(f"forecast  what is to do, {settings.jobs} files at a time, with 95 % intervals")
        for line in _notes(prices, Lake.open(settings), chosen):
            progress.say(line)
    _show(every, format_)


def _show(estimates: dict[str, Estimate], form: str) -> None:
    """Names with units for programs; words for people."""
    if form != "table":
        rows = [(name, e.value, e.low, e.high) for name, e in estimates.items()]
        output.show(COLUMNS, rows, form)
        return
    words = [(actual.NAMES[name], shown(name, e.value), _spread(name, e)) for name, e in estimates.items()]
    output.show(("what", "forecast", "95 % interval"), words, "table")


def _spread(name: str, estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "unknown: too few files"
    return f"{shown(name, estimate.low)} to {shown(name, estimate.high)}" if estimate.half else ""


def _notes(prices: Prices, lake: Lake, pipeline: Pipeline) -> list[str]:
    trained = [r for r in actual.run_rows(lake) if r["stage"] == "train" and r["pipeline"] == pipeline.name]
    values = current(lake, pipeline)
    latest = max(trained, key=lambda row: row["started_at"], default=None)
    last = f"{latest['seconds']:.0f} s the last time" if latest else "never done here"
    said = []
    if isinstance(values, Sampling) and values.sampling != "all":
        said.append(f"sample    not considered: a run measures less, {values.in_words()}")
    return [
        *said,
        f"prices    ${prices.cpu_hour:g} a CPU hour, ${prices.gb_month:g} a GB and month, ${prices.writes_1000:g} and "
        f"${prices.reads_1000:g} for 1000 writes and reads of the store: examples, set your own with --price-...",
        f"not in it training ({last}), what Airflow adds, and the vacuumed files of a week",
        "intervals tell how files differ; for CPU and time the machine has to be as busy as it is now",
    ]
