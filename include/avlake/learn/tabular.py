"""Learning from a table of windows: compare kinds of model, choose one, fit it on all that is labelled, explain it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import imblearn
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from avlake.errors import Quarantined, WorkError
from avlake.learn import artifacts
from avlake.learn.base import Answer, Measured, Place, Progress, Trained
from avlake.learn.candidates import CANDIDATES, Candidate
from avlake.learn.card import model_card
from avlake.learn.compare import Comparison, Selection, choose, compare, leaky, tune
from avlake.learn.drift import Drift, Reference, make_reference, measure_drift
from avlake.learn.explain import explain
from avlake.learn.frame import Frame, read_frame
from avlake.learn.metrics import Score, Scored, pool, scores
from avlake.tables import MODEL_RUNS, Table

if TYPE_CHECKING:
    import duckdb

Array = np.ndarray[Any, Any]
MAJORITY = "always_the_majority"
LEAKY = "leaky_random"


@dataclass(frozen=True)
class TabularLearner:
    """Two classes, one row per window, one extractor; `group` is never on both sides of a split."""

    version: int  # raised whenever the same table would give another model
    table: str
    label: str
    classes: tuple[str, str]
    group: str
    extractors: tuple[str]
    selection: Selection = field(default_factory=Selection)
    candidates: Sequence[Candidate] = CANDIDATES
    also_reads: tuple[str, ...] = ()
    results: Table = MODEL_RUNS
    predicts: bool = True
    answers: tuple[str, ...] = ("label", "probability", "windows")
    max_windows: int = 5_000  # the time to fit a support vector machine grows with their square

    @property
    def labelled(self) -> str:
        """The rows that may be learned from or scored on."""
        return f"kept AND {self.label} IS NOT NULL"

    def identity(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "selection": asdict(self.selection),
            "max_windows": self.max_windows,
            "candidates": {c.name: list(c.grid) for c in self.candidates},
            "scikit-learn": sklearn.__version__,
            "imbalanced-learn": imblearn.__version__,
        }

    def read(self, con: duckdb.DuckDBPyConnection, where: str, values: Mapping[str, str] | None = None) -> Frame:
        return read_frame(
            con, self.table, label=self.label, classes=self.classes, group=self.group, where=where, values=values
        )

    def train(
        self,
        con: duckdb.DuckDBPyConnection,
        measured: Mapping[str, Measured],
        progress: Progress,
        place: Place | None = None,
    ) -> Trained:
        with threadpool_limits(1):  # a task has one core; and sums in one order give the same model anywhere
            labelled = self.read(con, self.labelled)
            return self._train(labelled.at_most(self.max_windows), len(labelled), measured, progress)

    def _train(self, frame: Frame, labelled: int, measured: Mapping[str, Measured], progress: Progress) -> Trained:
        _check_splits(frame)
        comparison = compare(frame, self.candidates, self.selection, n_classes=len(self.classes), progress=progress)
        chosen = choose(comparison, frame, self.candidates)
        candidate = next(c for c in self.candidates if c.name == chosen)
        progress("fit the chosen model", 0, 3)
        tuned = tune(frame, [candidate], self.selection)[chosen]
        final = self.selection.prepare(frame, tuned.offer)
        classifier = final.fit(candidate.build(self.selection.seed, **tuned.settings))
        settings = {"features": tuned.offer, **tuned.settings}
        progress("fit the chosen model", 1, 3)
        table = self._scores(frame, comparison, chosen, leaky(frame, candidate, tuned, self.selection))
        progress("fit the chosen model", 2, 3)
        explanation = explain(frame, comparison, chosen, final, seed=self.selection.seed)
        features = [frame.features[i] for i in final.kept]
        description = {
            "classes": self.classes,
            "features": features,
            "label": self.label,
            "measured": {name: asdict(one) for name, one in measured.items()},
            "model": chosen,
            "settings": settings,
            "scheme": comparison.scheme,
            "windows": len(frame),
            "labelled_windows": labelled,
            "files": len(np.unique(frame.item)),
            "groups": {c: len(np.unique(frame.group[frame.y == i])) for i, c in enumerate(self.classes)},
            "drops": sorted(set(frame.drop.tolist())),
            "versions": self.identity(),
        }
        reference = make_reference(frame.columns(features), features, frame.y, frame.group)
        files = {
            "model.skops": artifacts.dump_estimator(Pipeline([("scale", final.scaler), ("classify", classifier)])),
            "features.json": artifacts.to_json(description),
            "metrics.json": artifacts.to_json([asdict(s) for s in table]),
            "explanation.json": artifacts.to_json(explanation),
            "predictions.parquet": _predictions(frame, comparison),
            "reference.npz": reference.to_bytes(),
            "card.md": model_card(description, table).encode(),
        }
        progress("fit the chosen model", 3, 3)
        return Trained(chosen, settings, table, files)

    def _scores(self, frame: Frame, comparison: Comparison, chosen: str, random_split: Scored) -> list[Score]:
        seed = self.selection.seed
        table = []
        for split in comparison.splits():
            for candidate in self.candidates:
                held_out = comparison.scored(frame, candidate.name, split)
                table += scores(held_out, model=candidate.name, split=split, classes=self.classes, seed=seed)
            share = float(frame.y.mean() >= 0.5)
            always = Scored(np.full(len(held_out.y), share), held_out.y, held_out.group, held_out.item)
            table += scores(always, model=MAJORITY, split=split, classes=self.classes, seed=seed)
        table += scores(random_split, model=chosen, split=LEAKY, classes=self.classes, seed=seed)
        return table

    def load(self, files: Mapping[str, bytes]) -> TabularModel:
        """Load what `train` left.

        Raises:
            WorkError: if a file is missing or damaged, or the model holds untrusted types.
        """
        missing = {"model.skops", "features.json", "reference.npz"} - files.keys()
        if missing:
            raise WorkError(f"the model's folder lacks {', '.join(sorted(missing))}; train again")
        try:
            description = json.loads(files["features.json"])
            measured = {name: Measured(**one) for name, one in description["measured"].items()}
            name, features = str(description["model"]), tuple(description["features"])
            drops = tuple(description["drops"])
            reference = Reference.from_bytes(files["reference.npz"])
        except (ValueError, KeyError, TypeError) as error:
            raise WorkError(f"the model's features.json or reference.npz is damaged ({error}); train again") from None
        estimator = artifacts.load_estimator(files["model.skops"], "model.skops")
        return TabularModel(self, name, estimator, features, drops, measured, reference)


@dataclass(frozen=True)
class TabularModel:
    """A saved model, loaded: it judges windows by the features it was trained on, in their order."""

    learner: TabularLearner
    name: str
    estimator: BaseEstimator
    features: tuple[str, ...]
    drops: tuple[str, ...]
    measured: Mapping[str, Measured]
    reference: Reference

    def probabilities(self, X: Array) -> Array:
        """(n, n_features) in the model's order -> (n,) probability of the second class."""
        with threadpool_limits(1):
            p: Array = self.estimator.predict_proba(X)[:, 1]
        return p

    def answer(self, measured: Mapping[str, pa.RecordBatch]) -> Answer:
        """The label of one file from its windows, the log-odds of which are averaged."""
        (windows,) = measured.values()
        X = np.column_stack([np.asarray(windows.column(name), dtype=np.float32) for name in self.features])
        X = X[np.isfinite(X).all(axis=1)]
        if not len(X):
            raise Quarantined("not_finite", "no window has all of the model's features")
        p = pool(self.probabilities(X))
        second = p >= 0.5
        label, probability = self.learner.classes[int(second)], p if second else 1 - p
        return {"label": label, "probability": probability, "windows": len(X)}

    def score(self, con: duckdb.DuckDBPyConnection, dataset: str, drop: str | None) -> list[Score]:
        """Metrics on labelled rows, speakers it was trained on apart from speakers it has never heard."""
        named = {"dataset": dataset} | ({"drop_date": drop} if drop else {})
        where = " AND ".join([self.learner.labelled, *(f"{name} = ${name}" for name in named)])
        frame = self.learner.read(con, where, named)
        seen = np.isin(frame.group, self.reference.groups)
        table = []
        for name, rows in (("seen", seen), ("unseen", ~seen)):
            if rows.any():
                part = frame.rows(rows)
                scored = Scored(self.probabilities(part.columns(self.features)), part.y, part.group, part.item)
                split = f"{dataset}/{drop or 'all drops'}, {name} groups"
                table += scores(scored, model=self.name, split=split, classes=self.learner.classes)
        return table

    def drift(self, con: duckdb.DuckDBPyConnection) -> list[Drift]:
        """Each drop against the training distribution, in order of time."""
        frame = self.learner.read(con, f"kept OR {self.learner.label} IS NULL")
        X = frame.columns(self.features)
        found = []
        for drop in np.unique(frame.drop):
            rows = frame.drop == drop
            trained_on = str(drop) in self.drops
            drift = measure_drift(
                self.reference, str(drop), X[rows], frame.group[rows], frame.y[rows], trained_on=trained_on
            )
            found.append(drift)
        return found


def _check_splits(frame: Frame) -> None:
    pairs = np.unique(np.column_stack([frame.group, frame.split]), axis=0)[:, 0]
    names, count = np.unique(pairs, return_counts=True)
    if (count > 1).any():
        raise WorkError(f"{names[count > 1][0]} is in more than one split; curate again before training")


def _predictions(frame: Frame, comparison: Comparison) -> bytes:
    """Held-out predictions of every candidate as Parquet: what the report's pictures are drawn from."""
    parts = []
    for (candidate, split), (rows, p) in comparison.predictions.items():
        parts.append(
            pa.table(
                {
                    "file_id": frame.item[rows],
                    "window_index": frame.window[rows],
                    "group": frame.group[rows],
                    "drop": frame.drop[rows],
                    "y": frame.y[rows],
                    "p": p.astype(np.float64),
                    "model": pa.array([candidate] * len(rows)),
                    "split": pa.array([split] * len(rows)),
                }
            )
        )
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(parts), buffer)
    return buffer.getvalue()
