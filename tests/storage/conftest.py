"""A real object-store server (moto's S3) for each test, and a landing in it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest

from avlake.datasets.synthetic import write_drop
from avlake.settings import Settings, load_settings

DROP = "2026-09-01"


@pytest.fixture
def endpoint() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # A process of its own: deltalake holds the GIL while it waits, so a server in this one would never answer.
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture
def landing(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """s3://landing/in, with a drop of two archives, a truncated one, and what does not count."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    client = boto3.client("s3", endpoint_url=endpoint)
    for bucket in ("landing", "lake"):
        client.create_bucket(Bucket=bucket)
    folder = write_drop(tmp_path / "made", DROP, speakers=2, utterances=1, faults=["truncated"])
    for path in folder.iterdir():
        client.upload_file(str(path), "landing", f"in/voxforge/{DROP}/{path.name}")
    for key in (f"voxforge/{DROP}/", f"voxforge/{DROP}/.hidden", f"voxforge/{DROP}/x.tmp", "voxforge/misc/x"):
        client.put_object(Bucket="landing", Key=f"in/{key}", Body=b"")
    client.close()
    return "s3://landing/in"


def _wait_for(endpoint: str) -> None:
    for _ in range(200):
        try:
            httpx.get(endpoint, timeout=1)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"no server at {endpoint}")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        uri="s3://lake/here",
        warehouse=str(tmp_path / "warehouse.duckdb"),
        downloads=tmp_path / "downloads",
        inline_max_bytes=50_000,
    )
