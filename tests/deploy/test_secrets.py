"""`make secrets`: generated, private, never overwritten, never shown."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import compose
import pytest


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", ".env.example"):
        shutil.copy(compose.ROOT / name, tmp_path)
    shutil.copytree(compose.ROOT / "infra", tmp_path / "infra")
    return tmp_path


def make_secrets(checkout: Path) -> str:
    done = subprocess.run(["make", "secrets"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def values(checkout: Path) -> dict[str, str]:
    return compose.read_env((checkout / ".env").read_text())


def generated(checkout: Path) -> dict[str, str]:
    empty = re.findall(r"^(\w+)=$", (checkout / ".env.example").read_text(), re.MULTILINE)
    return {name: values(checkout)[name] for name in empty}


def test_secrets_are_private_long_and_shown_to_nobody(checkout: Path) -> None:
    said = make_secrets(checkout)
    assert (checkout / ".env").stat().st_mode & 0o777 == 0o600
    secrets = generated(checkout)
    assert len(secrets) == len(set(secrets.values())) == 9
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32,}=?", value) for value in secrets.values())
    assert not any(value in said for value in secrets.values())
    assert len(base64.urlsafe_b64decode(secrets["AIRFLOW_FERNET_KEY"])) == 32
    assert len(secrets["AIRFLOW_JWT_SECRET"]) >= 64
    assert values(checkout)["AWS_SECRET_ACCESS_KEY"] == secrets["MINIO_PASSWORD"]


def test_two_checkouts_share_no_secret(checkout: Path) -> None:
    make_secrets(checkout)
    first = generated(checkout)
    (checkout / ".env").unlink()
    make_secrets(checkout)
    assert not set(first.values()) & set(generated(checkout).values())


def test_a_second_run_changes_nothing_and_says_so(checkout: Path) -> None:
    make_secrets(checkout)
    before = (checkout / ".env").read_text()
    assert "lacks nothing" in make_secrets(checkout)
    assert (checkout / ".env").read_text() == before
    assert [path.name for path in checkout.glob(".env.*")] == [".env.example"]


def test_only_secrets_that_are_missing_are_added(checkout: Path) -> None:
    (checkout / ".env").write_text("# mine\nPOSTGRES_PASSWORD=mine\nREDIS_PASSWORD=\nAVLAKE_URI=abfss://mine@x\n")
    (checkout / ".env").chmod(0o644)
    said = make_secrets(checkout)
    text, found = (checkout / ".env").read_text(), values(checkout)
    assert text.startswith("# mine\nPOSTGRES_PASSWORD=mine\n")
    assert (found["POSTGRES_PASSWORD"], found["AVLAKE_URI"]) == ("mine", "abfss://mine@x")
    assert text.count("REDIS_PASSWORD=") == 1 and len(found["REDIS_PASSWORD"]) >= 32
    assert "REDIS_PASSWORD" in said and "POSTGRES_PASSWORD" not in said and found["REDIS_PASSWORD"] not in said
    assert not any(name.startswith("AWS_") for name in found)  # what was left out on purpose stays out
    assert (checkout / ".env").stat().st_mode & 0o777 == 0o600


def test_git_ignores_the_secrets() -> None:
    done = subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=compose.ROOT)
    assert done.returncode == 0
