"""The learner of `podcast_outros`: which segments have music in them, and where an episode's outro music starts.

A random forest, gradient boosting and their vote (`learn.vote`) say what is heard in each segment; the boundaries come
from finer evidence, the tags of every second (`learn.boundaries`). An episode is never on both sides of a split.

What a training leaves:

random_forest.skops, gradient_boosting.skops              is music heard in a segment? (`dialogue` or `music`)
kinds_random_forest.skops, kinds_gradient_boosting.skops  which of `both`, `dialogue`, `music`; where enough is labelled
features.json        what the model is: model, features, classes, kinds, measured, drops, settings, `verified` (have
                     people labelled enough to test it?), counts (of segments and episodes, by who labelled them;
                     `seeded`: did machine labels train it, too?)
metrics.json         the rows of gold.model_runs; split `cv` is held out, by episode; models random_forest,
                     gradient_boosting, vote, machine_labels, always_the_majority, `vote_minus_<part>` (metric
                     segment_macro_f1 has an interval of the paired difference). Metrics: segment_<...> of music against
                     dialogue; of the vote also kinds_macro_f1 of the three classes, outro_within_2_s, outro_invented,
                     outro_median_error_s. Without enough labels of people `unverified` = 1 stands for segment_<...>
predictions.parquet  one row per segment: file_id, path, segment_index, start_s, end_s, label (NULL: nobody said),
                     label_source, y (1: music is in it, NULL), random_forest, gradient_boosting, vote (probabilities of
                     music), predicted (music | dialogue | both), probability (of what is predicted), p_music,
                     p_dialogue, p_both (sum to 1), held_out (by a model that did not see the episode; else by the
                     final one)
outros.json          one entry per episode: file_id, path, duration_s, labelled, has_outro, label_outro_start_s,
                     label_intro_end_s, outro_start_s, intro_end_s, confidence, error_s (found - label),
                     result (right | off | missed | invented | unlabelled)
verdict.json         `words` for people, the most important first; `verified`
reference.npz        what the training set looked like, for drift
card.md              the model card
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn
from threadpoolctl import threadpool_limits

from avlake.errors import WorkError
from avlake.learn import artifacts
from avlake.learn.base import VERDICT, Measured, Place, Progress, Trained
from avlake.learn.drift import Reference, make_reference
from avlake.learn.outro_card import outro_card
from avlake.learn.outro_model import OutrosModel, find_all, with_music
from avlake.learn.outro_scores import Outro, counts_of, outro_scores, segment_scores, words
from avlake.learn.segments import CLASSES, KINDS, Segments, read_all
from avlake.learn.trial import Fitted, Judged, Trial, hold_out, learnable, train
from avlake.learn.vote import CANDIDATES, FOLDS, PARTS, VOTE, WEIGHTS, Voters
from avlake.tables import MODEL_RUNS, PODCAST_OUTROS, Table

if TYPE_CHECKING:
    import duckdb

NO_OUTRO = "no_outro"


@dataclass(frozen=True)
class OutrosLearner:
    version: int = 2  # raised whenever the same table would give another model
    table: str = "gold.podcast_segments"
    extractors: tuple[str, ...] = ("segment_features", "audio_tags")
    also_reads: tuple[str, ...] = ()
    results: Table = MODEL_RUNS
    predicts: bool = True
    answers: tuple[str, ...] = ("outro_start_s", "intro_end_s", "confidence")
    candidates: int = CANDIDATES  # settings tried of each part
    seed: int = 0

    def identity(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "seed": self.seed,
            "candidates": self.candidates,
            "folds": FOLDS,
            "settings": {part.name: {name: list(tried) for name, tried in part.settings.items()} for part in PARTS},
            "weights": WEIGHTS,
            "scikit-learn": sklearn.__version__,
        }

    def train(
        self,
        con: duckdb.DuckDBPyConnection,
        measured: Mapping[str, Measured],
        progress: Progress,
        place: Place | None = None,
    ) -> Trained:
        """Judge episodes not seen, then learn from all and say where every outro starts."""
        with threadpool_limits(1):  # a task has one core; and sums in one order give the same model anywhere
            return self._train(con, measured, progress)

    def _train(self, con: duckdb.DuckDBPyConnection, measured: Mapping[str, Measured], progress: Progress) -> Trained:
        segments, tags = read_all(con, self.table)
        rows, seeded = learnable(segments)
        tried = {"candidates": self.candidates, "seed": self.seed}
        trial = hold_out(segments, rows, progress, **tried)
        progress("fit the vote", 0, 2)
        fitted = train(segments, np.flatnonzero(rows), **tried)
        progress("fit the vote", 1, 2)
        judged = fitted.judge(segments)
        outros = find_all(segments, tags, judged.music[VOTE])
        progress("fit the vote", 2, 2)
        table = [*segment_scores(segments, trial), *outro_scores(outros)]
        counts = counts_of(segments, trial, seeded)
        verified, conclusions = trial.judged is not None, words(table, outros, counts)
        description = {
            "model": VOTE,
            "classes": CLASSES,
            "kinds": KINDS,
            "features": segments.features,
            "measured": {name: asdict(one) for name, one in measured.items()},
            "drops": sorted(set(segments.drop[rows].tolist())),
            "settings": fitted.settings,
            "verified": verified,
            "counts": counts,
            "versions": self.identity(),
        }
        learned = segments.rows(rows) if rows.any() else segments
        reference = make_reference(learned.X, segments.features, with_music(learned), learned.path)
        files = _models(fitted) | {
            "features.json": artifacts.to_json(description),
            "metrics.json": artifacts.to_json([asdict(s) for s in table]),
            "predictions.parquet": _predictions(segments, judged, trial),
            "outros.json": artifacts.to_json([one.described() for one in outros]),
            "reference.npz": reference.to_bytes(),
            VERDICT: artifacts.to_json({"words": conclusions, "verified": verified}),
            "card.md": outro_card(description, table, conclusions).encode(),
        }
        return Trained(VOTE, fitted.settings, table, files, _found(outros))

    def load(self, files: Mapping[str, bytes]) -> OutrosModel:
        """Load what `train` left.

        Raises:
            WorkError: if a file is missing or damaged, or a model holds untrusted types.
        """
        try:
            description = json.loads(files["features.json"])
            measured = {name: Measured(**one) for name, one in description["measured"].items()}
            features, drops = tuple(description["features"]), tuple(description["drops"])
            settings = description["settings"]
            reference = Reference.from_bytes(files["reference.npz"])
        except (ValueError, KeyError, TypeError) as error:
            raise WorkError(f"the model's features.json or reference.npz is damaged ({error!r}); train again") from None
        fitted = Fitted(_voters(files, "", len(CLASSES)), _voters(files, "kinds_", len(KINDS)), settings)
        if settings and fitted.music is None:
            raise WorkError("the model's folder lacks random_forest.skops or gradient_boosting.skops; train again")
        return OutrosModel(self.table, fitted, features, drops, measured, reference)


LEARNER = OutrosLearner()


def _models(fitted: Fitted) -> dict[str, bytes]:
    found = {}
    for prefix, voters in (("", fitted.music), ("kinds_", fitted.kinds)):
        for name, model in (voters.fitted if voters else {}).items():
            found[f"{prefix}{name}.skops"] = artifacts.dump_estimator(model)
    return found


def _voters(files: Mapping[str, bytes], prefix: str, n_classes: int) -> Voters | None:
    names = {name: f"{prefix}{name}.skops" for name in WEIGHTS}
    if not all(file in files for file in names.values()):
        return None
    return Voters({name: artifacts.load_estimator(files[file], file) for name, file in names.items()}, n_classes)


def _predictions(segments: Segments, judged: Judged, trial: Trial) -> bytes:
    """What is said of every segment: by models that had not seen it, where there is such a model."""
    music = {name: p.copy() for name, p in judged.music.items()}
    kinds, predicted = judged.kinds.copy(), judged.predicted
    held_out = np.zeros(len(segments), dtype=bool)
    if trial.judged is not None:
        held_out[trial.rows] = True
        kinds[trial.rows], predicted[trial.rows] = trial.judged.kinds, trial.judged.predicted
        for name, p in trial.judged.music.items():
            music[name][trial.rows] = p
    place = np.array([KINDS.index(name) for name in predicted], dtype=int)
    said = segments.label != ""
    table = pa.table(
        {
            "file_id": segments.file_id,
            "path": segments.path,
            "segment_index": segments.index,
            "start_s": segments.start_s,
            "end_s": segments.end_s,
            "label": pa.array(segments.label, mask=~said),
            "label_source": pa.array(segments.source, mask=~said),
            "y": pa.array(segments.y, mask=~said),
            **music,
            "predicted": predicted,
            "probability": kinds[np.arange(len(segments)), place],
            **{f"p_{name}": kinds[:, i] for i, name in enumerate(KINDS)},
            "held_out": held_out,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _found(outros: list[Outro]) -> pa.Table:
    """The rows of gold.podcast_outros; the train stage knows the run."""
    rows = []
    for one in outros:
        episode, found = one.episode, one.found
        has = found.outro_start_s is not None
        rows.append(
            {
                "file_id": episode.file_id,
                "dataset": episode.dataset,
                "drop_date": episode.drop_date,
                "path": episode.path,
                "split": episode.split,
                "duration_s": episode.duration_s,
                "outro_start_s": found.outro_start_s,
                "intro_end_s": found.intro_end_s,
                "confidence": found.confidence,
                "kept": has,
                "reject_reason": None if has else NO_OUTRO,
                "label_outro_start_s": episode.outro_start_s,
                "label_has_outro": episode.has_outro,
                "run_id": None,
            }
        )
    return pa.Table.from_pylist(rows, schema=PODCAST_OUTROS.schema)
