"""A lake of synthesised voices, taken through gold and trained once for all tests of the stages that learn."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from avlake.datasets import synthetic
from avlake.learn import explain, gender
from avlake.learn.candidates import CANDIDATES
from avlake.learn.compare import Selection
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages.train import TrainReport, train

# Two kinds of model, fewer steps of elimination and fewer permutations: the same way, faster.
FAST = replace(
    gender.LEARNER, candidates=CANDIDATES[:2], selection=Selection(offers=(("voice", gender.VOICE),), step=31)
)


def learn_fast(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gender, "LEARNER", FAST)
    patch.setattr(explain, "REPEATS", 2)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    learn_fast(monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, TrainReport]:
    """Ten speakers with two recordings each, one more whose gender is unknown, a truncated archive."""
    folder = tmp_path_factory.mktemp("learned")
    landing = folder / "landing"
    synthetic.write_drop(landing, "2026-09-01", speakers=10, utterances=2, faults=("truncated", "unknown_gender"))
    settings = _settings(folder)
    with pytest.MonkeyPatch.context() as patch:
        learn_fast(patch)
        run(settings, pipeline="voxforge_gender", source=str(landing), train=False)
        return settings, train(settings, pipeline="voxforge_gender", run_id="first")


@pytest.fixture
def copy(trained: tuple[Settings, TrainReport], tmp_path: Path) -> Settings:
    """The same lake and warehouse, for a test that changes them."""
    shutil.copytree(Path(trained[0].uri).parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return _settings(tmp_path)


@pytest.fixture
def edit_warehouse() -> Callable[..., None]:
    """Run a statement on a published warehouse, which is read-only for its readers."""

    def edit(settings: Settings, statement: str, *values: str) -> None:
        import duckdb

        path = Path(settings.warehouse).resolve()
        path.chmod(0o644)
        with duckdb.connect(str(path)) as con:
            con.execute(statement, list(values))

    return edit


def _settings(folder: Path) -> Settings:
    return Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=2)
