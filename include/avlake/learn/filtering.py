"""The learner of `sound_effects`: how good are the decisions, as far as people have said what is heard?

It leaves no model, but a verdict. The calibrated decision is made in curate (`avlake.learn.calibration`), where gold
gets its probabilities; here both decisions are compared with people's labels.

verdict.json    words            sentences, the most important one first
                calibrated       are there labels, so that figures have a truth?
                counts           clips, opened, kept, labelled, labelled_sfx, by_sound (human_sound -> n), no_sound
                                 (clips without a row in the index), rejected (reason -> n)
                thresholds       those that decided: max_speech_score, max_music_score, max_speech_ratio, decision, ...
                decisions        one entry per decision, `plain` and `calibrated` (and `panns` where it tagged), with
                                 name, in_charge, why_not (null, or why it cannot be judged), threshold, n, kept,
                                 true_positive, false_positive, false_negative, true_negative,
                                 precision / recall / f1 as {value, ci_low, ci_high} or null,
                                 average_precision (or null), errors: [{sound, kept, of}] by what people heard
                mistakes         up to 50 clips on which `in_charge` and people differ: path, human_sound, kept,
                                 speech_score, music_score, speech_ratio, p_sfx, sound
                throughput       one entry per extractor (and `all`): extractor, clips, seconds, clips_per_s_per_core,
                                 one_million_core_hours
                taggers          null without PANNs; else clips, agree, agreement, both, only_yamnet, only_panns, neither
                measured, settings
metrics.json    the rows of gold.model_runs: models `plain`, `calibrated`, `panns`; split `labelled` (`cv` for
                calibrated); metrics precision, recall, f1, average_precision, kept_share, labelled
curves.json     pr: {plain | calibrated: [{threshold, precision, recall}]}, rising thresholds (plain: of the higher of
                its two scores); histograms: {speech_score | music_score | p_sfx: {edges: (n + 1), all: (n),
                sfx: (n), other: (n)}}; sfx and other count labelled clips only
card.md         the verdict, to read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avlake.learn.base import Measured, Model, Progress, Trained
from avlake.tables import MODEL_RUNS, Table

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class FilteringLearner:
    version: int = 1
    table: str = "gold.sound_effects"
    extractors: tuple[str, ...] = ("audio_tags", "speech")
    also_reads: tuple[str, ...] = ()
    results: Table = MODEL_RUNS
    predicts: bool = False
    answers: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        return {"version": self.version}

    def train(self, con: duckdb.DuckDBPyConnection, measured: Mapping[str, Measured], progress: Progress) -> Trained:
        raise NotImplementedError

    def load(self, files: Mapping[str, bytes]) -> Model:
        raise NotImplementedError


LEARNER = FilteringLearner()
