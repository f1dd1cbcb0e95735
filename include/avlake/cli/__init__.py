"""The `avlake` command. Data goes to standard output, progress and logs to standard error.

Exit codes: 0 done, 1 the work failed, 2 the request was wrong. A command lives in the file of its kind.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from avlake import __version__, overview
from avlake.cli import data, exports, fetch, governance, labels, pipeline, planning, upkeep
from avlake.errors import AvlakeError, RequestError
from avlake.settings import load_settings


class Commands(TyperGroup):
    """Turns errors into one line and an exit code, before typer does: it says nothing of a stop, and 1 of `| head`."""

    def invoke(self, ctx: Any) -> Any:
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()  # while a reader that has gone can still be told from an error
            return done
        except AvlakeError as error:
            print(f"avlake: {error}", file=sys.stderr)
            sys.exit(2 if isinstance(error, RequestError) else 1)
        except KeyboardInterrupt:
            print("avlake: stopped; what is done stays, run it again to go on", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `avlake ... | head` is no error
            sys.exit(0)
        except OSError as error:
            print(f"avlake: {error}", file=sys.stderr)
            sys.exit(1)


app = typer.Typer(
    cls=Commands, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)
for commands in (pipeline, fetch, planning, labels, data, exports, governance, upkeep):
    app.add_typer(commands.app)


def main() -> None:
    """Run the command line."""
    app()


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="print the version")] = False
) -> None:
    if version:
        print(__version__)
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(overview.text(load_settings()))
