"""Podcasts: which files of a drop are episodes."""

from __future__ import annotations

import pytest

from avlake.datasets.podcasts import PODCASTS


@pytest.mark.parametrize(
    ("path", "episode"),
    [
        ("episode.mp3", True),
        ("show/2026/EPISODE 1.MP3", True),
        ("a.m4a", True),
        ("a.ogg", True),
        ("a.opus", True),
        ("a.flac", True),
        ("a.wav", True),
        ("._episode.mp3", False),
        ("show/._episode.mp3", False),
        ("episode.mp3.part", False),
        ("episode.mp4", False),
        ("cover.jpg", False),
        ("mp3", False),
        ("notes.txt", False),
    ],
)
def test_an_episode_is_a_file_of_audio(path: str, episode: bool) -> None:
    assert PODCASTS.is_media(path) is episode
    assert not PODCASTS.label_files(path) and not (PODCASTS.opens(path))


def test_archives_are_opened_and_parquet_files_are_not() -> None:
    assert PODCASTS.opens("season1.tar.gz") and not PODCASTS.opens("season1.parquet")
