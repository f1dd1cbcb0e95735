"""Podcasts: whole episodes, as their feeds deliver them.

Origin    any feed; an episode is one file, minutes to hours long.
Licence   each episode's own.
Layout    <episode>.mp3, in folders or not; .m4a, .ogg, .opus, .flac, .wav and others are taken as well
Drops     the dated folder that episodes lie in (landing).

Quirks
- An episode's name says nothing that may be relied on; its tags are not read. So there are no labels but people's.
- A download that failed leaves a file of no bytes: it is an episode, and is quarantined.
- The picture on an episode's cover is a stream of video in its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from avlake.datasets.base import BronzeFile, Dataset, Label, Source
from avlake.datasets.sources import FolderSource
from avlake.media.media_types import is_recording
from avlake.settings import Settings


def is_media(path: str) -> bool:
    """Is this an episode?"""
    return is_recording(path, "audio")


def labels(files: Iterable[BronzeFile], read: Callable[[str], bytes]) -> Iterator[Label]:
    """None: an episode says nothing of itself."""
    yield from ()


def open_source(uri: str, settings: Settings) -> Source:
    """A landing folder or object-store prefix."""
    return FolderSource(uri, "podcasts", settings)


PODCASTS = Dataset(
    name="podcasts",
    licence="each episode's own",
    open_source=open_source,
    labels=labels,
    label_files=lambda path: False,
    is_media=is_media,
)
