"""The image, as far as it can be judged without an engine: what goes in, as whom it runs, what is pinned."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from pathlib import Path

import compose
import pytest

DOCKERFILE = (compose.ROOT / "Dockerfile").read_text()
STEPS = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
COPIED = [source for step in STEPS if step.startswith("COPY ") for source in step.split()[1:-1]]


def in_context(path: str) -> bool:
    """Docker's rule: the last line of .dockerignore that matches the path or a folder above it decides."""
    inside = True
    candidates = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    for line in (compose.ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            names = [pattern, pattern.removeprefix("**/")]
            if any(
                fnmatch.fnmatchcase(c, n) or fnmatch.fnmatchcase(Path(c).name, n) for c in candidates for n in names
            ):
                inside = line.startswith("!")
    return inside


@pytest.mark.parametrize("source", COPIED)
def test_what_is_copied_exists_and_is_in_the_context(source: str) -> None:
    assert (compose.ROOT / source).exists()
    assert in_context(source)


@pytest.mark.parametrize(
    "path",
    [
        *(".env", ".env.example", ".git/config", ".avlake/lake/x.parquet", ".venv/bin/python", "shared/data/a.wav"),
        *("include/avlake/__pycache__/x.pyc", "include/avlake.egg-info/PKG-INFO", "dags/.env", "infra/docker/.env"),
        *("tests/conftest.py", "infra/azure/terraform.tfstate"),
    ],
)
def test_what_must_not_enter_the_image_is_not_in_the_context(path: str) -> None:
    assert not in_context(path)


def test_the_context_has_what_the_library_needs() -> None:
    tracked = subprocess.run(["git", "ls-files", "include", "dags", "plugins"], cwd=compose.ROOT, capture_output=True)
    assert all(in_context(path) for path in tracked.stdout.decode().splitlines())


def test_it_runs_as_nobody_in_particular() -> None:
    assert STEPS[-4:] == ["USER 50000:50000", "EXPOSE 8080", "HEALTHCHECK NONE", 'CMD ["airflow", "version"]']
    assert not any("chown" in step for step in STEPS if step.startswith("COPY"))  # the code belongs to root
    assert "useradd --uid 50000" in DOCKERFILE


def test_everything_is_pinned() -> None:
    python = re.search(r"^FROM python:(\d+\.\d+)\.\d+-slim-bookworm$", DOCKERFILE, re.MULTILINE)
    assert python and python[1] == "3.11"
    pins = set()
    for line in (compose.ROOT / "requirements.txt").read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            package, mark, _version = line.split(";")[0].strip().partition("==")
            assert mark, line
            assert package not in pins, f"{package} is pinned twice"
            pins.add(package)
    assert "apache-airflow-providers-cncf-kubernetes" in pins  # infra/helm/values.yaml runs tasks as pods


def test_the_image_has_no_secret_and_no_default_for_one() -> None:
    assert not re.search(r"PASSWORD|SECRET|_KEY\b|TOKEN", DOCKERFILE)


def test_scripts_named_in_commands_are_copied() -> None:
    text = compose.FILE.read_text() + (compose.ROOT / "infra" / "helm" / "values.yaml").read_text()
    scripts = set(re.findall(r"\binfra/docker/\w+\.py", text))
    assert scripts == {"infra/docker/make_users.py", "infra/docker/make_buckets.py"}
    assert all((compose.ROOT / script).exists() and in_context(script) for script in scripts)
    assert "infra/docker" in COPIED


def test_health_checks_use_what_the_image_has() -> None:
    assert re.search(r"apt-get install .*\bcurl\b", "".join(STEPS))
