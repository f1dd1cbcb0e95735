"""docker-compose.yaml as Docker reads it: variables filled in, services as mappings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yaml"
# ${NAME}, ${NAME:-default}, ${NAME:?message}; $$ is a dollar that is meant.
VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}")


def fill(value: Any, variables: Mapping[str, str]) -> Any:
    """The value with its variables filled in.

    Raises:
        KeyError: for one that is required and not there.
    """
    if isinstance(value, dict):
        return {key: fill(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, variables) for inner in value]
    return VARIABLE.sub(lambda match: _value(match, variables), value) if isinstance(value, str) else value


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    known = variables.get(match["name"])
    if match["kind"] == ":-":
        return known or match["rest"]
    if not known:
        raise KeyError(match["name"])
    return known


def read_env(text: str) -> dict[str, str]:
    """An .env file; a value may use the names above it."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, mark, value = line.partition("=")
        if mark and not line.startswith("#"):
            found[name] = fill(value, found)
    return found


def services(variables: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """All services, whatever their profile; with their variables filled in, if some are given."""
    found = yaml.safe_load(FILE.read_text())["services"]
    return fill(found, variables) if variables is not None else found
