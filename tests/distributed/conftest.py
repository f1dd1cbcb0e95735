"""One stack for all tests here, and the seconds that each recovery took, printed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from stack import AIRFLOW, WORKERS, Stack, missing, until
from world import World

MEASURED = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if reason := missing():
        pytest.skip(reason)
    stack = Stack(tmp_path_factory.mktemp("stack"), motherduck_token="token-of-motherduck-0123456789")
    try:
        stack.start_all()
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="session")
def world(stack: Stack) -> Iterator[World]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("AWS_", "AVLAKE_")):
                patch.delenv(name)
        for name in names:
            patch.setenv(name, stack.values[name])
        patch.setenv("AWS_ENDPOINT_URL", stack.address("moto"))
        yield World(stack.folder, stack)


@pytest.fixture
def alive(stack: Stack) -> Iterator[None]:
    """Whatever a test does to it, the whole stack runs before and after."""
    yield
    for name in ("redis", "store", *AIRFLOW, *WORKERS):
        if name not in stack.processes or stack.processes[name].poll() is not None:
            stack.start(name)
    until(stack.airflow.healthy, "Airflow is healthy again")


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Any:
    """Say how many seconds something took; the figures are printed at the end."""
    return request.config.stash.setdefault(MEASURED, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(MEASURED, []):
        terminalreporter.write_line(line)
