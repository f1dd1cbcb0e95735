"""AVA-ActiveSpeaker: films in which every face is boxed and labelled: does it speak, and is it heard? STUB."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from avlake.datasets.base import Annotation, BronzeFile, Dataset, Label, Source
from avlake.datasets.sources import FolderSource
from avlake.media.media_types import is_recording
from avlake.settings import Settings


def is_media(path: str) -> bool:
    """Is this a video?"""
    return is_recording(path, "video")


def is_label_file(path: str) -> bool:
    """Is this a CSV of annotations?"""
    return path.lower().endswith(".csv")


def labels(files: Iterable[BronzeFile], read: Callable[[str], bytes]) -> Iterator[Label]:
    yield from ()


def annotated_boxes(files: Iterable[BronzeFile], read: Callable[[str], bytes]) -> Iterator[Annotation]:
    yield from ()


def open_source(uri: str, settings: Settings) -> Source:
    """A landing folder or object-store prefix."""
    return FolderSource(uri, "ava", settings)


AVA = Dataset(
    name="ava",
    licence="CC-BY-4.0 (annotations); films: their makers'",
    open_source=open_source,
    labels=labels,
    label_files=is_label_file,
    is_media=is_media,
    labels_whole_drop=True,
    annotations=annotated_boxes,
)
