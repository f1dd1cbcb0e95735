"""S3 and Azure: a URI and the environment become an fsspec filesystem and Delta's options. Only here are credentials.

Both clients of a cloud get the same values, so that one never reaches what the other cannot. Azure's credential is the
first of: account key, SAS token, service principal (AZURE_CLIENT_ID, _TENANT_ID, _CLIENT_SECRET), workload identity
(AZURE_FEDERATED_TOKEN_FILE), managed identity (AZURE_CLIENT_ID alone names a user-assigned one).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

import fsspec

from avlake.errors import RequestError, WorkError

S3_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL")
AZURE_VARIABLES = (
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
)
SCHEMES = {"s3": "s3", "s3a": "s3", "abfs": "azure", "abfss": "azure", "az": "azure"}
AUTHORITY = "AZURE_AUTHORITY_HOST"  # where tokens are got, in other clouds than the public one
CONNECT_S = 5
COPY_S = 120  # the longest wait for a copy within a container, which takes Azure a moment


@dataclass(frozen=True)
class Patience:
    """How long to wait for a store: tries of a request, with growing pauses between, and the longest silence in one."""

    s3_tries: int
    azure_tries: int
    read_s: int


# A wrong address is told at once, but a store that restarts while a stage works is waited for: about a minute.
HASTY, PATIENT = Patience(s3_tries=1, azure_tries=2, read_s=5), Patience(s3_tries=9, azure_tries=7, read_s=30)
DELTA_PATIENCE = {
    "connect_timeout": f"{CONNECT_S}s",
    "timeout": "60s",
    "max_retries": "20",
    "retry_timeout": "60s",
    "backoff_config.init_backoff": "500ms",
}


@dataclass(frozen=True)
class Cloud:
    """`connect` makes a filesystem with more or less patience."""

    uri: str
    root: str
    endpoint: str
    connect: Callable[[Patience], Any] = field(repr=False)
    delta_options: dict[str, str] = field(repr=False)


def open_cloud(parts: SplitResult, env: Mapping[str, str], setting: str) -> Cloud:
    """`s3://bucket/prefix`, `abfs[s]://container@account.dfs.core.windows.net/prefix` or `abfs[s]://container/prefix`.

    Raises:
        RequestError: for a URI that holds a credential, or an impossible setting.
    """
    secret = parts.password or parts.query or (SCHEMES[parts.scheme] == "s3" and parts.username)
    if secret or not parts.netloc:
        raise RequestError(
            f"{parts.scheme}://{parts.hostname or ''}...: {setting} is a bucket or container and a prefix; "
            "credentials go into AWS_* or AZURE_* variables"
        )
    return (_s3 if SCHEMES[parts.scheme] == "s3" else _azure)(parts, env)


def _s3(parts: SplitResult, env: Mapping[str, str]) -> Cloud:
    options = {name: env[name] for name in S3_VARIABLES if env.get(name)}
    options.setdefault("AWS_REGION", env.get("AWS_DEFAULT_REGION") or "us-east-1")
    endpoint = _address("AWS_ENDPOINT_URL", options.get("AWS_ENDPOINT_URL"))
    if endpoint and endpoint.startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"

    def connect(patience: Patience) -> Any:
        fs = fsspec.filesystem(
            "s3",
            key=options.get("AWS_ACCESS_KEY_ID"),
            secret=options.get("AWS_SECRET_ACCESS_KEY"),
            token=options.get("AWS_SESSION_TOKEN"),
            client_kwargs={"region_name": options["AWS_REGION"]},
            config_kwargs={
                "connect_timeout": CONNECT_S,
                "read_timeout": patience.read_s,
                "retries": {"mode": "standard", "total_max_attempts": patience.s3_tries},
            },
            endpoint_url=endpoint,
            use_listings_cache=False,
        )
        fs.retries = 2  # on top of botocore's own: for a body that breaks off
        return fs

    root = f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
    region = options["AWS_REGION"]
    return Cloud(f"s3://{root}", root, endpoint or f"https://s3.{region}.amazonaws.com", connect, options)


def _azure(parts: SplitResult, env: Mapping[str, str]) -> Cloud:
    given = {name: env[name] for name in (*AZURE_VARIABLES, AUTHORITY) if env.get(name)}
    given |= _of_connection_string(given.pop("AZURE_STORAGE_CONNECTION_STRING", ""))
    container, _, host = parts.netloc.rpartition("@")
    if container:
        given["AZURE_STORAGE_ACCOUNT_NAME"] = host.split(".")[0]
    account = given.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise RequestError(
            f"{parts.geturl()}: name the account, abfss://container@account.dfs.core.windows.net/..., "
            "or set AZURE_STORAGE_ACCOUNT_NAME"
        )
    custom = _address("AZURE_STORAGE_ENDPOINT", given.pop("AZURE_STORAGE_ENDPOINT", None))
    endpoint = custom or f"https://{account}.blob.core.windows.net"
    options = dict(given)
    # Where azure-identity gets a managed identity's token; object_store knows only the address of virtual machines.
    if identity := env.get("IDENTITY_ENDPOINT"):
        options["azure_msi_endpoint"] = identity
    elif pods := env.get("AZURE_POD_IDENTITY_AUTHORITY_HOST"):
        options["azure_msi_endpoint"] = f"{pods.rstrip('/')}/metadata/identity/oauth2/token"
    if custom:
        options |= {"azure_storage_endpoint": custom, "azure_allow_http": str(custom.startswith("http://")).lower()}
    connect = functools.partial(_azure_filesystem(), account, endpoint, tuple(sorted(given.items())))
    root = f"{container or host}/{parts.path.strip('/')}".rstrip("/")
    return Cloud(parts.geturl().rstrip("/"), root, endpoint, connect, options)


def _of_connection_string(text: str) -> dict[str, str]:
    """The variables that say the same; deltalake reads no connection string."""
    fields = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    account, suffix = fields.get("AccountName"), fields.get("EndpointSuffix", "core.windows.net")
    endpoint = fields.get("BlobEndpoint")
    if account and not endpoint and suffix != "core.windows.net":
        endpoint = f"{fields.get('DefaultEndpointsProtocol', 'https')}://{account}.blob.{suffix}"
    found = {
        "AZURE_STORAGE_ACCOUNT_NAME": account,
        "AZURE_STORAGE_ACCOUNT_KEY": fields.get("AccountKey"),
        "AZURE_STORAGE_SAS_TOKEN": fields.get("SharedAccessSignature"),
        "AZURE_STORAGE_ENDPOINT": endpoint,
    }
    if text and not (account or endpoint):
        raise RequestError("AZURE_STORAGE_CONNECTION_STRING names neither AccountName nor BlobEndpoint; copy it whole")
    return {name: value for name, value in found.items() if value}


def _address(name: str, value: str | None) -> str | None:
    if value and not (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
        raise RequestError(f"{name} is no address; write it as https://host:port")
    return value.rstrip("/") if value else None


@functools.cache
def _azure_filesystem() -> Any:
    from adlfs import AzureBlobFileSystem
    from fsspec.asyn import sync_wrapper

    logging.getLogger("azure").setLevel(logging.ERROR)  # its warnings repeat what the error says, at greater length

    class Blobs(AzureBlobFileSystem):
        """adlfs with a client of our own: its own cannot be told how long to wait, nor which credential to take."""

        def __init__(self, account: str, endpoint: str, given: tuple[tuple[str, str], ...], patience: Patience) -> None:
            self._given, self._endpoint, self._patience = dict(given), endpoint, patience
            super().__init__(account_name=account, anon=True, use_listings_cache=False)

        def do_connect(self) -> None:
            from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

            times = self._patience.azure_tries - 1
            credential = _credential(self.account_name, self._endpoint, self._given)
            if hasattr(credential, "get_token"):
                self.credential = credential  # adlfs closes it
            self.service_client = BlobServiceClient(
                self._endpoint,
                credential=credential,
                connection_timeout=CONNECT_S,
                read_timeout=self._patience.read_s,
                retry_policy=ExponentialRetry(
                    initial_backoff=1,
                    increment_base=2,
                    random_jitter_range=1,
                    retry_total=times,
                    retry_connect=times,
                    retry_read=times,
                    retry_status=times,
                ),
            )

        async def _cp_file(self, path1: str, path2: str, **options: Any) -> None:
            """Azure copies in the background, and adlfs does not ask how that went."""
            await super()._cp_file(path1, path2, **options)
            container, name, _ = self.split_path(path2)
            async with self.service_client.get_blob_client(container, name) as blob:
                end = time.monotonic() + COPY_S
                while (copy := (await blob.get_blob_properties()).copy).status == "pending" and time.monotonic() < end:
                    await asyncio.sleep(0.2)
            if copy.status != "success":
                raise WorkError(f"Azure has not copied {path1} to {path2} ({copy.status}); run it again")

        cp_file = sync_wrapper(_cp_file)

    return Blobs


def _credential(account: str, endpoint: str, given: Mapping[str, str]) -> Any:
    """What azure-storage takes as a credential; see the top of this file for the order."""
    from azure.identity import aio

    client, tenant = given.get("AZURE_CLIENT_ID"), given.get("AZURE_TENANT_ID")
    if key := given.get("AZURE_STORAGE_ACCOUNT_KEY"):
        return {"account_name": account, "account_key": key}
    if token := given.get("AZURE_STORAGE_SAS_TOKEN"):
        return token.removeprefix("?")
    if endpoint.startswith("http://"):
        raise RequestError("AZURE_STORAGE_ENDPOINT is http://; set AZURE_STORAGE_ACCOUNT_KEY, or make it https://")
    if client and tenant and (secret := given.get("AZURE_CLIENT_SECRET")):
        # An authority of one's own is not in Microsoft's list of them.
        return aio.ClientSecretCredential(tenant, client, secret, disable_instance_discovery=AUTHORITY in given)
    if client and tenant and (file := given.get("AZURE_FEDERATED_TOKEN_FILE")):
        return aio.WorkloadIdentityCredential(tenant_id=tenant, client_id=client, token_file_path=file)
    return aio.ManagedIdentityCredential(client_id=client)
