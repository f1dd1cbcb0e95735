"""Azure without an account key: both clients get a token by themselves and a server that demands one lets them in.

Azurite takes tokens only over https, so the servers share a certificate made here, trusted through SSL_CERT_FILE. What
both clients cache lives as long as a process, so each case runs in its own.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, ContainerSasPermissions, generate_container_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ports import free_port

pytestmark = pytest.mark.storage
HERE = Path(__file__).parent
AZURITE = HERE.parents[1] / ".venv/azurite/node_modules/.bin/azurite-blob"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SECRET = "hush-5f2b"
USE_BOTH = """
import sys
import pyarrow as pa
from deltalake import DeltaTable
from avlake import probe
from avlake.errors import AvlakeError
from avlake.storage import open_store
try:
    store = open_store(sys.argv[1])
    probe.check(store)
    store.write("a", b"1")
    assert store.read("a") == b"1" and "a" in store.list()
    with store.explained():
        DeltaTable.create(store.uri_of("t"), pa.schema([("a", pa.int64())]), storage_options=store.delta_options)
except AvlakeError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@contextlib.contextmanager
def running(*command: str, port: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert server.poll() is None, f"{command[0]} ended with {server.returncode}"
                time.sleep(0.05)
            yield
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, bare))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def account(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an account that takes keys, signatures and tokens."""
    if not AZURITE.exists():
        pytest.skip("no Azurite: `make storage` installs it where node and npm are")
    (cert, key), port = certificate, free_port()
    files = ("--location", str(tmp_path_factory.mktemp("azurite")), "--cert", str(cert), "--key", str(key))
    quiet = ("--silent", "--skipApiVersionCheck", "--disableTelemetry")
    with running(str(AZURITE), "--blobPort", str(port), "--oauth", "basic", *files, *quiet, port=port):
        yield f"https://127.0.0.1:{port}/{ACCOUNT}"


@pytest.fixture
def container(account: str, certificate: tuple[Path, Path]) -> str:
    name = f"test-{uuid.uuid4().hex}"
    with BlobServiceClient(account, credential=ACCOUNT_KEY, connection_verify=str(certificate[0])) as client:
        client.create_container(name)
    return name


@pytest.fixture
def authority(certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[str]:
    """Where principals get tokens; what it was asked is in tmp_path / "asked"."""
    port, (cert, key) = free_port(), certificate
    command = (sys.executable, str(HERE / "token_server.py"), str(port), str(cert), str(key), str(tmp_path / "asked"))
    with running(*command, port=port):
        yield f"https://127.0.0.1:{port}"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[str]:
    """Where a managed identity gets tokens: plain http on the machine itself."""
    port = free_port()
    command = (sys.executable, str(HERE / "token_server.py"), str(port), "-", "-", str(tmp_path / "asked"))
    with running(*command, port=port):
        yield f"http://127.0.0.1:{port}"


def use(uri: str, cert: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Both clients, in a process that has these variables and no other credential."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AZURE_", "AWS_", "AVLAKE_", "IDENTITY_"))}
    env = kept | {"SSL_CERT_FILE": str(cert)} | variables
    return subprocess.run([sys.executable, "-c", USE_BOTH, uri], env=env, capture_output=True, text=True, check=False)


def asked(tmp_path: Path) -> list[dict[str, str]]:
    """What the token server was asked, by client."""
    return [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]


def clients(requests: list[dict[str, str]]) -> set[str]:
    return {str(dict(request["headers"]).get("user-agent")).split("/")[0].split("-")[0] for request in requests}


def test_a_service_principal(
    account: str, container: str, authority: str, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    variables = {"AZURE_CLIENT_ID": "app-1", "AZURE_TENANT_ID": "tenant-1", "AZURE_CLIENT_SECRET": SECRET}
    variables |= {"AZURE_STORAGE_ENDPOINT": account, "AZURE_AUTHORITY_HOST": authority}
    done = use(f"abfss://{container}@{ACCOUNT}.dfs.core.windows.net/lake", certificate[0], **variables)
    assert (done.returncode, done.stderr) == (0, "")
    requests = asked(tmp_path)
    assert clients(requests) == {"azsdk", "object_store"}
    for request in requests:
        assert request["path"] == "/tenant-1/oauth2/v2.0/token"
        assert "client_id=app-1" in request["body"] and f"client_secret={SECRET}" in request["body"]


def test_a_wrong_client_secret_is_told_and_not_shown(
    account: str, container: str, authority: str, certificate: tuple[Path, Path]
) -> None:
    variables = {"AZURE_CLIENT_ID": "app-1", "AZURE_TENANT_ID": "tenant-1", "AZURE_CLIENT_SECRET": f"wrong-{SECRET}"}
    variables |= {"AZURE_STORAGE_ENDPOINT": account, "AZURE_AUTHORITY_HOST": authority}
    done = use(f"abfss://{container}@{ACCOUNT}.dfs.core.windows.net/lake", certificate[0], **variables)
    assert done.returncode == 1 and done.stderr.startswith("RequestError: ") and done.stderr.count("\n") == 1
    assert "AZURE_CLIENT_SECRET" in done.stderr and SECRET not in done.stderr


def test_a_workload_identity(
    account: str, container: str, authority: str, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "federated").write_text("federated-token")
    variables = {"AZURE_CLIENT_ID": "app-1", "AZURE_TENANT_ID": "tenant-1"}
    variables |= {"AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "federated")}
    variables |= {"AZURE_STORAGE_ENDPOINT": account, "AZURE_AUTHORITY_HOST": authority}
    done = use(f"abfss://{container}@{ACCOUNT}.dfs.core.windows.net/lake", certificate[0], **variables)
    assert (done.returncode, done.stderr) == (0, "")
    requests = asked(tmp_path)
    assert clients(requests) == {"azsdk", "object_store"}
    assert all("client_assertion=federated-token" in request["body"] for request in requests)


@pytest.mark.parametrize("user_assigned", [False, True], ids=["of-the-system", "user-assigned"])
@pytest.mark.parametrize("service", ["virtual-machine", "app-service"])
def test_a_managed_identity(
    account: str,
    container: str,
    machine: str,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    service: str,
    user_assigned: bool,
) -> None:
    if service == "app-service":
        variables = {"IDENTITY_ENDPOINT": f"{machine}/msi/token", "IDENTITY_HEADER": SECRET}
    else:
        variables = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": machine}
    variables |= {"AZURE_CLIENT_ID": "identity-1"} if user_assigned else {}
    done = use(
        f"abfss://{container}/lake",
        certificate[0],
        AZURE_STORAGE_ACCOUNT_NAME=ACCOUNT,
        AZURE_STORAGE_ENDPOINT=account,
        **variables,
    )
    assert (done.returncode, done.stderr) == (0, "")
    requests = asked(tmp_path)
    assert clients(requests) == {"azsdk", "object_store"}
    for request in requests:
        assert "storage.azure.com" in request["path"] and ("client_id=identity-1" in request["path"]) == user_assigned


@pytest.mark.parametrize("how", ["key", "connection-string", "signature", "connection-string-with-signature"])
def test_keys_and_signatures(account: str, container: str, certificate: tuple[Path, Path], how: str) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    allowed = ContainerSasPermissions(read=True, write=True, delete=True, list=True, create=True)
    signature = generate_container_sas(ACCOUNT, container, account_key=ACCOUNT_KEY, permission=allowed, expiry=later)
    named = f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};BlobEndpoint={account};"
    apart = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ENDPOINT": account}
    variables = {
        "key": {**apart, "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY},
        "connection-string": {"AZURE_STORAGE_CONNECTION_STRING": f"{named}AccountKey={ACCOUNT_KEY};"},
        "signature": {**apart, "AZURE_STORAGE_SAS_TOKEN": signature},
        "connection-string-with-signature": {
            "AZURE_STORAGE_CONNECTION_STRING": f"{named}SharedAccessSignature={signature}"
        },
    }[how]
    done = use(f"abfss://{container}/lake", certificate[0], **variables)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unsigned_request_is_refused(account: str, container: str, certificate: tuple[Path, Path]) -> None:
    """The server does check: with nothing but a wrong signature nobody gets in, and the signature is not shown."""
    expired = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    signature = generate_container_sas(
        ACCOUNT, container, account_key=ACCOUNT_KEY, permission=BlobSasPermissions(read=True), expiry=expired
    )
    done = use(
        f"abfss://{container}/lake",
        certificate[0],
        AZURE_STORAGE_ACCOUNT_NAME=ACCOUNT,
        AZURE_STORAGE_ENDPOINT=account,
        AZURE_STORAGE_SAS_TOKEN=signature,
    )
    assert done.returncode == 1 and done.stderr.startswith("RequestError: ") and done.stderr.count("\n") == 1
    assert "sig=" not in done.stderr and signature.rpartition("sig=")[2] not in done.stderr
