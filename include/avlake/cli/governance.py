"""Commands about what may be used: takedowns."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from avlake import output, runner
from avlake.cli.console import Format
from avlake.lake import Lake
from avlake.learn.diagnosis import count
from avlake.pipelines import PIPELINES
from avlake.settings import load_settings
from avlake.stages import takedowns
from avlake.stages.curate import curate
from avlake.stages.listing import write_list
from avlake.stages.pages.outdated import remove_outdated
from avlake.stages.publish import publish

app = typer.Typer()
takedowns_app = typer.Typer(help="Files and people that must not be used any longer.", no_args_is_help=True)
app.add_typer(takedowns_app, name="takedowns")


@takedowns_app.command("add")
def takedowns_add(
    reason: Annotated[str, typer.Option(help="why, for those who ask later")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="who decided it")],
    file: Annotated[
        list[str] | None, typer.Option(metavar="DATASET/PATH|PATH|FILE_ID", help="a file or archive")
    ] = None,
    subject: Annotated[list[str] | None, typer.Option(metavar="DATASET/ID", help="a person: all recordings")] = None,
) -> None:
    """Take files or people out of gold, the warehouse, exports and training, from the next build on."""
    for one in takedowns.add(load_settings(), files=file or (), subjects=subject or (), reason=reason, who=by):
        known = f"{count(one.recordings, 'recording')} known today" if one.new else "was on the list already"
        print(f"{one.name}: {known}", file=sys.stderr)
    print(
        "Out with the next build: `avlake takedowns apply`, `avlake run PIPELINE`, or the Dag PIPELINE_gold",
        file=sys.stderr,
    )


@takedowns_app.command("apply")
def takedowns_apply() -> None:
    """Rebuild gold, its lists and the warehouse now, without what was taken down, and remove the pages from before."""
    settings, run_id = load_settings(), runner.new_run_id()
    present, failed = set(Lake.open(settings).tables()), None
    for name, pipeline in PIPELINES.items():
        if present.issuperset(f"gold.{table}" for table in pipeline.gold):
            try:
                built = curate(settings, pipeline=name, run_id=run_id)
            except Exception as error:
                print(f"{name}: gold is as it was, for it could not be built", file=sys.stderr)
                failed = failed or error  # raised once the warehouse, which needs no gold, is without them
                continue
            next_step = f"; next: `avlake train {name}`" if built.changed else "; nothing changed"
            print(f"{name}: {built.taken_down or 'nothing is taken down'}{next_step}", file=sys.stderr)
    for name in PIPELINES:
        if (listed := write_list(settings, pipeline=name)) and listed.changed:
            print(f"list  {listed.uri}", file=sys.stderr)
    shown = publish(settings, run_id=run_id)
    print(f"warehouse  {shown.warehouse}" + ("" if shown.changed else "; nothing changed"), file=sys.stderr)
    if gone := remove_outdated(Lake.open(settings))[1]:
        print(f"reports  {len(gone)} pages from before are removed; the next run writes a new one", file=sys.stderr)
    if failed:
        raise failed


@takedowns_app.command("list")
def takedowns_list(format_: Format = "table") -> None:
    """What was taken down, why and by whom, oldest first."""
    output.show(takedowns.COLUMNS, takedowns.listed(Lake.open(load_settings())), format_)
