"""The pipelines: a dataset, what is measured of it, the gold tables made from that, and what learns from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avlake.datasets.base import Dataset
from avlake.datasets.voxforge import VOXFORGE
from avlake.errors import RequestError
from avlake.extractors import base


class Thresholds(BaseModel):
    """What a pipeline's gold SQL decides by: versioned, never a reason to measure again."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Pipeline:
    """One pipeline; `gold` names files in sql/gold, `learner` a module of avlake.learn."""

    name: str
    doc: str
    dataset: Dataset
    extractors: tuple[str, ...]
    gold: tuple[str, ...]
    learner: str
    thresholds: type[Thresholds] = Thresholds

    @property
    def salt(self) -> str:
        """What makes this pipeline's split its own."""
        return self.name

    def configured(self, params: dict[str, dict[str, object]] | None = None) -> dict[str, base.Extractor]:
        """Its extractors by name, with the parameters given (extractor → name → value) instead of the defaults.

        Raises:
            RequestError: for an extractor or a parameter that this pipeline does not have.
        """
        given = params or {}
        if unknown := given.keys() - set(self.extractors):
            raise RequestError(f"{self.name} measures {', '.join(self.extractors)}; not {', '.join(sorted(unknown))}")
        found = {}
        for name in self.extractors:
            kind = base.load(name)
            try:
                found[name] = kind(kind.Params(**given.get(name, {})))
            except ValueError as error:
                raise RequestError(f"parameters of {name}: {_first_reason(error)}") from None
        return found

    def decided(self, values: dict[str, Any] | None = None) -> Thresholds:
        """Its thresholds: these, and the defaults for the rest.

        Raises:
            RequestError: for a threshold that this pipeline does not have, or a value that cannot be.
        """
        try:
            return self.thresholds(**(values or {}))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise RequestError(f"thresholds of {self.name}: {wrong}") from None


class VoxforgeGenderThresholds(Thresholds):
    min_snr_db: float | None = Field(None, title="Least SNR", description="dB; windows of noisier files are rejected")
    max_clipping_ratio: float = Field(
        0.05,
        ge=0,
        le=1,
        title="Most clipping",
        description="share of samples at full scale; above it a file is rejected",
    )


PIPELINES = {
    p.name: p
    for p in (
        Pipeline(
            name="voxforge_gender",
            doc="read speech from VoxForge: is the speaker a man or a woman?",
            dataset=VOXFORGE,
            extractors=("media", "audio_quality", "voice_features"),
            gold=("gender_windows",),
            learner="avlake.learn.gender",
            thresholds=VoxforgeGenderThresholds,
        ),
    )
}


def get_pipeline(name: str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        RequestError: naming those that exist.
    """
    if name not in PIPELINES:
        raise RequestError(f"no pipeline {name!r}; there is {', '.join(sorted(PIPELINES))}")
    return PIPELINES[name]


def _first_reason(error: ValueError) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines()[1:3]) or str(error)
