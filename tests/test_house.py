"""The house keeps its shape: imports run downwards, heavy libraries stay where they are used, layers do not mix."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "include" / "avlake"
# The ground first. A module imports from its own floor and the ones before it.
FLOORS = (
    ("errors",),
    ("settings", "store_errors", "clouds"),
    ("storage", "output", "models"),
    ("probe", "ages"),
    ("tables",),
    ("fragments",),
    ("lake",),
    ("media.limits",),
    ("media.audio", "media.video", "media.archives", "media.media_types", "media.parquet_archive", "media.__init__"),
    ("media.decoders",),
    ("media.clip",),
    ("extractors",),
    ("media.sandbox", "media.worker"),
    ("datasets",),
    ("thresholds",),
    ("pipelines",),
    ("learn",),
    ("delivery",),
    ("warehouse",),
    ("stages.contents",),
    ("exports",),
    ("stages",),
    ("runner", "overview"),
    ("orchestration",),
    ("doctor",),
    ("cli",),
)
HEAVY = {"torch", "librosa", "numba", "mediapipe", "cv2", "duckdb", "sklearn", "airflow", "matplotlib", "scipy"}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def floor(name: str) -> int:
    """The floor of a module, by its name below avlake."""
    for level, members in enumerate(FLOORS):
        if any(name == member or name.startswith(f"{member}.") for member in members):
            return level
    raise AssertionError(f"avlake.{name} has no floor: add it to FLOORS where it belongs")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Names below avlake that a module imports anywhere but for type checking."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "avlake":
            base = node.module.removeprefix("avlake").lstrip(".")
            for alias in node.names:
                inner = ".".join(filter(None, (base, alias.name)))
                is_module = (PACKAGE / inner.replace(".", "/")).with_suffix(".py").exists()
                is_package = (PACKAGE / base.replace(".", "/")).is_dir()
                found.add(inner if is_module else f"{base}.__init__" if base and is_package else base)
    return {name for name in found if name}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_run_downwards(path: Path) -> None:
    here = module_name(path)
    upward = {name for name in imports(path) if floor(name) > floor(here)}
    assert not upward, f"avlake.{here} is below {upward}"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_only_orchestration_imports_airflow(path: Path) -> None:
    text = path.read_text()
    uses = any(line.lstrip().startswith(("import airflow", "from airflow")) for line in text.splitlines())
    assert not uses or module_name(path).startswith("orchestration.")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_the_lake_and_pipelines_load_nothing_heavy() -> None:
    code = f"import sys, avlake.pipelines\nprint(sorted({HEAVY!r} & sys.modules.keys()))"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "COV"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == "[]"


def test_no_pickle_and_no_shell() -> None:
    for path in MODULES:
        for line in path.read_text().splitlines():
            assert "shell=True" not in line and "import pickle" not in line and "joblib.load" not in line, path
