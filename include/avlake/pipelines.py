"""The pipelines: a dataset, what is measured of it, the gold tables made from that, and what learns from them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from avlake.datasets.ava import AVA
from avlake.datasets.base import Dataset
from avlake.datasets.podcasts import PODCASTS
from avlake.datasets.vggsound import VGGSOUND
from avlake.datasets.voxceleb import VOXCELEB
from avlake.datasets.voxforge import VOXFORGE
from avlake.errors import RequestError
from avlake.extractors import base
from avlake.models import has_model, model_path
from avlake.settings import Settings
from avlake.tables import PODCAST_OUTROS, Table
from avlake.thresholds import (
    ActiveSpeakerThresholds,
    PodcastOutrosThresholds,
    SoundEffectsThresholds,
    TalkingHeadsThresholds,
    Thresholds,
    VoxforgeGenderThresholds,
)

MEASURE = "measure"  # the parameter by which an extractor of `Pipeline.also` is asked for
DEFAULT = "default"  # this word, given as a value, stands for the default


@dataclass(frozen=True)
class LabelKind:
    """Something that people say of a recording, or of a part of it."""

    name: str
    doc: str
    values: tuple[str, ...] = ()  # those it may have; empty: a number of seconds, or `none`
    of_parts: bool = False
    of_tracks: bool = False  # of one face track; the label's name is `<name>:<entity_id>`, its value any text


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
    also: tuple[str, ...] = ()  # extractors whose numbers others use; they measure only where they are asked to
    approvable: bool = False  # can a person see what gold would hold, before it does, see `stages.preview`?
    takes_scores: bool = False  # can it decide over clips measured elsewhere, see `stages.scores`?
    labels: tuple[LabelKind, ...] = ()  # what people may say of its dataset, see `stages.human`
    lists: str | None = None  # the name of a file that lists what its gold keeps, see `stages.listing`
    finds: Table | None = None  # the gold table of what its model says of everything in the lake

    @property
    def measurable(self) -> tuple[str, ...]:
        """The extractors it has parameters for."""
        return (*self.extractors, *self.also)

    @property
    def salt(self) -> str:
        """What makes this pipeline's split its own."""
        return self.name

    def configured(
        self, params: dict[str, dict[str, object]] | None = None, settings: Settings | None = None
    ) -> dict[str, base.Extractor]:
        """Its extractors by name, with the parameters given (extractor → name → value) instead of the defaults.

        Args:
            settings: where given, optional extractors whose model files are not there are left out.

        Raises:
            RequestError: for an extractor or a parameter that this pipeline does not have.
        """
        given = {name: dict(values) for name, values in (params or {}).items()}
        if unknown := given.keys() - set(self.measurable):
            raise RequestError(f"{self.name} measures {', '.join(self.measurable)}; not {', '.join(sorted(unknown))}")
        found = {}
        for name in self.measurable:
            if name in self.also and not _asked_for(name, given.get(name, {})):
                continue
            kind = base.load(name)
            if settings and kind.optional and not all(has_model(file, settings) for file in kind.models):
                continue
            try:
                found[name] = kind(kind.Params(**_meant(kind.Params, given.get(name, {}))))
            except ValueError as error:
                raise RequestError(f"parameters of {name}: {_reasons(error, kind.Params.model_fields)}") from None
        return found

    def check_models(self, settings: Settings) -> None:
        """Are the third-party model files there that its extractors cannot do without?

        Raises:
            RequestError: naming the first that is not, and the next step.
        """
        for kind in map(base.load, self.extractors):
            for file in () if kind.optional else kind.models:
                model_path(file, settings)

    def decided(self, values: dict[str, Any] | None = None) -> Thresholds:
        """Its thresholds: these, and the defaults for the rest.

        Raises:
            RequestError: for a threshold that this pipeline does not have, or a value that cannot be.
        """
        try:
            return self.thresholds(**_meant(self.thresholds, values or {}))
        except ValidationError as error:
            params = [f"{name}.{param}" for name in self.measurable for param in base.load(name).Params.model_fields]
            wrong = _reasons(error, self.thresholds.model_fields, params)
            raise RequestError(f"thresholds of {self.name}: {wrong}") from None


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
            also=("face_tracks",),  # what active_speaker can be pre-trained on
            thresholds=TalkingHeadsThresholds,
            approvable=True,
            takes_scores=True,
        ),
        Pipeline(
            name="sound_effects",
            doc="short clips of YouTube videos: which have sound effects and neither speech nor music?",
            dataset=VGGSOUND,
            extractors=("media", "audio_tags", "panns_tags", "speech"),
            gold=("sound_effects",),
            learner="avlake.learn.filtering",
            page="avlake.stages.pages.sound_effects",
            thresholds=SoundEffectsThresholds,
            lists="sfx_filtered.jsonl",
            labels=(
                LabelKind(
                    "sound",
                    "what is heard in a clip",
                    values=("sfx", "music", "speech", "sfx+music", "sfx+speech", "music+speech", "sfx+music+speech"),
                ),
            ),
        ),
        Pipeline(
            name="podcast_outros",
            doc="podcast episodes: where does the outro music start?",
            dataset=PODCASTS,
            extractors=("media", "audio_tags", "segment_features"),
            gold=("podcast_segments",),
            learner="avlake.learn.outros",
            page="avlake.stages.pages.podcast_outros",
            thresholds=PodcastOutrosThresholds,
            labels=(
                LabelKind("content", "what is heard in a part", values=("music", "dialogue", "both"), of_parts=True),
                LabelKind("outro_start_s", "where the last unbroken music begins, also under speech"),
                LabelKind("intro_end_s", "where the music at the beginning ends"),
            ),
            finds=PODCAST_OUTROS,
        ),
        Pipeline(
            name="active_speaker",
            doc="films with annotated faces: which of the faces on screen is the voice that is heard?",
            dataset=AVA,
            extractors=("media", "face_tracks"),
            gold=("active_speaker_frames",),
            learner="avlake.learn.speakers",
            page="avlake.stages.pages.active_speaker",
            thresholds=ActiveSpeakerThresholds,
            labels=(LabelKind("talker", "who a track shows", of_tracks=True),),
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


def _asked_for(name: str, values: dict[str, object]) -> bool:
    """Is an extractor of `Pipeline.also` to measure? Takes the word out of its parameters.

    Raises:
        RequestError: where that is neither true nor false.
    """
    said = values.pop(MEASURE, False)
    try:
        asked = TypeAdapter(bool).validate_python(False if said in (None, DEFAULT) else said)
    except ValidationError:
        raise RequestError(f"parameters of {name}: {MEASURE}: true or false, not {said!r}") from None
    return asked


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
