"""What an extractor is: one measurement of a clip, filling one silver table.

A new measurement is one file in this folder with a class that has `table`, `version`, `Params` and `measure`, and a
module-level `EXTRACTOR` naming that class. Extractors measure and never filter; errors other than `Quarantined` are
handled by the sandbox. One that looks at video has `watch` besides: what that returns is shown every frame of the one
pass over the clip, and `measure` asks for it back with `clip.seen(self.name)`. One that hears the sound only once, as
those must that measure recordings of hours, has `listen`, and `samples` false. One that has to know what the drop's own
text files say of the recording is `annotated`, and finds it in `clip.annotation`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from avlake.errors import Quarantined
from avlake.media import DECODER_VERSION
from avlake.tables import Table

if TYPE_CHECKING:
    import numpy as np

    from avlake.media.audio import Listener
    from avlake.media.clip import Clip
    from avlake.media.video import Viewer


ADDED = ("file_id", "dataset", "drop_date")  # columns of every silver table that the extract stage adds


class Params(BaseModel):
    """An extractor's options: frozen, no unknown names; titles, ranges and defaults become the Airflow form."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Extractor:
    """One measurement.

    `version` is raised whenever the numbers change; with the parameters it makes `params_hash`, a part of the identity
    of every measurement: unchanged work is never done again.
    """

    table: ClassVar[Table]
    version: ClassVar[int]
    # The clip's streams it needs. A clip that lacks one has no rows; see `register` for one that has none.
    reads: ClassVar[tuple[str, ...]] = ("audio",)
    samples: ClassVar[bool] = True  # does `measure` ask for `clip.audio`? Else the samples need not be kept
    objects: ClassVar[tuple[str, ...]] = ()  # columns measured as bytes: kept as objects, the column has their sha256
    models: ClassVar[tuple[str, ...]] = ()  # names of third-party model files that it needs, see `avlake.models`
    annotated: ClassVar[bool] = False  # does it look at `clip.annotation`? Then that is a part of its identity
    seeks: ClassVar[tuple[str, ...]] = ()  # names of model files that it needs for a clip without annotation
    optional: ClassVar[bool] = False  # without those files a pipeline goes without it
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: BaseModel | None = None) -> None:
        self.params = params if params is not None else self.Params()

    @property
    def name(self) -> str:
        return self.table.name.removeprefix("silver.")

    @property
    def params_hash(self) -> str:
        identity = [self.name, self.version, DECODER_VERSION, self.params.model_dump(mode="json")]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def watch(self, clip: Clip) -> Viewer | None:
        """What is to see every frame of a clip's video; called once per clip, before anything of it is decoded."""
        return None

    def listen(self) -> Mapping[str, Callable[[], Listener]]:
        """Who is to hear all of a clip's sound, by name; extractors that give one name share one listener."""
        return {}

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        """Measure one clip: columns of equal length (the table's, without file_id, dataset and drop_date).

        Raises:
            Quarantined: when the clip opened but cannot be measured (`too_short`, `not_finite`, ...).
        """
        raise NotImplementedError


def identity(params_hash: str, annotation: str | None) -> str:
    """The `params_hash` of a measurement for which an annotation, named by its sha256, was known."""
    return f"{params_hash}:{annotation[:16]}" if annotation else params_hash


def streams_of(extractors: Iterable[type[Extractor]]) -> frozenset[str]:
    """The streams that any of them reads: a file with none of these fails to open."""
    return frozenset(stream for extractor in extractors for stream in extractor.reads)


def register(clip: Clip, extractors: Iterable[Extractor], *, streams: Iterable[str]) -> list[Extractor]:
    """Those of the extractors whose streams the clip has, their viewers registered with it.

    Raises:
        Quarantined: `empty` or `not_media`; `no_audio` or `no_video` where the clip has none of `streams`.
    """
    wanted = sorted(streams)
    if not clip.streams.intersection(wanted or clip.streams):
        raise Quarantined(f"no_{wanted[0] if wanted else 'audio'}", f"the file has no {' and no '.join(wanted)} stream")
    able = [e for e in extractors if clip.streams.issuperset(e.reads)]
    for extractor in able:
        if viewer := extractor.watch(clip):
            clip.show_to(extractor.name, viewer)
        for name, listener in extractor.listen().items():
            clip.play_to(name, listener)
    clip.keep_samples = any(e.samples and (not e.reads or "audio" in e.reads) for e in able)
    return able


def load(name: str) -> type[Extractor]:
    """The extractor class of a silver table's name."""
    return importlib.import_module(f"avlake.extractors.{name}").EXTRACTOR


def all_extractors() -> dict[str, type[Extractor]]:
    """Every extractor in this folder, by name."""
    package = importlib.import_module("avlake.extractors")
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        extractor = getattr(importlib.import_module(f"avlake.extractors.{module.name}"), "EXTRACTOR", None)
        if extractor is not None:
            found[extractor.table.name.removeprefix("silver.")] = extractor
    return found
