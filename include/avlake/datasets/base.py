"""What a dataset is: where its drops lie, which files are media, what its text files say of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from avlake.datasets.remote import Remote
from avlake.errors import RequestError
from avlake.media.archives import is_archive, is_parquet


@dataclass(frozen=True)
class Entry:
    """One delivered file of a drop, before it is fetched."""

    path: str  # relative to the drop's folder
    uri: str
    version: str  # etag, or size and modification time: equal means unchanged; empty where the source does not tell
    size_bytes: int | None = None


@dataclass(frozen=True)
class Label:
    """One thing the source says of one file; `value` is None where it is unknown."""

    file_id: str
    subject_id: str | None
    name: str
    value: str | None
    source: str  # the path it was read from


@dataclass(frozen=True)
class BronzeFile:
    """The part of a bronze.files row that labelling needs."""

    file_id: str
    path: str
    media_type: str
    sha256: str


@dataclass(frozen=True)
class Annotation:
    """What a drop's text files say of one recording that has to be known where it is measured (its faces' boxes, say).

    Equal text is equal knowledge: the text is a part of the identity of what is measured with it.
    """

    file_id: str
    text: str


class Summary(Protocol):
    """What there is to say of a drop, from its labels; is given each of them once, in no order."""

    def add(self, label: Label) -> None: ...

    def words(self) -> str:
        """One sentence for people, without a full stop."""
        ...


class Source(Protocol):
    """A place that holds drops of one dataset: a folder, an object-store prefix or an HTTP index."""

    uri: str
    is_local: bool  # its files are on this machine: none is downloaded

    def drops(self) -> list[str]:
        """Dates (YYYY-MM-DD) of the drops there, sorted."""
        ...

    def entries(self, drop: str) -> list[Entry]:
        """The files of one drop, sorted by path."""
        ...

    def fetch(self, entry: Entry, folder: Path) -> Path:
        """A local file with the entry's bytes: the file itself where it is local already, else one inside `folder`."""
        ...


@dataclass(frozen=True)
class Dataset:
    """One source of recordings."""

    name: str
    licence: str
    open_source: Callable[..., Source]  # (uri, settings) -> Source
    labels: Callable[[Iterable[BronzeFile], Callable[[str], bytes]], Iterator[Label]]  # (files, read(sha256) -> bytes)
    label_files: Callable[[str], bool]  # is this path one that `labels` reads?
    is_media: Callable[[str], bool]  # is this path one that is measured?
    # Is a label file about all of the drop, not only about what lies in the same archive? Then `labels` gets the whole
    # drop at once: first the label files, then the media, which it has to take one by one. Each label file has to be
    # read before the next is taken.
    labels_whole_drop: bool = False
    # What annotated extractors are told, file by file: takes what `labels` takes, for the whole drop at once.
    annotations: Callable[[Iterable[BronzeFile], Callable[[str], bytes]], Iterator[Annotation]] | None = None
    summary: Callable[[], Summary] | None = None  # is something said of its drops' labels, whenever one is planned?
    remotes: tuple[Remote, ...] = ()  # what `avlake fetch` can bring, in this order
    opens_parquet: bool = False  # may rows of its Parquet files be recordings, see `media.parquet_archive`?

    def opens(self, path: str) -> bool:
        """Is a delivered file of this name opened, and what lies in it taken?"""
        return is_archive(path) or (self.opens_parquet and is_parquet(path))


def every() -> list[Dataset]:
    """All datasets: `VOXFORGE` in `datasets/voxforge.py`, and so on; by module."""
    package = importlib.import_module("avlake.datasets")
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    found = [getattr(importlib.import_module(f"avlake.datasets.{name}"), name.upper(), None) for name in modules]
    return [dataset for dataset in found if isinstance(dataset, Dataset)]


def load(name: str) -> Dataset:
    """The dataset of that name.

    Raises:
        RequestError: naming those that exist.
    """
    known = {dataset.name: dataset for dataset in every()}
    if name not in known:
        raise RequestError(f"no dataset {name!r}; there is {', '.join(sorted(known))}")
    return known[name]
