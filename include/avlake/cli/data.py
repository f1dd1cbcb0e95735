"""Commands that show what the lake and the warehouse hold: sql, tables, quarantine, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from avlake import output, overview, warehouse
from avlake.cli.console import Format
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.settings import load_settings
from avlake.stages import export as exporting
from avlake.stages import quarantine as quarantining

app = typer.Typer()


@app.command()
def sql(query: str, format_: Format = "table") -> None:
    """Query the warehouse, read-only; tables are layer.table."""
    import duckdb

    with warehouse.connect(load_settings()) as con:
        # A query reads the warehouse and nothing else of this machine.
        con.execute("SET enable_external_access = false; SET lock_configuration = true")
        try:
            found = con.execute(query)
            rows = found.fetchall()
        except duckdb.Error as error:
            raise RequestError(f"sql: {error}") from None
        output.show([column[0] for column in found.description or []], rows, format_)


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


@app.command()
def export(
    table: Annotated[str, typer.Argument(help="layer.table, as in avlake tables")],
    to: Annotated[Path, typer.Option(help="the file to write")],
    format_: Annotated[str | None, typer.Option("--format", help="parquet, csv or jsonl; default by suffix")] = None,
    where: Annotated[str | None, typer.Option(help="an SQL condition on the rows")] = None,
) -> None:
    """Write a table to a file."""
    rows = exporting.export(load_settings(), table=table, to=to, form=format_ or to.suffix.lstrip("."), where=where)
    print(f"{rows} rows in {to}", file=sys.stderr)
