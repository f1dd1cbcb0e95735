"""VoxCeleb2: celebrities speaking in interviews, cut from YouTube: a face and its voice in each clip.

Origin    https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html (Chung, Nagrani, Zisserman 2018): 1,128,246 clips of
          150,480 videos of 6,112 speakers; 25 fps and 224 x 224 as published, 8 s on average.
Licence   CC BY 4.0 for the annotations; the clips are YouTube's and their makers'.
Layout    [dev/ or test/]mp4/<speaker>/<video>/<clip>.<mp4 or any other video>
Drops     the dated folder that clips lie in (landing).

Quirks
- <clip> is a number within <video> that need not start at 0; one speaker has many videos, a video one speaker.
- Releases of others in the same layout are .mkv, .mpg, .webm or .avi, and may lack audio, or show no face.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from avlake.datasets.base import BronzeFile, Dataset, Label, Source
from avlake.datasets.sources import FolderSource
from avlake.settings import Settings

# Read by Python's `re` and by DuckDB's RE2 alike. First the endings of files of video.
VIDEOS = "mp4|m4v|mov|mkv|webm|avi|mpg|mpeg|mpe|m2v|ts|mts|m2ts|vob|3gp|wmv|asf|flv|f4v|ogv|ogm|mxf|divx|rm|rmvb"
LAYOUT = rf"^(?:[^/]+/)*?mp4/([^/]+)/([^/]+)/([^/]+)\.(?:{VIDEOS})$"
MAC = r"(?:^|/)\._[^/]*$"  # macOS lays a file of its own beside each
_CLIP = re.compile(LAYOUT, re.IGNORECASE)
_MAC = re.compile(MAC)


class Place(NamedTuple):
    """Who speaks in a clip, and the video that it was cut from."""

    speaker: str
    video: str


def place_of(path: str) -> Place | None:
    """What a path in the layout says; None for one that is not in it."""
    match = _CLIP.fullmatch(path)
    return Place(match[1], match[2]) if match else None


def is_media(path: str) -> bool:
    """Is this a clip?"""
    return place_of(path) is not None and not _MAC.search(path)


def labels(files: Iterable[BronzeFile], read: Callable[[str], bytes]) -> Iterator[Label]:
    """One row for each clip: `video`, its source video; the speaker is its subject."""
    for file in sorted(files, key=lambda file: file.path):
        if is_media(file.path) and (place := place_of(file.path)):
            yield Label(file.file_id, place.speaker, "video", place.video, file.path)


def open_source(uri: str, settings: Settings) -> Source:
    """A landing folder or object-store prefix."""
    return FolderSource(uri, "voxceleb", settings)


VOXCELEB = Dataset(
    name="voxceleb",
    licence="CC-BY-4.0 (annotations); clips: their makers'",
    open_source=open_source,
    labels=labels,
    label_files=lambda path: False,
    is_media=is_media,
)
