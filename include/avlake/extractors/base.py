"""What an extractor is: one measurement of a clip, filling one silver table.

A new measurement is one file in this folder with a class that has `table`, `version`, `Params` and `measure`, and a
module-level `EXTRACTOR` naming that class. Extractors measure and never filter; errors other than `Quarantined` are
handled by the sandbox.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from avlake.media import DECODER_VERSION
from avlake.tables import Table

if TYPE_CHECKING:
    import numpy as np

    from avlake.media.clip import Clip


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
    reads: ClassVar[tuple[str, ...]] = ("audio",)  # the clip's streams it needs; without them the file fails to open
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

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        """Measure one clip: columns of equal length (the table's, without file_id, dataset and drop_date).

        Raises:
            Quarantined: when the clip opened but cannot be measured (`too_short`, `not_finite`, ...).
        """
        raise NotImplementedError


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
