"""Commands that keep an installation well: maintain, doctor, models."""

from __future__ import annotations

import typer

from avlake import doctor, output, overview
from avlake.cli.console import Format, show_objects
from avlake.lake import Lake
from avlake.settings import load_settings
from avlake.stages.maintain import maintain as maintain_

app = typer.Typer()
models_app = typer.Typer(help="Third-party model files, and the models trained here.", no_args_is_help=True)
app.add_typer(models_app, name="models")


@app.command()
def maintain(format_: Format = "table") -> None:
    """Compact small files, and remove those nobody has referred to for a week."""
    show_objects(maintain_(load_settings()), format_)


@app.command("doctor")
def doctor_(format_: Format = "table") -> None:
    """Check this machine, the settings, the store and the services; says how to mend what is wrong."""
    checks = doctor.examine(load_settings())
    if format_ == "table":
        print(doctor.text(checks))
    else:
        rows = [(c.what, "ok" if c.ok else "PROBLEM", c.found, c.mend) for c in checks]
        output.show(doctor.COLUMNS, rows, format_)
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
