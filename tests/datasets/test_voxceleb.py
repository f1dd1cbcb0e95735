"""The VoxCeleb2 layout: who speaks in which video, read from paths by Python and by DuckDB alike."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avlake.datasets.base import BronzeFile
from avlake.datasets.voxceleb import LAYOUT, is_media, labels, place_of

PATHS = {
    "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4": ("id00012", "21Uxsk56VDQ"),
    "mp4/id00012/-_a b/7.mkv": ("id00012", "-_a b"),
    "vox2_dev.zip/dev/mp4/id1/v/00001.MPG": ("id1", "v"),
    "mp4/mp4/id1/v/1.webm": ("id1", "v"),
    "mp4/mp4/v/1.avi": ("mp4", "v"),
    "mp4/id1/v/1.MTS": ("id1", "v"),
    "mp4/id1/v/1.rmvb": ("id1", "v"),
    "._dev/mp4/id1/v/1.mp4": ("id1", "v"),
    "dev/aac/id1/v/00001.m4a": None,
    "dev/mp4/id1/00001.mp4": None,
    "dev/mp4/id1/v/w/00001.mp4": None,
    "dev/xmp4/id1/v/00001.mp4": None,
    "dev/mp4/id1/v/00001.mp4.txt": None,
    "dev/mp4//v/00001.mp4": None,
    "dev/mp4/id1/v/.mp4": None,
    "dev/mp4/id1/v/00001.mp4\n": None,
    "README": None,
}


def by_duckdb(path: str) -> tuple[str, str] | None:
    with duckdb.connect() as con:
        found = con.execute(
            f"""SELECT regexp_matches($1, '{LAYOUT}', 'i'), regexp_extract($1, '{LAYOUT}', 1, 'i'),
            regexp_extract($1, '{LAYOUT}', 2, 'i')""",
            [path],
        ).fetchall()[0]
    return (found[1], found[2]) if found[0] else None


@pytest.mark.parametrize(("path", "place"), PATHS.items(), ids=map(repr, PATHS))
def test_a_path_says_who_and_from_what(path: str, place: tuple[str, str] | None) -> None:
    assert place_of(path) == place == by_duckdb(path)
    assert is_media(path) == (place is not None)


@given(
    st.lists(st.sampled_from(["mp4", "dev", "id1", "", ".", "ſ", "K", "a b", "x\ny", "1.mp4", "1.MKV", "2.ts\n"])).map(
        "/".join
    )
)
def test_python_and_duckdb_read_any_path_alike(path: str) -> None:
    assert place_of(path) == by_duckdb(path)


def test_what_macos_lays_beside_a_clip_is_none() -> None:
    assert place_of("mp4/id1/v/._00001.mp4") and not is_media("mp4/id1/v/._00001.mp4")


def test_a_clips_label_is_its_video_and_its_subject_the_speaker() -> None:
    files = [BronzeFile(path, path, "", "") for path in PATHS]
    found = {label.file_id: label for label in labels(files, lambda sha256: b"")}
    assert found.keys() == {path for path, place in PATHS.items() if place}
    for path, label in found.items():
        assert (label.subject_id, label.value) == PATHS[path] and label.name == "video" and label.source == path
