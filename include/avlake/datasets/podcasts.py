"""Podcasts: whole episodes, as their feeds deliver them.

Origin    any feed; an episode is one file.
Licence   each episode's own.
Layout    <episode>.mp3, in folders or not
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from avlake.datasets.base import BronzeFile, Dataset, Label, Source
from avlake.datasets.sources import FolderSource
from avlake.settings import Settings


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
    is_media=lambda path: path.lower().endswith(".mp3"),
)
