"""The learner of `podcast_outros`: which segments have music in them, and where an episode's outro music starts.

A random forest, gradient boosting and their vote (`learn.vote`) say what is heard in each segment; the boundaries come
from finer evidence (`learn.hearing`, `learn.boundaries`). An episode is never on both sides of a split.

What a training leaves:

random_forest.skops, gradient_boosting.skops              is music heard in a segment? (`dialogue` or `music`)
kinds_random_forest.skops, kinds_gradient_boosting.skops  which of `both`, `dialogue`, `music`; where enough is labelled
hearing.json         is music heard in a window? What is added to the evidence of the tags (NULL where nothing)
features.json        what the model is: features, classes, measured, drops, settings, `verified` (have people labelled
                     enough to test it?), `seeded` (did machine labels train it?), counts of labels by source
metrics.json         the rows of gold.model_runs; split `cv` is held out, by episode; models random_forest,
                     gradient_boosting, vote, machine_labels, always_the_majority, `vote_minus_<part>` (metric
                     segment_macro_f1 has an interval of the paired difference). Metrics: segment_<...> of music against
                     dialogue, kinds_macro_f1 of the three classes, outro_within_2_s, outro_invented,
                     outro_median_error_s. Without enough labels of people: none but `unverified` = 1 of the vote
predictions.parquet  one row per segment: file_id, path, segment_index, start_s, end_s, label (NULL: nobody said),
                     label_source, y (1: music is in it, NULL), random_forest, gradient_boosting, vote (probabilities of
                     music), predicted (music | dialogue | both), probability (of what is predicted), p_music,
                     p_dialogue, p_both (sum to 1), held_out (by a model that did not see the episode; else by the
                     final one)
outros.json          one entry per episode: file_id, path, duration_s, labelled, has_outro, label_outro_start_s,
                     label_intro_end_s, outro_start_s, intro_end_s, confidence, error_s (found - label), held_out,
                     result (right | off | missed | invented | unlabelled)
audit.json           one entry per audit batch and predicted class: batch, predicted, n, right, share, ci_low, ci_high
                     (Wilson 1927)
verdict.json         `words` for people, the most important first; `verified`; `differences` of the vote and its parts
reference.npz        what the training set looked like, for drift
card.md              the model card
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
class OutrosLearner:
    version: int = 1
    table: str = "gold.podcast_segments"
    extractors: tuple[str, ...] = ("segment_features", "segment_windows", "audio_tags")
    also_reads: tuple[str, ...] = ()
    results: Table = MODEL_RUNS
    predicts: bool = True
    answers: tuple[str, ...] = ("outro_start_s", "intro_end_s", "confidence")

    def identity(self) -> dict[str, Any]:
        return {"version": self.version}

    def train(self, con: duckdb.DuckDBPyConnection, measured: Mapping[str, Measured], progress: Progress) -> Trained:
        raise NotImplementedError

    def load(self, files: Mapping[str, bytes]) -> Model:
        raise NotImplementedError


LEARNER = OutrosLearner()
