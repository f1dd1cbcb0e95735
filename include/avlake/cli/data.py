"""Commands that show what the lake and the warehouse hold: sql, tables, quarantine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from avlake import output, overview, warehouse
from avlake.cli.console import Format
from avlake.lake import Lake
from avlake.settings import load_settings
from avlake.stages import quarantine as quarantining

app = typer.Typer()


@app.command()
def sql(query: str, format_: Format = "table") -> None:
    """Query the warehouse, read-only; tables are layer.table."""
    columns, rows = warehouse.select(load_settings(), query)
    output.show(columns, rows, format_)


@app.command()
def tables(format_: Format = "table") -> None:
    """The lake's tables: rows, drops and what a row is."""
    output.show(overview.TABLE_COLUMNS, overview.tables(Lake.open(load_settings())), format_)


@app.command()
def quarantine(
    requeue: Annotated[bool, typer.Option("--requeue", help="measure these files again with the next run")] = False,
    format_: Format = "table",
) -> None:
    """Files that could not be read or measured, and why."""
    lake = Lake.open(load_settings())
    output.show(quarantining.COLUMNS, quarantining.listed(lake), format_)
    if requeue:
        print(f"avlake: {quarantining.requeue(lake)} files will be measured again by the next run", file=sys.stderr)
