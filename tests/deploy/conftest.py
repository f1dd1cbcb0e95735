from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import compose
import pytest


@pytest.fixture(scope="session")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .env as `make secrets` writes it into a fresh checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(compose.ROOT / ".env.example", folder)
    subprocess.run([sys.executable, compose.ROOT / "infra" / "make_secrets.py", folder], check=True)
    return folder / ".env"


@pytest.fixture(scope="session")
def variables(env_file: Path) -> dict[str, str]:
    return compose.read_env(env_file.read_text())
