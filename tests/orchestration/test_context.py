"""The Airflow connection `avlake_store` as the variables that the lake reads."""

import os

import pytest
from airflow.sdk import Connection

from avlake.errors import RequestError
from avlake.orchestration.context import store_variables, task_settings
from avlake.storage import AZURE_VARIABLES


def test_aws():
    connection = Connection(
        conn_id="avlake_store",
        conn_type="aws",
        login="id",
        password="secret",
        extra='{"region_name": "eu-west-1", "endpoint_url": "http://127.0.0.1:9000"}',
    )
    assert store_variables(connection) == {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
    }


def test_azure_account_key():
    connection = Connection(conn_id="avlake_store", conn_type="wasb", login="account", password="key")
    assert store_variables(connection) == {
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": "key",
    }


def test_azure_service_principal():
    connection = Connection(
        conn_id="avlake_store",
        conn_type="wasb",
        host="https://account.blob.core.windows.net",
        login="client",
        password="secret",
        extra='{"tenant_id": "tenant"}',
    )
    assert store_variables(connection) == {
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_CLIENT_ID": "client",
        "AZURE_CLIENT_SECRET": "secret",
        "AZURE_TENANT_ID": "tenant",
        "AZURE_STORAGE_ENDPOINT": "https://account.blob.core.windows.net",
    }


def test_azure_managed_identity():
    connection = Connection(
        conn_id="avlake_store",
        conn_type="wasb",
        host="account.blob.core.windows.net",
        extra='{"managed_identity_client_id": "client"}',
    )
    assert store_variables(connection) == {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_CLIENT_ID": "client"}


def test_the_connection_replaces_what_the_environment_says(monkeypatch):
    """In a task: the store is opened with what the connection holds, and with nothing else."""
    for name in AZURE_VARIABLES:
        monkeypatch.setenv(name, "the environment's")
    monkeypatch.setenv("AIRFLOW_CONN_AVLAKE_STORE", '{"conn_type": "wasb", "login": "account", "password": "key"}')
    monkeypatch.setenv("AVLAKE_URI", "abfss://lake@account.dfs.core.windows.net")
    task_settings()
    assert {name: value for name, value in os.environ.items() if name in AZURE_VARIABLES} == {
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": "key",
    }


def test_another_type_is_refused():
    with pytest.raises(RequestError, match="aws or wasb"):
        store_variables(Connection(conn_id="avlake_store", conn_type="ftp"))
