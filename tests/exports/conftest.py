"""Two lakes to export from: synthesised voices taken to gold, and a shelf of odd files with a table made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shelf import DROP, Exported, make_shelf, settings_of

from avlake.datasets import synthetic
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages.export import export


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """gold.gender_windows of two drops, 12 speakers with 2 recordings each."""
    folder = tmp_path_factory.mktemp("voices")
    for drop in (DROP, "2026-09-02"):
        synthetic.write_drop(folder / "landing", drop, speakers=12, utterances=1)
    settings = settings_of(folder)
    run(settings, pipeline="voxforge_gender", source=str(folder / "landing"), train=False)
    return settings


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """gold.clips: one row per file, of stereo audio and video, with every kind of value."""
    return make_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    """Export, and say where it is."""

    def do(settings: Settings, table: str, form: str, **options: Any) -> Path:
        to = tmp_path / f"export-{form}"
        report = export(settings, table=table, to=str(to), form=form, **options)
        assert report.to == str(to)
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
        return to

    return do
