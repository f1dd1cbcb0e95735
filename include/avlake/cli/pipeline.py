"""Commands that do a pipeline's work: run, train, evaluate, drift, report, predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from avlake import output, runner
from avlake.cli.console import Format, PipelineName, Progress, show_objects, split_settings
from avlake.errors import RequestError
from avlake.pipelines import get_pipeline
from avlake.settings import Settings, load_settings

app = typer.Typer()


@app.command()
def run(
    pipeline: PipelineName,
    source: Annotated[str | None, typer.Option(help="folder, s3://, abfss:// or HTTP index of drops")] = None,
    drop: Annotated[str | None, typer.Option(help="one drop, YYYY-MM-DD; default all")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="measure at most N files of each drop")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="files measured side by side")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="a threshold, EXTRACTOR.PARAMETER, or scores=FILE; `default` restores it, `none` unsets it",
        ),
    ] = None,
    train: Annotated[bool, typer.Option("--train/--no-train", help="train and report at the end")] = True,
) -> None:
    """Take drops from landing to gold, train and report, without Airflow.

    Thresholds, sampling among them, are remembered until others are set, or `default`; the line `decides` names them.
    With scores=FILE, a CSV of clips measured elsewhere, gold is decided over those and nothing is measured or trained;
    scores=none takes them out again.
    """
    settings = load_settings(**({"jobs": jobs} if jobs else {}))
    thresholds, params = split_settings(set_ or [], get_pipeline(pipeline).measurable)
    scores = (thresholds.pop("scores") or "") if thresholds and "scores" in thresholds else None
    with Progress() as progress:
        done = runner.run(
            settings,
            pipeline=pipeline,
            source=source,
            drop=drop,
            limit=limit,
            params=params,
            thresholds=thresholds or None,
            scores=scores,
            train=train,
            say=progress.say,
            progress=progress.update,
        )
    if scores is not None:
        decided = [(name, rows, done.gold.kept[name], done.gold.changed) for name, rows in done.gold.rows.items()]
        output.show(("table", "rows", "kept", "changed"), decided, "table")
        return
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
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="FILE|FOLDER", help="of faces: a safetensors file, or all of a folder; path or URI"),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="CSV", help="of faces: write the table there, too")] = None,
    predictions: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="of faces: write what is predicted, one CSV per video as AVA has it"),
    ] = None,
    overlay: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="of faces: write the videos with boxes and scores drawn in")
    ] = None,
    format_: Format = "table",
) -> None:
    """Score the chosen model, or checkpoints of one that judges faces, on labelled drops."""
    from avlake.learn.base import FaceLearner, learner_of
    from avlake.stages.evaluate import evaluate as evaluate_

    settings = load_settings()
    if isinstance(learner_of(get_pipeline(pipeline).learner), FaceLearner):
        _evaluate_faces(settings, pipeline, drop, checkpoint, to, predictions, overlay, format_)
        return
    given = {"checkpoint": checkpoint, "to": to, "predictions": predictions, "overlay": overlay}
    if wrong := [f"--{name}" for name, value in given.items() if value is not None]:
        raise RequestError(f"{', '.join(wrong)}: {pipeline} has no model that judges faces, and no checkpoints")
    show_objects(evaluate_(settings, pipeline=pipeline, drop=drop), format_)


def _evaluate_faces(
    settings: Settings,
    pipeline: str,
    drop: str | None,
    checkpoint: str | None,
    to: str | None,
    predictions: str | None,
    overlay: str | None,
    form: str,
) -> None:
    from avlake.stages.evaluate_faces import COLUMNS, evaluate_faces

    if form not in output.FORMATS:
        raise RequestError(f"--format {form!r}: one of {', '.join(output.FORMATS)}")
    if to is not None and (Path(to).is_dir() or not Path(to).absolute().parent.is_dir()):
        raise RequestError(f"--to {to}: it is a folder, or there is no folder for it; name a CSV file")
    with Progress() as progress:
        done = evaluate_faces(
            settings,
            pipeline=pipeline,
            checkpoint=checkpoint,
            drop=drop,
            predictions=predictions,
            overlays=overlay,
            progress=progress.update,
        )
    output.show(COLUMNS, done.rows, form)
    if to is not None:
        with Path(to).open("w", encoding="utf-8", newline="") as file:
            output.show(COLUMNS, done.rows, "csv", file)
    for name, reason in done.refused.items():
        print(f"{name} is not evaluated: {reason}", file=sys.stderr)
    for path, reason in done.silent.items():
        print(f"{path}: {reason}", file=sys.stderr)


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
    format_: Annotated[
        str, typer.Option("--format", help="table, csv or json; ava: of faces, as AVA's own evaluation takes them")
    ] = "table",
    annotations: Annotated[
        str | None,
        typer.Option(metavar="CSV|FOLDER", help="of faces: where they are; by default the face detector finds them"),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Judge files with the chosen model: one row for every file named, or, where it judges faces, for every face."""
    from avlake.learn.base import FaceLearner, learner_of

    settings = load_settings(**({"jobs": jobs} if jobs else {}))
    if isinstance(learner_of(get_pipeline(pipeline).learner), FaceLearner):
        _predict_faces(settings, pipeline, files, format_, annotations)
    elif annotations is not None or format_ not in output.FORMATS:
        given = "--annotations" if annotations is not None else f"--format {format_!r}"
        raise RequestError(f"{given}: {pipeline} judges files, not faces; --format is {', '.join(output.FORMATS)}")
    else:
        _predict_files(settings, pipeline, files, format_)


def _predict_files(settings: Settings, pipeline: str, files: list[str], form: str) -> None:
    from avlake.stages.predict import predict as predict_

    with Progress() as progress:
        found = predict_(settings, pipeline=pipeline, files=files, jobs=settings.jobs, progress=progress.update)
    rows = [(one.file, *one.answer.values(), one.error) for one in found]
    output.show(["file", *found[0].answer, "error"], rows, form)
    if all(one.error for one in found):
        raise typer.Exit(1)


def _predict_faces(settings: Settings, pipeline: str, files: list[str], form: str, annotations: str | None) -> None:
    from avlake.stages.predict_faces import COLUMNS, OFFICIAL, predict_faces, write_official

    if form not in (*output.FORMATS, OFFICIAL):
        raise RequestError(f"--format {form!r}: one of {', '.join((*output.FORMATS, OFFICIAL))}")
    with Progress() as progress:
        found = predict_faces(
            settings,
            pipeline=pipeline,
            files=files,
            annotations=annotations,
            jobs=settings.jobs,
            progress=progress.update,
            say=progress.say,
        )
    rows = [row for one in found for row in one.rows()]
    if form == OFFICIAL:
        write_official(rows, sys.stdout)
    else:
        output.show(COLUMNS, rows, form)
    for one in found:
        if one.error:
            print(f"{one.file}: {one.error}", file=sys.stderr)
        if one.left_out:
            why = ", ".join(f"{n} {problem}" for problem, n in one.left_out.items())
            print(f"{one.file}: {sum(one.left_out.values())} faces cannot be judged: {why}", file=sys.stderr)
    if all(one.error for one in found):
        raise typer.Exit(1)
