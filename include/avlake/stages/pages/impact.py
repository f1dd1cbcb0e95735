"""What a page shows of the proof that curation helps, or of why there is none: from the training's own files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from avlake.learn.base import VERDICT
from avlake.learn.card import interval
from avlake.learn.curation import NAIVE, TEST, TEST_KEPT
from avlake.learn.impact import METRICS
from avlake.learn.metrics import Score
from avlake.learn.verdict import CALLED

MINUS = "_minus_"
TESTED_ON = {
    TEST: "all clips held out",
    TEST_KEPT: "the kept ones of those held out",
    NAIVE: "not comparable: different test sets",
}


def shown(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What the page's first section shows: the verdict in words, differences with their intervals, and every arm.

    Args:
        files: what a training of `avlake.learn.curation` left, by name.
    """
    scores = [Score(**record) for record in json.loads(files["metrics.json"])]
    parts = [(score, metric, *_compared(score, metric)) for score in scores for metric in METRICS if _is(score, metric)]
    parts.sort(key=lambda part: list(TESTED_ON).index(part[0].split))
    return {
        "words": json.loads(files[VERDICT])["words"],
        "differences": [_difference(score, metric, one, other) for score, metric, one, other in parts if other],
        "arms": _arms([(score, metric, one) for score, metric, one, other in parts if not other]),
    }


def _is(score: Score, metric: str) -> bool:
    return score.metric.startswith(f"{metric}_")


def _compared(score: Score, metric: str) -> tuple[str, str]:
    """The arm of a score, and the arm that it is compared with if it is a difference."""
    one, _, other = score.metric.removeprefix(f"{metric}_").partition(MINUS)
    return one, other


def _difference(score: Score, metric: str, one: str, other: str) -> dict[str, Any]:
    ends = "" if score.ci_low is None or score.ci_high is None else f" [{score.ci_low:+.3f}, {score.ci_high:+.3f}]"
    return {
        "model": score.model.replace("_", " "),
        "metric": CALLED[metric],
        "compared": f"{one} against {other}",
        "tested_on": TESTED_ON[score.split],
        "fair": score.split != NAIVE,
        "drawn": score.split != TEST_KEPT,
        "value": score.value,
        "low": score.ci_low,
        "high": score.ci_high,
        "text": f"{score.value:+.3f}{ends}",
        "n": score.n,
    }


def _arms(scores: list[tuple[Score, str, str]]) -> list[dict[str, Any]]:
    """A row per model, test set and arm: each metric with its interval."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for score, metric, arm in scores:
        rows.setdefault((score.model, score.split, arm), {})[metric] = interval(score)
    return [
        {
            "model": model.replace("_", " "),
            "arm": arm,
            "tested_on": TESTED_ON[split],
            "fair": split != NAIVE,
            "metrics": [found[metric] for metric in METRICS],
        }
        for (model, split, arm), found in rows.items()
    ]
