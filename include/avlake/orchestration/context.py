"""A task's settings: the environment's, with the credentials of the Airflow connection `avlake_store`, if any."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from avlake.errors import RequestError
from avlake.settings import Settings, load_settings
from avlake.storage import AZURE_VARIABLES, S3_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

STORE = "avlake_store"


def task_settings() -> Settings:
    """Settings for the stage that this task calls.

    A connection replaces the cloud's own variables in this task's process, which ends with the task: that reaches
    Delta, fsspec and the measuring child alike, and is written nowhere.
    """
    try:
        connection = Connection.get(STORE)
    except AirflowNotFoundException:
        return load_settings()
    given = store_variables(connection)
    for name in S3_VARIABLES if connection.conn_type == "aws" else AZURE_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(given)
    return load_settings()


def store_variables(connection: Connection) -> Mapping[str, str]:
    """A connection of type aws or wasb as the variables that `avlake.storage.open_store` reads.

    The fields and extras are those of Airflow's own hooks. In wasb, with the extra `tenant_id`, login and password are
    a service principal's client and secret; without any secret it is the worker's managed identity.

    Raises:
        RequestError: for a connection of another type.
    """
    extra = connection.extra_dejson
    if connection.conn_type == "aws":
        found = {
            "AWS_ACCESS_KEY_ID": connection.login,
            "AWS_SECRET_ACCESS_KEY": connection.password,
            "AWS_SESSION_TOKEN": extra.get("aws_session_token"),
            "AWS_REGION": extra.get("region_name"),
            "AWS_ENDPOINT_URL": extra.get("endpoint_url"),
        }
    elif connection.conn_type == "wasb":
        found = {
            "AZURE_STORAGE_CONNECTION_STRING": extra.get("connection_string"),
            "AZURE_STORAGE_SAS_TOKEN": extra.get("sas_token"),
            "AZURE_STORAGE_ENDPOINT": connection.host if "://" in (connection.host or "") else None,
        }
        if tenant := extra.get("tenant_id"):
            found |= {
                "AZURE_STORAGE_ACCOUNT_NAME": _account(connection.host),
                "AZURE_CLIENT_ID": connection.login,
                "AZURE_CLIENT_SECRET": connection.password,
                "AZURE_TENANT_ID": tenant,
            }
        else:
            found |= {
                "AZURE_STORAGE_ACCOUNT_NAME": connection.login or _account(connection.host),
                "AZURE_STORAGE_ACCOUNT_KEY": connection.password or extra.get("shared_access_key"),
                "AZURE_CLIENT_ID": extra.get("managed_identity_client_id"),
            }
    else:
        raise RequestError(f"connection {STORE} is of type {connection.conn_type}; make it aws or wasb")
    return {name: value for name, value in found.items() if value}


def _account(host: str | None) -> str | None:
    """The account in `https://account.blob.core.windows.net`."""
    return host.removeprefix("https://").split(".")[0] if host else None
