"""Playlists: entries, titles and files."""

from __future__ import annotations

from pathlib import Path

from shelf import NAMES, TABLE, Exported, delivered

from avlake.settings import Settings


def entries(folder: Path) -> list[list[str]]:
    """The lines of each entry, its file last."""
    (playlist,) = folder.glob("*.m3u8")
    head, *lines = playlist.read_text(encoding="utf-8").splitlines()
    assert head == "#EXTM3U"
    found: list[list[str]] = [[]]
    for line in lines:
        found[-1].append(line)
        if not line.startswith("#"):
            found.append([])
    return found[:-1]


def test_an_entry_has_a_length_a_title_and_a_file(shelf: Settings, exported: Exported) -> None:
    folder = exported(shelf, TABLE, "m3u")
    second, first = entries(folder)
    assert first[0] == f'#EXTINF:1,{NAMES["odd"]} | a "b", c | test'
    assert (folder / first[-1]).read_bytes() == delivered(shelf, NAMES["odd"])
    assert (folder / second[-1]).read_bytes() == delivered(shelf, NAMES["empty split"])


def test_windows_say_where_to_start_and_stop(voices: Settings, exported: Exported) -> None:
    folder = exported(voices, "gold.gender_windows", "m3u")
    found = entries(folder)
    assert len(found) > len(list((folder / "media").iterdir())) == 24
    for title, start, stop, file in found:
        assert title.startswith("#EXTINF:") and (folder / file).is_file()
        start_s, stop_s = (float(line.partition("-time=")[2]) for line in (start, stop))
        assert 0 <= start_s < stop_s and f"{start_s:.1f}-{stop_s:.1f} s" in title


def test_no_rows_are_an_empty_playlist(shelf: Settings, exported: Exported) -> None:
    assert entries(exported(shelf, TABLE, "m3u", where="false")) == []
