"""Commands about what people say of recordings: labels."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avlake import output
from avlake.cli.console import PipelineName
from avlake.pipelines import LabelKind, get_pipeline
from avlake.settings import load_settings
from avlake.stages import labelling
from avlake.storage import open_store

if TYPE_CHECKING:
    from avlake.stages.batch_files import Batch

app = typer.Typer()
labels_app = typer.Typer(help="What people say of recordings: see docs/labels.md.", no_args_is_help=True)
app.add_typer(labels_app, name="labels")
Whose = Annotated[str | None, typer.Option("--pipeline", metavar="PIPELINE", help="whose labels; default: what fits")]


@labels_app.command("import")
def labels_import(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSON; a path, s3:// or abfss://")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="who says so; is kept with every label")],
    pipeline: Whose = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check and count, and import nothing")] = False,
) -> None:
    """Take people's labels from a file into the lake, all of them or none.

    A row names a file (item, file, path or video_id) and says what it is: in a column `value` (or class) with what is
    labelled in `name`, or in a column named like that: sound, outro_start_s. Parts have start_s and end_s, face tracks
    entity_id. Empty fields are skipped; `unknown` takes back; `none` says there is none. Importing a file again adds
    nothing.
    """
    done = labelling.import_file(load_settings(), file=file, who=by, pipeline=pipeline, dry_run=dry_run)
    labelled = get_pipeline(done.pipeline).dataset.name
    would = "would be " if dry_run else ""
    lines = [f"{done.added} labels of {labelled} {would}added, by {by.strip()}"]
    if done.said_already:
        lines.append(f"{done.said_already} were there already")
    if done.empty:
        lines.append(f"{done.empty} fields are empty and say nothing")
    if done.ignored:
        lines.append(f"not read: {', '.join(done.ignored)}")
    if done.no_file:
        lines.append(f"{done.no_file} items name no file of the lake now; they count once it is there")
    if done.several_files:
        lines.append(f"{done.several_files} items name several files and do not count: give the path")
    if done.added and not dry_run:
        lines.append(
            f"They count with the next `avlake run {done.pipeline} --source FOLDER`; in Airflow trigger "
            f"{done.pipeline}_gold, or wait for discover_drops to do so"
        )
    print("\n".join(lines), file=sys.stderr)


@labels_app.command("export")
def labels_export(
    pipeline: Whose = None,
    format_: Annotated[str, typer.Option("--format", help="csv, json or table")] = "csv",
    to: Annotated[str | None, typer.Option(help="a file to write, also s3:// or abfss://; default: print")] = None,
    everything: Annotated[bool, typer.Option("--all", help="all that was ever said, not just what counts")] = False,
) -> None:
    """What people have said: a file that `avlake labels import` takes.

    It holds who said it, which is personal data.
    """
    rows = labelling.exported(load_settings(), pipeline=pipeline, history=everything)
    text = io.StringIO()
    output.show(labelling.COLUMNS, rows, format_, text)
    if to is None:
        print(text.getvalue(), end="")
    else:
        where = to if "://" in to else str(Path(to).expanduser().absolute())
        folder, _, name = where.rpartition("/")
        open_store(folder or "/", setting="--to").write(name, text.getvalue().encode())
    print(f"{len(rows)} labels" + (f" in {to}" if to else ""), file=sys.stderr)


@labels_app.command("next")
def labels_next(
    pipeline: PipelineName,
    to: Annotated[str, typer.Option(help="the folder to write; it must not be there yet")],
    count: Annotated[int | None, typer.Option(min=1, help="so many parts; default 20")] = None,
    format_: Annotated[str, typer.Option("--format", help="csv or json, of the file to fill in")] = "csv",
) -> None:
    """Write the parts that are most worth a label: a playlist to listen to, and a file to fill in and import."""
    from avlake.stages import batches  # loads scikit-learn

    most = count or batches.COUNT
    batch = batches.next_batch(load_settings(), pipeline=pipeline, to=to, count=most, form=format_)
    _told(batch, batches.parts_kind(pipeline), format_)


@labels_app.command("audit")
def labels_audit(
    pipeline: PipelineName,
    to: Annotated[str, typer.Option(help="the folder to write; it must not be there yet")],
    per_class: Annotated[int | None, typer.Option(min=1, help="so many parts of each class; default 80")] = None,
    format_: Annotated[str, typer.Option("--format", help="csv or json, of the file to fill in")] = "csv",
) -> None:
    """Write a random sample of each class that the model predicts, for a person to check without being told."""
    from avlake.stages import batches  # loads scikit-learn

    most = per_class or batches.PER_CLASS
    batch = batches.audit_batch(load_settings(), pipeline=pipeline, to=to, per_class=most, form=format_)
    _told(batch, batches.parts_kind(pipeline), format_)


def _told(batch: Batch, kind: LabelKind, form: str) -> None:
    print(
        f"{len(batch.chosen)} parts in {batch.to}: listen to batch.m3u8, fill in `value` in batch.{form} ({kind.doc}: "
        f"{', '.join(kind.values)}), then `avlake labels import {batch.to.rstrip('/')}/batch.{form} --by NAME`",
        file=sys.stderr,
    )
