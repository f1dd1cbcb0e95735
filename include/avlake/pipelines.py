"""The pipelines: a dataset, what is measured of it, the gold tables made from that, and what learns from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avlake.datasets.base import Dataset
from avlake.datasets.voxceleb import VOXCELEB
from avlake.datasets.voxforge import VOXFORGE
from avlake.errors import RequestError
from avlake.extractors import base
from avlake.models import model_path
from avlake.settings import Settings


class Thresholds(BaseModel):
    """What a pipeline's gold SQL decides by: versioned, never a reason to measure again."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
                found[name] = kind(kind.Params(**given.get(name, {})))
            except ValueError as error:
                raise RequestError(f"parameters of {name}: {_first_reason(error)}") from None
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


class Sampling(Thresholds):
    """Of a pipeline that may be about a part of what was delivered; see `stages.sample`."""

    sampling: Literal["all", "random", "top_speakers", "per_speaker"] = Field(
        "all", title="Sampling", description="which clips gold is about; the others are not even measured"
    )
    sample_clips: int = Field(1000, ge=1, title="Random: clips", description="so many clips, drawn at random")
    top_speakers: int = Field(100, ge=1, title="Top speakers", description="all clips of so many, who have most")
    clips_per_speaker: int = Field(10, ge=1, title="Per speaker: clips", description="at most so many of each")
    sample_seed: int = Field(0, title="Seed", description="another seed draws other clips")
    require_trainable: bool = Field(
        False, title="Require a task", description="measure nothing where speakers cannot be told apart anyway"
    )

    def in_words(self) -> str:
        """How it samples."""
        return {
            "all": "all",
            "random": f"random, {self.sample_clips} clips",
            "top_speakers": f"the {self.top_speakers} speakers with most clips",
            "per_speaker": f"at most {self.clips_per_speaker} clips per speaker",
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


def _first_reason(error: ValueError) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines()[1:3]) or str(error)
