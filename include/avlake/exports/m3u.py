"""Playlists, for listening: `<table>.m3u8` beside the files as they were delivered, in `media/`.

One entry a row; VLC plays a window's part only (#EXTVLCOPT), other players the whole file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from avlake.exports.recording import Recording
from avlake.exports.recordings import Recordings

HEAD = "#EXTM3U"
TITLE = ("subject_id", "gender", "label", "value", "split", "reject_reason")  # columns worth hearing about


def write(recordings: Recordings, folder: Path) -> None:
    (folder / "media").mkdir()
    name = recordings.table.partition(".")[2]
    with (folder / f"{name}.m3u8").open("w", encoding="utf-8") as playlist:
        playlist.write(f"{HEAD}\n")
        for recording in recordings:
            recording.save(folder / "media" / recording.name)
            for row in recording.rows:
                playlist.writelines(f"{line}\n" for line in _of(recording, row))


def playlist(entries: Iterable[Sequence[str]]) -> bytes:
    """A whole playlist of what `entry` gave."""
    return "".join(f"{line}\n" for lines in ([HEAD], *entries) for line in lines).encode()


def entry(
    file: str, title: Sequence[str], length_s: float | None, span: tuple[float, float] | None = None
) -> list[str]:
    """The lines of one entry.

    Args:
        file: relative to the playlist.
        title: its parts; line ends in them become spaces.
        span: start and end in seconds of the part to play; None: all of it.
    """
    lines = [f"#EXTINF:{-1 if length_s is None else round(length_s)},{' '.join(' | '.join(title).split())}"]
    if span:
        lines += [f"#EXTVLCOPT:start-time={span[0]:.3f}", f"#EXTVLCOPT:stop-time={span[1]:.3f}"]
    return [*lines, file]


def _of(recording: Recording, row: dict[str, Any]) -> list[str]:
    span = recording.span(row)
    lists = [name for name in TITLE if isinstance(row.get(name), list)]  # of a track: as many as it has faces
    title = [recording.path, *(str(row[name]) for name in TITLE if row.get(name) is not None and name not in lists)]
    if span:
        title.append(f"{span[0]:.1f}-{span[1]:.1f} s")
    length_s = span[1] - span[0] if span else recording.facts["duration_s"]
    return entry(f"media/{recording.name}", title, length_s, span)
