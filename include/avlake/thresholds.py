"""What each pipeline's gold is decided by: numbers and words that SQL reads, with their ranges and defaults."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST = 2**53  # the largest whole number up to which SQL, that gets thresholds as doubles, knows every one


class Thresholds(BaseModel):
    """What a pipeline's gold SQL decides by: versioned, never a reason to measure again."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    for_one_run: ClassVar[frozenset[str]] = frozenset()  # names of those that are never remembered
    of_training: ClassVar[frozenset[str]] = frozenset()  # names of those that say how to learn; gold does not read them

    def for_training(self) -> dict[str, Any]:
        """Those of training, by name: another value is another model."""
        return self.model_dump(mode="json", include=set(self.of_training))


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


class SoundEffectsThresholds(Thresholds):
    max_speech_score: float = Field(
        0.1, ge=0, le=1, title="Most speech", description="mean of the three highest windows; it has to be below"
    )
    max_music_score: float = Field(
        0.1, ge=0, le=1, title="Most music", description="mean of the three highest windows; it has to be below"
    )
    max_speech_ratio: float = Field(
        0.25,
        ge=0,
        le=1,
        title="Most of a clip that is speech",
        description="share of the time for which the voice detector hears speech; it has to be below, whatever decides",
    )
    max_speech_s: float = Field(
        1.0, ge=0, title="Most seconds of speech", description="s; the same, for long clips; it has to be below"
    )
    decision: Literal["plain", "calibrated"] = Field(
        "plain", title="Decision", description="the limits above, or what people's labels say reaches the precision"
    )
    min_precision: float = Field(
        0.96, gt=0, lt=1, title="Stated precision", description="of what the calibrated decision keeps"
    )


class PodcastOutrosThresholds(Thresholds):
    min_segment_s: float = Field(
        3.0, ge=0, title="Shortest segment", description="s; shorter ones, at an episode's head, are not learned from"
    )


class ActiveSpeakerThresholds(Thresholds):
    of_training: ClassVar[frozenset[str]] = frozenset({"seed", "epochs", "augment", "pretrain", "compare"})
    min_face_px: float = Field(
        16.0, ge=0, title="Smallest face", description="px, width of its box in the video; smaller faces are rejected"
    )
    min_track_s: float = Field(
        0.2, ge=0, title="Shortest track", description="s, from first to last face; shorter tracks are rejected"
    )
    max_negatives: float | None = Field(
        None,
        gt=0,
        title="Most faces not speaking",
        description="for each face that speaks; whole tracks of others are left out of training, never of the test",
    )
    seed: int = Field(0, ge=0, le=2**31, title="Training: seed", description="another seed starts from other weights")
    epochs: int = Field(
        20, ge=1, le=1000, title="Training: most epochs", description="fewer where the validation split gets no better"
    )
    augment: bool = Field(
        True, title="Training: augmentation", description="faces mirrored and shifted, sounds exchanged between scenes"
    )
    pretrain: bool = Field(
        False,
        title="Training: pre-training",
        description="first learn on the lake's talking heads which sound belongs to which lips; needs no labels",
    )
    compare: bool = Field(
        True, title="Training: comparison", description="also train without (or with) the two, to say what each adds"
    )
