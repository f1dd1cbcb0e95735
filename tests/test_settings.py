"""Settings come from AVLAKE_* variables, and a wrong one names itself."""

from __future__ import annotations

import pytest

from avlake.errors import RequestError
from avlake.settings import load_settings


def test_environment_overrides_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLAKE_URI", "s3://bucket/lake")
    monkeypatch.setenv("AVLAKE_JOBS", "3")
    settings = load_settings()
    assert (settings.uri, settings.jobs) == ("s3://bucket/lake", 3)


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLAKE_URI", "")
    assert load_settings().uri.endswith(".avlake/lake")


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLAKE_JOBS", "many")
    with pytest.raises(RequestError, match="AVLAKE_JOBS"):
        load_settings()
