"""The learner of `talking_heads`: does learning from what curation kept beat learning from everything?

The task is to identify speakers (`proxy`), the comparison that of `impact`. It leaves no model, but a verdict:

verdict.json    why there is none, or every difference with its interval and in words, seed by seed; the naive figures
metrics.json    the rows of gold.curation_impact: split `test` has all held-out clips, `test_kept` the kept ones of
                them, `naive_random` what is not comparable
card.md         the verdict, to read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from threadpoolctl import threadpool_limits

from avlake.errors import WorkError
from avlake.extractors.speaker_features import BASELINE as BASELINE_COLUMNS
from avlake.learn import artifacts, proxy, verdict
from avlake.learn.base import VERDICT, Measured, Model, Place, Progress, Trained
from avlake.learn.diagnosis import MIN_CLIPS, MIN_VIDEOS, Diagnosis, diagnose
from avlake.learn.impact import METRICS, Design, figures, per_trial, try_all
from avlake.learn.metrics import Score
from avlake.tables import CURATION_IMPACT, Table

if TYPE_CHECKING:
    import duckdb

BASELINE, EMBEDDING, NO_MODEL = "mfcc_svc", "embedding_svc", "none"
TEST, TEST_KEPT, NAIVE = "test", "test_kept", "naive_random"
MIN_TESTED_VIDEOS = 8  # with fewer an effect cannot be told from luck: all of them alike is no rare chance


@dataclass(frozen=True)
class CurationLearner:
    """Compares arms on one task; what is read and tried decides the verdict, so all of it is its identity."""

    version: int = 1  # raised whenever the same table would give another verdict
    table: str = "gold.talking_heads"
    extractors: tuple[str, ...] = ("speaker_features",)
    also_reads: tuple[str, ...] = ("silver.speaker_features",)
    results: Table = CURATION_IMPACT
    predicts: bool = False
    answers: tuple[str, ...] = ()
    design: Design = field(default_factory=Design)
    max_clips: int = 2_000  # the time to fit a support vector machine grows with their square
    clips_per_speaker: int = 60

    def identity(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "design": asdict(self.design),
            "max_clips": self.max_clips,
            "clips_per_speaker": self.clips_per_speaker,
            "scikit-learn": sklearn.__version__,
        }

    def train(
        self,
        con: duckdb.DuckDBPyConnection,
        measured: Mapping[str, Measured],
        progress: Progress,
        place: Place | None = None,
    ) -> Trained:
        """Compare, where what was kept allows it; else say why not."""
        with threadpool_limits(1):  # a task has one core; and sums in one order give the same figures anywhere
            return self._train(con, measured, progress)

    def _train(self, con: duckdb.DuckDBPyConnection, measured: Mapping[str, Measured], progress: Progress) -> Trained:
        there = con.execute(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'silver' "
            "AND table_name = 'speaker_features'"
        ).fetchall()
        everyone = proxy.heard(con) if there else proxy.nobody()
        diagnoses = {
            "all": diagnose(everyone.subject.tolist(), everyone.video.tolist()),
            "kept": diagnose(everyone.subject[everyone.kept].tolist(), everyone.video[everyone.kept].tolist()),
        }
        clips = everyone.rows(everyone.place <= self.clips_per_speaker)
        clips = clips.at_most(self.max_clips, clips.comparable(min_videos=MIN_VIDEOS, min_clips=MIN_CLIPS))
        compared = clips.rows(clips.comparable(min_videos=MIN_VIDEOS, min_clips=MIN_CLIPS))
        counts = self._counts(con, everyone, compared)
        facts = {
            "counts": counts,
            "diagnosis": {name: asdict(found) for name, found in diagnoses.items()},
            "measured": {name: asdict(one) for name, one in measured.items()},
            "settings": self.identity(),
        }
        if reason := _hopeless(diagnoses, compared):
            none = Score(NO_MODEL, TEST, "trainable", 0.0, None, None, counts["kept"])
            return self._answer(NO_MODEL, [none], facts, [], reason)
        columns = {BASELINE: BASELINE_COLUMNS, EMBEDDING: proxy.embedding_columns(con)}
        table: list[Score] = []
        models = []
        for name, chosen in columns.items():
            scores, found = self._compare(con, name, chosen, clips, compared, progress)
            table += scores
            models.append(found)
        return self._answer(BASELINE, table, facts, models, "")

    def _counts(self, con: duckdb.DuckDBPyConnection, everyone: proxy.Heard, compared: proxy.Heard) -> dict[str, int]:
        """How many clips there are in gold, with a voice, in the task."""
        rows, kept = con.execute(f"SELECT count(*), count(*) FILTER (kept) FROM {self.table}").fetchall()[0]
        enough = everyone.comparable(min_videos=MIN_VIDEOS, min_clips=MIN_CLIPS)
        return {
            "clips": rows,
            "kept": kept,
            "heard_clips": len(everyone.kept),
            "heard_kept": int(everyone.kept.sum()),
            "heard_speakers": len(np.unique(everyone.subject)),
            "lacking_speakers": len(np.unique(everyone.subject[~enough])),
            "compared_clips": len(compared.kept),
            "compared_kept": int(compared.kept.sum()),
            "compared_speakers": len(np.unique(compared.subject)),
            "compared_videos": len(np.unique(compared.video)),
        }

    def _compare(
        self,
        con: duckdb.DuckDBPyConnection,
        name: str,
        columns: tuple[str, ...],
        everyone: proxy.Heard,
        compared: proxy.Heard,
        progress: Progress,
    ) -> tuple[list[Score], dict[str, Any]]:
        """One model: its rows of the table, and what verdict.json says of it."""
        clips = proxy.task(con, compared, columns)
        trials = try_all(
            clips, proxy.identify, self.design, lambda done: progress(f"compare {name}", done, self.design.seeds)
        )
        rows = np.concatenate([t.test for t in trials])
        scored = {TEST: np.ones(len(clips.y), dtype=bool)}
        if len(np.unique(clips.video[rows][clips.kept[rows]])) >= MIN_TESTED_VIDEOS:
            scored[TEST_KEPT] = clips.kept
        table: list[Score] = []
        differences: list[dict[str, Any]] = []
        for split, which in scored.items():
            found = figures(clips, trials, which, self.design)
            n = len(np.unique(rows[which[rows]]))
            table += [Score(name, split, metric, i.value, i.low, i.high, n) for metric, i in found.items()]
            differences += verdict.differences(found, split)
        usual = proxy.naive(proxy.task(con, everyone, columns), self.design.seeds)
        table += _naive_scores(name, usual)
        described = {
            "model": name,
            "features": len(columns),
            "verdicts": differences,
            "seeds": per_trial(clips, trials),
            "naive": usual,
        }
        return table, described

    def _answer(
        self, model: str, table: list[Score], facts: dict[str, Any], models: list[dict[str, Any]], reason: str
    ) -> Trained:
        found = {"trainable": not reason, "reason": reason, **facts, "models": models}
        found["words"] = verdict.words(found)
        files = {
            VERDICT: artifacts.to_json(found),
            "metrics.json": artifacts.to_json([asdict(s) for s in table]),
            "card.md": verdict.card(found).encode(),
        }
        return Trained(model, self.identity(), table, files)

    def load(self, files: Mapping[str, bytes]) -> Model:
        """There is none.

        Raises:
            WorkError: always.
        """
        raise WorkError(f"{self.table} is judged by a comparison that leaves no model; see its verdict.json")


def _hopeless(diagnoses: Mapping[str, Diagnosis], compared: proxy.Heard) -> str:
    """Why nothing can be compared, in words; empty where it can."""
    for name, what in (("kept", "what was kept"), ("all", "all clips")):
        if not diagnoses[name].trainable:
            return f"speaker identification cannot be trained on {what}: {diagnoses[name].reason}"
    if (videos := len(np.unique(compared.video))) < MIN_TESTED_VIDEOS:
        return (
            f"only {videos} source videos are of speakers who can be compared; with fewer than {MIN_TESTED_VIDEOS} an "
            "effect cannot be told from luck"
        )
    return ""


def _naive_scores(model: str, usual: Mapping[str, Mapping[str, float]]) -> list[Score]:
    found = []
    for metric in METRICS:
        values = {arm: usual[arm][metric] for arm in ("all", "kept")}
        values["kept_minus_all"] = values["kept"] - values["all"]
        sizes = {arm: int(usual[arm]["n"]) for arm in ("all", "kept")} | {"kept_minus_all": int(usual["kept"]["n"])}
        found += [Score(model, NAIVE, f"{metric}_{arm}", v, None, None, sizes[arm]) for arm, v in values.items()]
    return found


LEARNER = CurationLearner()
