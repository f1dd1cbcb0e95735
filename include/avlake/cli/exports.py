"""The command that hands tables, and their recordings, to other tools: export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from avlake.settings import MIB, load_settings
from avlake.stages import export as exporting

app = typer.Typer()


@app.command()
def export(
    table: Annotated[str, typer.Argument(help="layer.table, as in avlake tables")],
    to: Annotated[str, typer.Option(help="the file or folder to write; also s3:// or abfss://, by way of local disk")],
    format_: Annotated[
        str | None, typer.Option("--format", help=f"{', '.join(exporting.FORMATS)}; default by suffix")
    ] = None,
    where: Annotated[str | None, typer.Option(help="an SQL condition on the table's columns")] = None,
    shard_mb: Annotated[int, typer.Option(min=1, help="about how large files of hf and webdataset get, MiB")] = 256,
) -> None:
    """Write a table for other tools, whole or not at all.

    jsonl, parquet and csv are one file of rows, which replaces the one that was there. The others are folders with the
    recordings, which replace an export of the same format and nothing else: hf (load_dataset) and webdataset (tar
    shards) hold one example a row, a row of a window with that part of its audio as WAV, any other with the file as it
    was delivered; lhotse (manifests) and m3u (a playlist) hold each file once, as delivered, and point into it. Of a
    table of faces, hf and webdataset hold one example a video, lhotse and m3u one entry a track.
    """
    form = format_ or Path(to).suffix.lstrip(".")
    done = exporting.export(load_settings(), table=table, to=to, form=form, where=where, shard_bytes=shard_mb * MIB)
    files = "" if done.files is None else f" of {done.files} files"
    print(f"{done.rows} rows{files} in {to}", file=sys.stderr)
    if not done.rows:
        print("nothing satisfies the request: the export is empty", file=sys.stderr)
    if done.not_kept:
        print(f"{done.not_kept} of them are not kept by gold; --where kept leaves them out", file=sys.stderr)
    if done.left_out:
        why = "no recordings" + (", have no sound, or were never measured" if form == "lhotse" else "")
        if done.elsewhere == done.left_out:
            why = "not in the lake, for they were scored elsewhere"
        elif done.elsewhere:
            why += f", and {done.elsewhere} are not in the lake, for they were scored elsewhere"
        print(f"{done.left_out} rows are left out: their files are {why}", file=sys.stderr)
