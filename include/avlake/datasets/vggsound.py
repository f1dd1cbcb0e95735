"""VGGSound: ten-second clips of YouTube videos, each labelled with one of 309 sounds.

Origin    https://www.robots.ox.ac.uk/~vgg/data/vggsound/ (Chen, Xie, Vedaldi, Zisserman 2020): 199,176 clips.
Licence   CC BY 4.0 for the annotations; the clips are YouTube's and their makers'.
Layout    vggsound.csv (YouTube id, start in seconds, label, split; no header); shards vggsound_NN.tar.gz of
          <id>_<start, six digits>.mp4
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from avlake.datasets.base import BronzeFile, Dataset, Label, Source
from avlake.datasets.sources import FolderSource
from avlake.settings import Settings


def labels(files: Iterable[BronzeFile], read: Callable[[str], bytes]) -> Iterator[Label]:
    """One row for each clip: `sound`, what the index says of it."""
    yield from ()


def open_source(uri: str, settings: Settings) -> Source:
    """A landing folder or object-store prefix."""
    return FolderSource(uri, "vggsound", settings)


VGGSOUND = Dataset(
    name="vggsound",
    licence="CC-BY-4.0 (annotations); clips: their makers'",
    open_source=open_source,
    labels=labels,
    label_files=lambda path: path.endswith("vggsound.csv"),
    is_media=lambda path: path.endswith(".mp4"),
)
