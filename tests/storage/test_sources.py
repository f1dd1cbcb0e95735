"""A landing and a lake in object storage (moto's S3 server): drops are found and ingested as from a folder."""

from __future__ import annotations

import hashlib
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
from avlake.datasets.voxforge import VOXFORGE
from avlake.lake import Lake
from avlake.settings import Settings, load_settings
from avlake.stages.ingest import archive_failures, ingest
from avlake.storage import open_store
from avlake.tables import BRONZE_FILES

pytestmark = pytest.mark.storage
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
    return load_settings(uri="s3://lake/here", downloads=tmp_path / "downloads", inline_max_bytes=50_000)


@pytest.mark.parametrize("below", ["", "/voxforge", f"/voxforge/{DROP}"])
def test_drops_are_found_from_every_level(landing: str, settings: Settings, below: str) -> None:
    source = VOXFORGE.open_source(landing + below, settings)
    assert source.drops() == [DROP]
    entries = source.entries(DROP)
    assert [e.path for e in entries] == [f"synthetic0{k}-20260901-syn.tgz" for k in (1, 2, 3)]
    assert entries[0].uri == f"{landing}/voxforge/{DROP}/synthetic01-20260901-syn.tgz"
    assert all(e.version and e.size_bytes for e in entries)


def test_a_drop_is_ingested_once_and_what_changed_again(landing: str, settings: Settings, tmp_path: Path) -> None:
    place = {"dataset": "voxforge", "source": landing, "drop": DROP, "run_id": "r"}
    report = ingest(settings, **place)
    assert (report.archives, report.quarantined, report.changed) == (3, 1, True)
    lake = Lake.open(settings)
    rows = lake.rows(BRONZE_FILES, "voxforge", DROP).to_pylist()
    large = [row for row in rows if row["uri"]]
    assert large and all(row["uri"].startswith("s3://lake/here/objects/") for row in large)
    for row in large:
        with lake.store.local_copy(row["uri"]) as path:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
    failures = archive_failures(lake, "voxforge", DROP, settings)
    assert [error.error_class for error in failures.values()] == ["truncated_archive"]
    assert not ingest(settings, **place).changed
    assert not [path for path in (tmp_path / "downloads").iterdir() if path.is_dir()]

    open_store(landing).write(f"voxforge/{DROP}/a.wav", b"RIFF new")
    again = ingest(settings, **place)
    assert (again.files, again.changed) == (report.files + 1, True)
