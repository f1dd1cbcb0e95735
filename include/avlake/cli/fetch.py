"""The command that brings published data into the landing: fetch."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from avlake import output
from avlake.cli.console import Format
from avlake.errors import RequestError
from avlake.pipelines import PIPELINES
from avlake.settings import load_settings
from avlake.stages import fetch as fetching
from avlake.stages.fetch import FetchReport
from avlake.stages.fetch_files import Traffic, Wishes

EVERY_S = 10.0  # between lines of progress, where there is no terminal

app = typer.Typer()


@app.command()
def fetch(
    dataset: Annotated[str | None, typer.Argument(metavar="DATASET", help="default: list what can be fetched")] = None,
    kinds: Annotated[list[str] | None, typer.Argument(metavar="WHAT", help="of it; default all")] = None,
    to: Annotated[str | None, typer.Option(metavar="FOLDER|URI", help="the landing; default AVLAKE_LANDING")] = None,
    drop: Annotated[
        str | None, typer.Option(help="YYYY-MM-DD; default the one fetched last, or begun, else today's")
    ] = None,
    split: Annotated[str | None, typer.Option(help="of AVA: train or val; default both")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="at most N files of each kind, by name")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="at most so many MB/s, in all")] = None,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="deliver what is whole, although other files may still come")
    ] = False,
    format_: Format = "table",
) -> None:
    """Fetch a published dataset into a drop of the landing: `avlake fetch ava annotations`, `avlake fetch ava videos`.

    Files are checked, and the drop is seen only once all of them are there; what was got is kept for the next run.
    See docs/fetch.md.
    """
    if dataset is None:
        rows = [(name, remote.kind, remote.doc) for name, remote in fetching.fetchable()]
        output.show(("dataset", "what", "files"), rows, format_)
        return
    if format_ not in output.FORMATS:
        raise RequestError(f"--format {format_!r}: one of {', '.join(output.FORMATS)}")
    with Bytes() as shown:
        done = fetching.fetch(
            load_settings(),
            dataset=dataset,
            to=to,
            drop=drop,
            wishes=Wishes(tuple(kinds or ()), split, limit, rate, incomplete),
            say=shown.say,
            progress=shown.update,
        )
    output.show(fetching.COLUMNS, [[getattr(one, name) for name in fetching.COLUMNS] for one in done.files], format_)
    for line in _words(done, dataset, to):
        print(line, file=sys.stderr)
    if not done.ok:
        raise typer.Exit(1)


def _words(done: FetchReport, dataset: str, to: str | None) -> list[str]:
    words = {
        "fetched": "fetched",
        "there": "there already",
        "missing": "missing: the publisher has them no longer",
        "mismatch": "thrown away: not what their checksums say",
        "failed": "failed",
        "not_tried": "not tried",
    }
    counts = [f"{n} {text}" for state, text in words.items() if (n := done.count(state))]
    lines = [", ".join(counts) or "nothing to fetch"]
    lines += [f"{one.path}: {one.error}" for one in done.files if one.error and one.state != "not_tried"][:5]
    unchecked = sum(one.state == "fetched" and one.checked in ("size", "nothing") for one in done.files)
    if unchecked:
        lines.append(
            f"{unchecked} have no known checksum: no more than their size was compared; "
            f"set {', '.join(done.unchecked)} to a list of md5sum or sha256sum"
        )
    if done.delivered:
        kinds = [remote.kind for name, remote in fetching.fetchable() if name == dataset]
        left = kinds[max(kinds.index(one.kind) for one in done.files) + 1 :]
        runs = " or ".join(f"`avlake run {name}`" for name, one in PIPELINES.items() if one.dataset.name == dataset)
        run = runs + (f" with --source {to}" if to else "")
        then = f"`avlake fetch {dataset} {' '.join(left)}`, or your own into the same folder, then " if left else ""
        lines.append(f"drop  {done.uri}; next: {then}{run}")
    elif any(one.may_come for one in done.files):
        lines.append(
            f"{done.uri} gets nothing yet, for some files may still come: run this again to go on, "
            "or with --incomplete to deliver what is whole"
        )
    return lines


class Bytes:
    """Bytes, rate and time left: a bar on a terminal, a line now and then elsewhere; always on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn())
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=None)
        self._began = self._said = time.monotonic()
        self._traffic: Traffic | None = None

    def __enter__(self) -> Bytes:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def update(self, traffic: Traffic) -> None:
        now = time.monotonic()
        if traffic is not self._traffic:  # the next kind of files
            self._traffic, self._began = traffic, now
        words = in_words(traffic, now - self._began)
        self._bar.update(self._task, description=words, completed=traffic.bytes_done, total=traffic.bytes)
        if not self._console.is_terminal and now - self._said >= EVERY_S:
            self._said = now
            self.say(words)


def in_words(traffic: Traffic, seconds: float) -> str:
    """How far a run is after so many seconds."""
    rate = traffic.received / seconds if seconds > 0 else 0.0
    of = f" of {traffic.bytes / 1e6:,.1f}" if traffic.bytes is not None else ""
    words = (
        f"{traffic.files_done} of {traffic.files} files, {traffic.bytes_done / 1e6:,.1f}{of} MB, {rate / 1e6:.2f} MB/s"
    )
    if traffic.bytes is None or not rate:
        return words
    minutes, left = divmod(round(max(0, traffic.bytes - traffic.bytes_done) / rate), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{words}, {hours}:{minutes:02d}:{left:02d} left"
