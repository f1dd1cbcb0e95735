"""The pipelines: a dataset, what is measured of it, the gold tables made from that, and what learns from them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avlake.datasets.base import Dataset
from avlake.datasets.voxceleb import VOXCELEB
from avlake.datasets.voxforge import VOXFORGE
from avlake.errors import RequestError
from avlake.extractors import base
from avlake.models import model_path
from avlake.settings import Settings

DEFAULT = "default"  # this word, given as a value, stands for the default
MOST = 2**53  # the largest whole number up to which SQL, that gets thresholds as doubles, knows every one


class Thresholds(BaseModel):
    """What a pipeline's gold SQL decides by: versioned, never a reason to measure again."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    for_one_run: ClassVar[frozenset[str]] = frozenset()  # names of those that are never remembered


@dataclass(frozen=True)
class Pipeline:
    """One pipeline; `gold` names files in sql/gold, `learner` a module of avlake.learn, `page` one of stages.pages."""

    name: str
    doc: str
    dataset: Dataset
    extractors: tuple[str, ...]
    gold: tuple[str, ...]
    learner: str
    page: str
    thresholds: type[Thresholds] = Thresholds
    approvable: bool = False  # can a person see what gold would hold, before it does, see `stages.preview`?
    takes_scores: bool = False  # can it decide over clips measured elsewhere, see `stages.scores`?

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
                found[name] = kind(kind.Params(**_meant(kind.Params, given.get(name, {}))))
            except ValueError as error:
                raise RequestError(f"parameters of {name}: {_reasons(error, kind.Params.model_fields)}") from None
        return found

    def check_models(self, settings: Settings) -> None:
        """Are the third-party model files there that its extractors need?

        Raises:
            RequestError: naming the first that is not, and the next step.
        """
        for name in self.extractors:
            for file in base.load(name).models:
                model_path(file, settings)

    def decided(self, values: dict[str, Any] | None = None) -> Thresholds:
        """Its thresholds: these, and the defaults for the rest.

        Raises:
            RequestError: for a threshold that this pipeline does not have, or a value that cannot be.
        """
        try:
            return self.thresholds(**_meant(self.thresholds, values or {}))
        except ValidationError as error:
            params = [f"{name}.{param}" for name in self.extractors for param in base.load(name).Params.model_fields]
            wrong = _reasons(error, self.thresholds.model_fields, params)
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


class Sampling(Thresholds):
    """Of a pipeline that may be about a part of what was delivered; see `stages.sample`."""

    for_one_run: ClassVar[frozenset[str]] = frozenset({"require_trainable"})
    sampling: Literal["all", "random", "top_speakers", "per_speaker"] = Field(
        "all", title="Sampling", description="which clips gold is about; the others are not even measured"
    )
    sample_clips: int = Field(1000, ge=1, le=MOST, title="Random: clips", description="so many clips, drawn at random")
    top_speakers: int = Field(
        100, ge=1, le=MOST, title="Top speakers", description="all clips of so many, who have most"
    )
    clips_per_speaker: int = Field(10, ge=1, le=MOST, title="Per speaker: clips", description="at most so many of each")
    sample_seed: int = Field(0, ge=-MOST, le=MOST, title="Seed", description="another seed draws other clips")
    require_trainable: bool = Field(
        False, title="Require a task", description="measure nothing where speakers cannot be told apart anyway"
    )

    def in_words(self) -> str:
        """How it samples."""
        top = f"{self.top_speakers} speakers" if self.top_speakers > 1 else "one speaker"
        return {
            "all": "all",
            "random": f"random, {self.sample_clips} clip{'s'[: self.sample_clips - 1]}",
            "top_speakers": f"the {top} with most clips",
            "per_speaker": f"at most {self.clips_per_speaker} clip{'s'[: self.clips_per_speaker - 1]} per speaker",
        }[self.sampling]


class TalkingHeadsThresholds(Sampling):
    min_face_presence_ratio: float = Field(
        0.99, ge=0, le=1, title="Least face presence", description="share of frames that show a face"
    )
    min_blur_score: float = Field(
        50.0, ge=0, title="Least sharpness", description="mean Laplacian variance of the face; 0 asks for none"
    )
    min_speech_ratio: float = Field(0.9, ge=0, le=1, title="Least speech", description="share of time that is speech")


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
            page="avlake.stages.pages.voice",
            thresholds=VoxforgeGenderThresholds,
        ),
        Pipeline(
            name="talking_heads",
            doc="clips of talking heads: which are good enough to learn from, and does choosing them help?",
            dataset=VOXCELEB,
            extractors=(
                "media",
                "audio_quality",
                "video_quality",
                "speech",
                "av_sync",
                "fingerprints",
                "speaker_features",
                "standardised",
            ),
            gold=("talking_heads_manifest", "talking_heads"),
            learner="avlake.learn.curation",
            page="avlake.stages.pages.talking_heads",
            thresholds=TalkingHeadsThresholds,
            approvable=True,
            takes_scores=True,
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


def needing_approval(settings: Settings) -> frozenset[str]:
    """The pipelines of AVLAKE_APPROVAL, whose gold a person approves before Airflow replaces it.

    Raises:
        RequestError: for a name that is no pipeline's, or that of one whose gold cannot be shown before.
    """
    named = frozenset(filter(None, (name.strip() for name in settings.approval.split(","))))
    able = {p.name for p in PIPELINES.values() if p.approvable}
    if wrong := sorted(named - able):
        raise RequestError(
            f"AVLAKE_APPROVAL: {', '.join(wrong)} cannot wait for approval; {', '.join(sorted(able))} can"
        )
    return named


def _meant(kind: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != DEFAULT or name not in kind.model_fields}


def _reasons(error: ValueError, names: Iterable[str], elsewhere: Collection[str] = ()) -> str:
    """What is wrong, by name; of a name that is none of `names` also which there are, and which may have been meant.

    Args:
        elsewhere: `extractor.parameter`, where those may be named too.
    """
    if not isinstance(error, ValidationError):
        return str(error)
    said, known = [], list(names)
    for wrong in error.errors():
        name = ".".join(map(str, wrong["loc"]))
        if wrong["type"] != "extra_forbidden":
            said.append(f"{name}: {wrong['msg']}")
            continue
        meant = [full for full in elsewhere if full.partition(".")[2] == name]
        meant = meant or difflib.get_close_matches(name, [*known, *elsewhere], 1)
        hint = f"; write {' or '.join(meant)}" if meant else ""
        said.append(f"{name}: there is none of that name{hint}. There is {', '.join(known) or 'none'}")
    return "; ".join(said)
