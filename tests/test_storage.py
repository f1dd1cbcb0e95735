"""A store's names stay inside it, and a write is seen whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from avlake.errors import RequestError
from avlake.storage import open_store


def test_write_read_list_delete(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "lake"))
    store.write("a/b.json", b"1")
    store.write("a/b.json", b"2")
    store.write("c", b"3")
    assert store.read("a/b.json") == b"2"
    assert store.list() == ["a/b.json", "c"]
    store.delete("a")
    store.delete("a")
    assert store.list() == ["c"]
    assert not store.exists("a/b.json")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("note", b"old")
    with pytest.raises(TypeError):
        store.write("note", 5)  # type: ignore[arg-type]
    assert store.read("note") == b"old"


@pytest.mark.parametrize("name", ["../outside", "a/../../outside"])
def test_names_do_not_leave_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="leaves"):
        open_store(str(tmp_path / "lake")).write(name, b"")


def test_an_unknown_scheme_says_what_works() -> None:
    with pytest.raises(RequestError, match="s3:// or abfss://"):
        open_store("ftp://host/lake")


def test_credentials_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    assert "hush" not in repr(open_store("s3://bucket/lake", {"AWS_ACCESS_KEY_ID": "id"}))


def test_a_bucket_is_never_removed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody is asked
    with pytest.raises(RequestError, match="bucket"):
        open_store("s3://lake").delete("")
