"""Dated folders as a source: what is a drop, what is delivered, what is not looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avlake.datasets.sources import FolderSource
from avlake.errors import RequestError
from avlake.settings import load_settings

DROP = "2026-09-01"


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    for name in (
        f"{DROP}/b.tgz",
        f"{DROP}/a/x.wav",
        "2026-09-02/c.tgz",
        "2026-02-30/no.tgz",
        "notes/no.tgz",
        "20260901/no",
    ):
        path = tmp_path / "landing/voxforge" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "landing/other/2026-09-09").mkdir(parents=True)
    return tmp_path / "landing"


def opened(path: Path) -> FolderSource:
    return FolderSource(str(path), "voxforge", load_settings())


def names(source: FolderSource, drop: str = DROP) -> list[str]:
    return [entry.path for entry in source.entries(drop)]


def test_landing_dataset_folder_and_single_drop_are_all_sources(landing: Path) -> None:
    assert opened(landing).drops() == opened(landing / "voxforge").drops() == [DROP, "2026-09-02"]
    assert opened(landing / "voxforge" / DROP).drops() == [DROP]
    for folder in (landing, landing / "voxforge", landing / "voxforge" / DROP):
        assert names(opened(folder)) == ["a/x.wav", "b.tgz"]


def test_a_drop_that_is_not_there_has_no_entries(landing: Path) -> None:
    assert opened(landing).entries("2031-01-01") == []


def test_a_folder_that_is_not_there_is_a_wrong_request(landing: Path) -> None:
    with pytest.raises(RequestError, match="no folder"):
        opened(landing / "nowhere")


def test_entries_carry_size_and_version_and_are_fetched_in_place(landing: Path, tmp_path: Path) -> None:
    source = opened(landing)
    entry = source.entries(DROP)[1]
    assert entry.size_bytes == len(f"{DROP}/b.tgz")
    assert source.fetch(entry, tmp_path).read_bytes() == f"{DROP}/b.tgz".encode()
    path = landing / "voxforge" / DROP / "b.tgz"
    path.write_bytes(b"another " + path.read_bytes()[8:])
    os.utime(path, ns=(0, 1))
    assert source.entries(DROP)[1].version not in ("", entry.version)


def test_hidden_and_temporary_files_are_not_delivered_yet(landing: Path) -> None:
    folder = landing / "voxforge" / DROP
    for name in (".DS_Store", ".nfs01", "b.tgz.part", "c.tgz.tmp", "d.tgz~", "e.crdownload"):
        (folder / name).write_bytes(b"x")
    (folder / ".hidden").mkdir()
    (folder / ".hidden/x.wav").write_bytes(b"x")
    assert names(opened(landing)) == ["a/x.wav", "b.tgz"]


def test_names_that_no_table_can_hold_are_ignored(landing: Path) -> None:
    folder = os.fsencode(landing / "voxforge" / DROP)
    for name in (b"latin-\xe9.wav", b"line\nbreak.wav", "fine-é.wav".encode()):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"x")
    assert names(opened(landing)) == ["a/x.wav", "b.tgz", "fine-é.wav"]


def test_links_count_only_inside_the_source(landing: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_bytes(b"secret")
    folder = landing / "voxforge" / DROP
    (folder / "leaves").symlink_to(tmp_path / "secret/key")
    (folder / "leaves-folder").symlink_to(tmp_path / "secret")
    (folder / "dangling").symlink_to(tmp_path / "nothing")
    (folder / "stays").symlink_to(landing / "voxforge/2026-09-02/c.tgz")
    (folder / "loop").symlink_to(folder)
    (landing / "voxforge/2026-09-03").symlink_to(tmp_path / "secret")
    source = opened(landing)
    assert names(source) == ["a/x.wav", "b.tgz", "stays"]
    assert source.drops() == [DROP, "2026-09-02"]
