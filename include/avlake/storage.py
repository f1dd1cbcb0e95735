"""A URI becomes a filesystem and Delta options: the only module that knows credentials.

`file`, `s3` and `abfs[s]` behave alike behind `Store`. Credentials are the clouds' own variables (AWS_*,
AZURE_STORAGE_*, AZURE_CLIENT_ID/TENANT_ID/CLIENT_SECRET); `credentials` overrides them (an Airflow connection) and
is never logged.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

from avlake.errors import RequestError
from avlake.store_errors import explain as explain

S3_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL")
AZURE_VARIABLES = (
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_SECRET",
)


@dataclass(frozen=True)
class Store:
    """A folder, bucket prefix or container prefix. Relative names use `/` and never leave `uri`."""

    uri: str
    fs: Any = field(repr=False)
    root: str
    delta_options: dict[str, str] = field(repr=False)
    endpoint: str | None = None

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the store's libraries raise into one clear error; see `avlake.store_errors`."""
        try:
            yield
        except Exception as error:
            if told := explain(error, self.uri, self.endpoint):
                raise told from None  # its cause may hold a token
            raise

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def path(self, name: str = "") -> str:
        """The filesystem's own path of a relative name."""
        if ".." in name.split("/"):
            raise RequestError(f"{name!r} leaves {self.uri}")
        return f"{self.root}/{name}" if name else self.root

    def uri_of(self, name: str) -> str:
        return f"{self.uri.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        with self.explained():
            return bool(self.fs.exists(self.path(name)))

    def open(self, name: str) -> IO[bytes]:
        """Open for reading, seekable."""
        with self.explained():
            return self.fs.open(self.path(name), "rb")

    def read(self, name: str) -> bytes:
        """The whole object.

        Raises:
            FileNotFoundError: if there is none.
        """
        with self.explained():
            return self.fs.cat_file(self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """Write whole or not at all: a single PUT, or a temporary file and a rename in a folder."""
        with self.explained():
            if not self.is_local:
                self.fs.pipe_file(self.path(name), data)
                return
            with _beside(Path(self.path(name))) as temporary:
                temporary.write_bytes(data)

    def upload(self, source: Path, name: str) -> None:
        """Copy a local file of any size to `name`, whole or not at all."""
        with self.explained():
            if not self.is_local:
                self.fs.put_file(str(source), self.path(name))
                return
            with _beside(Path(self.path(name))) as temporary:
                self.fs.put_file(str(source), str(temporary))

    @contextlib.contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        """A path on this machine with the bytes of one file: itself, or a temporary download."""
        if self.is_local:
            yield Path(self.path(name))
            return
        with tempfile.TemporaryDirectory(prefix="avlake-") as folder:
            target = Path(folder) / Path(name).name
            with self.explained():
                self.fs.get_file(self.path(name), str(target))
            yield target

    def list(self, name: str = "") -> list[str]:
        """Names of all files below `name`, sorted, relative to the store; empty if there is no such folder."""
        start = len(self.path().rstrip("/")) + 1
        try:
            with self.explained():
                return sorted(p[start:] for p in self.fs.find(self.path(name)))
        except FileNotFoundError:
            return []

    def delete(self, name: str) -> None:
        """Remove a file or a folder with all it holds; missing is fine."""
        try:
            with self.explained():
                self.fs.rm(self.path(name), recursive=True)
        except FileNotFoundError:
            return


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary name that becomes `path` when all went well, and leaves nothing when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def open_store(uri: str, credentials: Mapping[str, str] | None = None) -> Store:
    """Open a folder path, `file://`, `s3://bucket/prefix` or `abfs[s]://container@account.dfs.core.windows.net/prefix`.

    Raises:
        RequestError: for any other kind of URI.
    """
    env = {**os.environ, **(credentials or {})}
    parts = urlsplit(uri)
    # The listings cache of fsspec would hide what another task has just written.
    if parts.scheme in ("", "file"):
        root = str(Path(parts.path if parts.scheme else uri).expanduser().resolve())
        return Store(root, fsspec.filesystem("file", use_listings_cache=False), root, {})
    if parts.scheme in ("s3", "s3a"):
        return _open_s3(parts.netloc, parts.path.strip("/"), env)
    if parts.scheme in ("abfs", "abfss", "az"):
        return _open_azure(uri, parts, env)
    raise RequestError(f"{uri}: cannot open {parts.scheme}://; use a folder, s3:// or abfss://")


def _open_s3(bucket: str, prefix: str, env: Mapping[str, str]) -> Store:
    given = {name: env[name] for name in S3_VARIABLES if env.get(name)}
    given.setdefault("AWS_REGION", env.get("AWS_DEFAULT_REGION") or "us-east-1")
    options = dict(given)
    endpoint = given.get("AWS_ENDPOINT_URL")
    if endpoint and endpoint.startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    fs = fsspec.filesystem(
        "s3",
        key=given.get("AWS_ACCESS_KEY_ID"),
        secret=given.get("AWS_SECRET_ACCESS_KEY"),
        token=given.get("AWS_SESSION_TOKEN"),
        client_kwargs={"region_name": given["AWS_REGION"]},
        endpoint_url=endpoint,
        use_listings_cache=False,
    )
    root = f"{bucket}/{prefix}".rstrip("/")
    return Store(f"s3://{root}", fs, root, options)


def _open_azure(uri: str, parts: Any, env: Mapping[str, str]) -> Store:
    container, _, host = parts.netloc.rpartition("@")
    container = container or host
    account = host.split(".")[0] if "." in host else env.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise RequestError(
            f"{uri}: name the account, abfss://container@account.dfs.core.windows.net/..., "
            "or set AZURE_STORAGE_ACCOUNT_NAME"
        )
    options = {name: env[name] for name in AZURE_VARIABLES if env.get(name)}
    options["AZURE_STORAGE_ACCOUNT_NAME"] = account
    options.pop("AZURE_STORAGE_CONNECTION_STRING", None)
    endpoint = options.pop("AZURE_STORAGE_ENDPOINT", None)
    connection = env.get("AZURE_STORAGE_CONNECTION_STRING")
    if endpoint:
        options["azure_storage_endpoint"] = endpoint
        if endpoint.startswith("http://"):
            options["azure_allow_http"] = "true"
        key = options.get("AZURE_STORAGE_ACCOUNT_KEY", "")
        connection = connection or (
            f"DefaultEndpointsProtocol={urlsplit(endpoint).scheme};AccountName={account};AccountKey={key};BlobEndpoint={endpoint};"
        )
    fs = fsspec.filesystem(
        "abfs",
        account_name=account,
        account_key=options.get("AZURE_STORAGE_ACCOUNT_KEY"),
        connection_string=connection,
        client_id=options.get("AZURE_CLIENT_ID"),
        tenant_id=options.get("AZURE_TENANT_ID"),
        client_secret=options.get("AZURE_CLIENT_SECRET"),
        use_listings_cache=False,
    )
    root = f"{container}/{parts.path.strip('/')}".rstrip("/")
    return Store(uri.rstrip("/"), fs, root, options)
