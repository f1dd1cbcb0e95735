"""The stores that every test here runs on: a folder, S3 (moto's server), Azure (Azurite), and any S3 endpoint.

`make test` runs them on a folder, `make storage` on all. The last one is there when it is named: AVLAKE_TEST_S3_URI=
s3://bucket/prefix, AWS_ENDPOINT_URL and credentials in the environment. A test gets a bucket, container or prefix of
its own; the servers live as long as the session.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from azure.storage.blob import BlobServiceClient

from avlake.datasets.synthetic import write_drop
from avlake.lake import Lake
from avlake.settings import Settings, load_settings
from avlake.storage import open_store
from ports import free_port

S3_SERVER = str(Path(__file__).parents[1] / "s3_server.py")

DROP = "2026-09-01"
ENDPOINT = os.environ.get("AVLAKE_TEST_S3_URI", "").rstrip("/")
SERVERS = [pytest.param(name, marks=pytest.mark.storage) for name in ("s3", "azure", *(["endpoint"] * bool(ENDPOINT)))]
AZURITE = Path(__file__).parents[2] / ".venv/azurite/node_modules/.bin/azurite-blob"
ACCOUNT = "devstoreaccount1"
# Azurite's own, the same everywhere: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextlib.contextmanager
def serving(*command: str, port: int) -> Iterator[str]:
    """Run a server on a port of this machine while the block runs; yields its address."""
    address = f"http://127.0.0.1:{port}"
    # A process of its own: deltalake holds the GIL while it waits, so a server in this one would never answer.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(address, timeout=5)
                    break
                assert server.poll() is None, f"{command[0]} ended with {server.returncode}"
                time.sleep(0.1)
            else:
                raise AssertionError(f"{command[0]} does not answer at {address}")
            yield address
        finally:
            server.terminate()


def moto(port: int) -> tuple[str, ...]:
    """The command of an S3 server."""
    return (sys.executable, S3_SERVER, "-H", "127.0.0.1", "-p", str(port))


def azurite(port: int, folder: Path) -> tuple[str, ...]:
    """The command of an Azure Blob server; skips the test where it is not installed."""
    if not AZURITE.exists():
        pytest.skip("no Azurite: `make storage` installs it where node and npm are")
    return (
        *(str(AZURITE), "--blobPort", str(port), "--location", str(folder)),
        *("--silent", "--skipApiVersionCheck", "--disableTelemetry"),
    )


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    with serving(*moto(port := free_port()), port=port) as address:
        yield address


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The account's address on Azurite."""
    command = azurite(port := free_port(), tmp_path_factory.mktemp("azurite"))
    with serving(*command, port=port) as address:
        yield f"{address}/{ACCOUNT}"


@pytest.fixture(params=["folder", *SERVERS])
def store_root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An empty place in each store, and its credentials in the environment."""
    if request.param == "folder":
        yield str(tmp_path / "store")
    elif request.param == "s3":
        yield s3_bucket(request.getfixturevalue("s3_server"), monkeypatch)
    elif request.param == "azure":
        yield azure_container(request.getfixturevalue("azure_server"), monkeypatch)
    else:
        root = f"{ENDPOINT}/{uuid.uuid4().hex}"
        yield root
        open_store(root).delete("")


def s3_bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket's URI, and its credentials in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    bucket = f"test-{uuid.uuid4().hex}"
    with contextlib.closing(boto3.client("s3")) as client:
        client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}"


def azure_container(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new container's URI, and its credentials in the environment."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", address)
    container = f"test-{uuid.uuid4().hex}"
    with BlobServiceClient(address, credential=ACCOUNT_KEY) as client:
        client.create_container(container)
    return f"abfss://{container}@{ACCOUNT}.dfs.core.windows.net"


@pytest.fixture
def store_uri(store_root: str) -> str:
    """A fresh lake's URI on each store."""
    return f"{store_root}/lake"


@pytest.fixture
def settings(store_uri: str, tmp_path: Path) -> Settings:
    return load_settings(
        uri=store_uri,
        warehouse=str(tmp_path / "warehouse.duckdb"),
        downloads=tmp_path / "downloads",
        inline_max_bytes=50_000,  # so that the landing has files on either side of it
    )


@pytest.fixture
def lake(store_uri: str) -> Lake:
    return Lake(open_store(store_uri))


@pytest.fixture
def landing_uri(store_root: str, tmp_path: Path) -> str:
    """A landing beside the lake: a drop of two archives, a truncated one, and what does not count."""
    folder = write_drop(tmp_path / "made", DROP, speakers=2, utterances=1, faults=["truncated"])
    store = open_store(f"{store_root}/landing")
    for path in folder.iterdir():
        store.upload(path, f"voxforge/{DROP}/{path.name}")
    for name in (f"{DROP}/.hidden", f"{DROP}/x.tmp", "misc/x"):
        store.write(f"voxforge/{name}", b"x")
    if store_root.startswith("s3://"):
        bucket, _, prefix = store_root.removeprefix("s3://").partition("/")
        with contextlib.closing(boto3.client("s3")) as client:  # some tools write such an object for a folder
            client.put_object(Bucket=bucket, Key=f"{prefix}/landing/voxforge/{DROP}/".lstrip("/"), Body=b"")
    return store.uri
