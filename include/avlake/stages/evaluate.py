"""Evaluate: score the model in charge on labelled drops, and say how far each drop has drifted from what it learned."""

from __future__ import annotations

from avlake import warehouse
from avlake.lake import Lake
from avlake.learn.drift import Drift
from avlake.learn.metrics import Score
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages.train import load_file_model, load_model


def evaluate(settings: Settings, *, pipeline: str, drop: str | None = None, dataset: str | None = None) -> list[Score]:
    """Every metric of the saved model on one labelled drop, or on all of a dataset's, by default the pipeline's own.

    Speakers the model was trained on are scored apart from those it has never heard: only the latter say how good it
    is.

    Raises:
        RequestError: if nothing has been trained.
        WorkError: if the warehouse holds no labelled window of that drop.
    """
    model = load_file_model(Lake.open(settings).store, pipeline)
    con = warehouse.connect(settings)
    try:
        return model.score(con, dataset or get_pipeline(pipeline).dataset.name, drop)
    finally:
        con.close()


def drift(settings: Settings, *, pipeline: str) -> list[Drift]:
    """Every drop in the warehouse against the training distribution of the model in charge, with a verdict in words."""
    _, model = load_model(Lake.open(settings).store, pipeline)
    con = warehouse.connect(settings)
    try:
        return model.drift(con)
    finally:
        con.close()
