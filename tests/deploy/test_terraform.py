"""The Azure side, read from its HCL: least role, least scope, nothing public, nothing secret."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import compose
import hcl2
import pytest
from hcl2.utils import SerializationOptions

from avlake.storage import AZURE_VARIABLES

FOLDER = compose.ROOT / "infra" / "azure"
FILES = sorted(FOLDER.glob("*.tf"))
OPTIONS = SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)


def load() -> dict[str, list[Any]]:
    merged: dict[str, list[Any]] = {}
    for path in FILES:
        with path.open() as file:
            for kind, blocks in hcl2.load(file, serialization_options=OPTIONS).items():
                merged.setdefault(kind, []).extend(blocks)
    return merged


PARSED = load()
RESOURCES = {kind: named for block in PARSED["resource"] for kind, named in block.items()}
VARIABLES = {name: body for block in PARSED["variable"] for name, body in block.items()}
OUTPUTS = {name: body for block in PARSED["output"] for name, body in block.items()}


def the(kind: str) -> dict[str, Any]:
    """The one resource of a kind."""
    (body,) = RESOURCES[kind].values()
    return body


def test_the_account_is_adls_and_opens_to_identities_only() -> None:
    account = the("azurerm_storage_account")
    assert account["is_hns_enabled"] is True
    assert account["account_kind"] == "StorageV2"
    assert account["min_tls_version"] == "TLS1_2"
    assert account["https_traffic_only_enabled"] is True
    assert account["allow_nested_items_to_be_public"] is False
    assert account["cross_tenant_replication_enabled"] is False
    assert account["default_to_oauth_authentication"] is True
    assert account["shared_access_key_enabled"] == "${var.shared_access_key_enabled}"
    assert VARIABLES["shared_access_key_enabled"]["default"] is False
    assert the("azurerm_storage_container")["container_access_type"] == "private"
    assert account["lifecycle"][0]["prevent_destroy"] is True


def test_the_identity_has_the_least_role_on_containers_alone() -> None:
    (containers,) = (block["containers"] for block in PARSED["locals"])
    assert containers == {"lake": "Storage Blob Data Contributor", "landing": "Storage Blob Data Reader"}
    role = the("azurerm_role_assignment")
    assert role["for_each"] == the("azurerm_storage_container")["for_each"] == "${local.containers}"
    assert role["role_definition_name"] == "${each.value}"
    assert role["scope"] == "${azurerm_storage_container.this[each.key].id}"
    assert role["principal_id"] == "${azurerm_user_assigned_identity.this.principal_id}"
    # With the account's name in its place, a container's id would be an address, which is no scope of a role.
    assert the("azurerm_storage_container")["storage_account_id"] == "${azurerm_storage_account.this.id}"


def test_versions_are_pinned() -> None:
    (terraform,) = PARSED["terraform"]
    (providers,) = terraform["required_providers"]
    assert {name: provider["source"] for name, provider in providers.items()} == {"azurerm": "hashicorp/azurerm"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", providers["azurerm"]["version"])
    assert "<" in terraform["required_version"]


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_variables_are_described_typed_and_checked(name: str) -> None:
    variable = VARIABLES[name]
    assert variable["description"].endswith(".") and variable["type"]
    if variable["type"] == "string":
        assert f"var.{name}" in variable["validation"][0]["condition"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("subscription_id", "00000000-1111-2222-3333-0123456789ab", "my subscription"),
        ("resource_group_name", "av.lake-1", "avlake."),
        ("location", "westeurope", "West Europe"),
        ("storage_account_name", "avlake01", "av-lake"),
        ("storage_account_name", "abc", "a" * 25),
    ],
)
def test_validations_let_the_right_through(name: str, good: str, bad: str) -> None:
    (pattern,) = re.findall(r'regex\("(.*)", var', VARIABLES[name]["validation"][0]["condition"])
    assert re.search(pattern, good)
    assert not re.search(pattern, bad)


def test_outputs_are_lines_of_the_env_file() -> None:
    lines = [line.strip() for line in OUTPUTS["env"]["value"].splitlines()[1:-1]]
    values = dict(line.split("=", 1) for line in lines)
    assert values["COMPOSE_PROFILES"] == ""
    for name, container in (("AVLAKE_URI", "lake"), ("AVLAKE_LANDING", "landing")):
        host = "${azurerm_storage_account.this.primary_dfs_host}"
        assert values[name] == f'abfss://${{azurerm_storage_container.this["{container}"].name}}@{host}'
    known = set(re.findall(r"^#?(\w+)=", (compose.ROOT / ".env.example").read_text(), re.MULTILINE))
    assert set(values) <= known
    assert {name for name in values if name.startswith("AZURE_")} <= set(AZURE_VARIABLES)


def test_nothing_is_secret() -> None:
    text = "".join(path.read_text() for path in FILES)
    assert not re.search(r"password|secret|primary_access_key|connection_string|sas_token", text, re.IGNORECASE)
    assert not re.search(r"\b[A-Za-z0-9+/]{40,}={0,2}\b", text)


@pytest.mark.skipif(not shutil.which("terraform"), reason="no terraform here")
def test_it_is_formatted() -> None:
    done = subprocess.run(["terraform", "fmt", "-check", "-diff", FOLDER], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
