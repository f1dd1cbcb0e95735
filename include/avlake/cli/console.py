"""What every command shares: how arguments are spelled, and how progress and results are shown."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from avlake import output
from avlake.errors import RequestError

PipelineName = Annotated[str, typer.Argument(metavar="PIPELINE")]
Format = Annotated[str, typer.Option("--format", help="table, csv or json")]


def split_settings(
    pairs: list[str], extractors: tuple[str, ...]
) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]] | None]:
    """`--set key=value` options as thresholds, and as parameters of extractors (`extractor.name=value`).

    A value is a number or a word; `none`, and nothing at all, unset what may be unset; `default` restores.
    """
    thresholds: dict[str, Any] = {}
    params: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise RequestError(f"--set {pair!r}: write key=value")
        value = None if text.lower() in ("", "none") else text
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
