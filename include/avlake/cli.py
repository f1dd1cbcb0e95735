"""The `avlake` command. Data goes to standard output, progress and logs to standard error.

Exit codes: 0 done, 1 the work failed, 2 the request was wrong.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from avlake import __version__, doctor, output, overview, runner, warehouse
from avlake.errors import AvlakeError, RequestError
from avlake.lake import Lake
from avlake.pipelines import get_pipeline
from avlake.settings import load_settings
from avlake.stages import export as exporting
from avlake.stages import quarantine as quarantining

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
models_app = typer.Typer(help="Third-party model files, and the models trained here.", no_args_is_help=True)
app.add_typer(models_app, name="models")

PipelineName = Annotated[str, typer.Argument(metavar="PIPELINE")]
Format = Annotated[str, typer.Option("--format", help="table, csv or json")]


def main() -> None:
    """Run the command line; turn errors into one line and an exit code."""
    try:
        app()
    except AvlakeError as error:
        print(f"avlake: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, RequestError) else 1)
    except KeyboardInterrupt:
        print("avlake: stopped; what is committed stays, run it again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `avlake ... | head` is no error


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="print the version")] = False
) -> None:
    if version:
        print(__version__)
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(overview.text(load_settings()))


@app.command()
def run(
    pipeline: PipelineName,
    source: Annotated[str | None, typer.Option(help="folder, s3://, abfss:// or HTTP index of drops")] = None,
    drop: Annotated[str | None, typer.Option(help="one drop, YYYY-MM-DD; default all")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="measure at most N files of each drop")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="files measured side by side")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="a threshold, or EXTRACTOR.PARAMETER, = value")
    ] = None,
    train: Annotated[bool, typer.Option("--train/--no-train", help="train and report at the end")] = True,
) -> None:
    """Take drops from landing to gold, train and report, without Airflow."""
    settings = load_settings(**({"jobs": jobs} if jobs else {}))
    thresholds, params = split_settings(set_ or [], get_pipeline(pipeline).extractors)
    with Progress() as progress:
        done = runner.run(
            settings,
            pipeline=pipeline,
            source=source,
            drop=drop,
            limit=limit,
            params=params,
            thresholds=thresholds,
            train=train,
            say=progress.say,
            progress=progress.update,
        )
    rows = [(d, r.files, r.measured, r.quarantined, r.partial, r.changed) for d, r in done.drops.items()]
    output.show(("drop", "media_files", "measured", "quarantined", "partial", "changed"), rows, "table")


@app.command()
def train(pipeline: PipelineName) -> None:
    """Train on the published gold; skipped when gold, code and parameters are unchanged."""
    from avlake.stages.publish import publish
    from avlake.stages.train import train as train_

    settings, run_id = load_settings(), runner.new_run_id()
    with Progress() as progress:
        done = train_(settings, pipeline=pipeline, run_id=run_id, progress=progress.update)
    publish(settings, run_id=run_id)
    print(done.model_uri + ("" if done.changed else "  (gold is unchanged, nothing to train)"))


@app.command()
def evaluate(
    pipeline: PipelineName,
    drop: Annotated[str | None, typer.Option(help="one drop; default all")] = None,
    format_: Format = "table",
) -> None:
    """Score the chosen model on labelled drops."""
    from avlake.stages.evaluate import evaluate as evaluate_

    show_objects(evaluate_(load_settings(), pipeline=pipeline, drop=drop), format_)


@app.command()
def drift(pipeline: PipelineName, format_: Format = "table") -> None:
    """Compare each drop with what the chosen model was trained on; says when to retrain."""
    from avlake.stages.evaluate import drift as drift_

    show_objects(drift_(load_settings(), pipeline=pipeline), format_)


@app.command()
def report(pipeline: PipelineName) -> None:
    """Write the report of the chosen model; prints where it is."""
    from avlake.stages.report import report as report_

    print(report_(load_settings(), pipeline=pipeline, run_id=runner.new_run_id()))


@app.command()
def predict(
    pipeline: PipelineName,
    files: Annotated[list[str], typer.Argument(metavar="FILE...")],
    format_: Format = "table",
    jobs: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Label files with the chosen model: one row for every file named."""
    from avlake.stages.predict import predict as predict_

    settings = load_settings(**({"jobs": jobs} if jobs else {}))
    with Progress() as progress:
        found = predict_(settings, pipeline=pipeline, files=files, jobs=settings.jobs, progress=progress.update)
    show_objects(found, format_)
    if all(row.label is None for row in found):
        raise typer.Exit(1)


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


@app.command()
def maintain() -> None:
    """Compact small files, and remove those nobody has referred to for a week."""
    removed = Lake.open(load_settings()).maintain()
    output.show(("table", "files_removed"), sorted(removed.items()), "table")


@app.command("doctor")
def doctor_(format_: Format = "table") -> None:
    """Check this machine, the settings, the store and the services; says how to mend what is wrong."""
    checks = doctor.examine(load_settings())
    output.show(doctor.COLUMNS, [(c.what, "ok" if c.ok else "PROBLEM", c.found, c.mend) for c in checks], format_)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@models_app.command("list")
def models_list(format_: Format = "table") -> None:
    """Models trained here, newest first; `chosen` is the one that predicts."""
    output.show(overview.MODEL_COLUMNS, overview.models(Lake.open(load_settings())), format_)


@models_app.command("pull")
def models_pull() -> None:
    """Download the third-party model files into AVLAKE_MODELS, checked by sha256."""
    from avlake.models import pull

    for path in pull(load_settings()):
        print(path)


def split_settings(
    pairs: list[str], extractors: tuple[str, ...]
) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]] | None]:
    """`--set key=value` options as thresholds, and as parameters of extractors (`extractor.name=value`)."""
    thresholds: dict[str, Any] = {}
    params: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise RequestError(f"--set {pair!r}: write key=value")
        owner, dot, key = name.partition(".")
        if dot and owner in extractors:
            params.setdefault(owner, {})[key] = value
        else:
            thresholds[name] = value
    return thresholds or None, params or None


def show_objects(found: list[Any], form: str) -> None:
    """Print frozen dataclasses, one row each."""
    columns = list(type(found[0]).__dataclass_fields__) if found else []
    output.show(columns, [[getattr(row, name) for name in columns] for row in found], form)


class Progress:
    """One bar on a terminal, plain lines elsewhere; always on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description:.60}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task: Any = None

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def update(self, what: str, done: int, total: int) -> None:
        if self._task is None:
            self._task = self._bar.add_task(what)
        self._bar.update(self._task, description=what, completed=done, total=total)


if __name__ == "__main__":
    main()
