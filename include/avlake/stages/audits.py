"""Audits: of a random sample of what a training predicted, how much do people find right?

audits/<pipeline>/<training run>.json   what was drawn, and what the model said of it then: one object, written when a
                                        sample is

The labels come back by `avlake labels import`, like any others; their source is the sample's name.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from avlake.errors import WorkError
from avlake.lake import Lake
from avlake.learn.artifacts import safe_name, to_json
from avlake.learn.metrics import wilson
from avlake.pipelines import get_pipeline
from avlake.stages import human
from avlake.stages.batch_files import Batch, Chosen, items_of

FOLDER = "audits"


@dataclass(frozen=True)
class Audited:
    """One predicted class of one audit; the interval is of 95 % (Wilson 1927), None where nobody has answered yet."""

    run_id: str  # of the training that was audited
    predicted: str
    drawn: int
    answered: int
    right: int
    share: float | None
    ci_low: float | None
    ci_high: float | None


def audit_name(run_id: str) -> str:
    """The source of the labels of a training's audit."""
    return f"audit-{safe_name(run_id)}"


def record_audit(lake: Lake, pipeline: str, batch: Batch, before: Sequence[Chosen]) -> None:
    """Note what was drawn to audit a training, beside what was drawn `before`: a smaller sample loses no answers."""
    chosen = {one.key: one for one in (*batch.chosen, *before)}
    drawn = {"run_id": batch.run_id, "chosen": [asdict(one) for one in chosen.values()]}
    lake.store.write(_object(pipeline, batch.run_id or ""), to_json(drawn))


def recorded(lake: Lake, pipeline: str, run_id: str) -> list[Chosen]:
    """What was drawn to audit a training; nothing where it was not audited.

    Raises:
        WorkError: if the record cannot be read.
    """
    return _read(lake, name)[1] if lake.store.exists(name := _object(pipeline, run_id)) else []


def _read(lake: Lake, name: str) -> tuple[str, list[Chosen]]:
    try:
        found = json.loads(lake.store.read(name))
        return str(found["run_id"]), [Chosen(**row) for row in found["chosen"]]
    except (ValueError, TypeError, KeyError) as error:
        raise WorkError(
            f"{lake.store.uri_of(name)} is damaged ({error!r}); remove it and draw the audit again"
        ) from None


def audit_results(lake: Lake, pipeline: str) -> list[Audited]:
    """The results of every training that was audited, the latest name first."""
    names = [name for name in lake.store.list(f"{FOLDER}/{pipeline}") if name.endswith(".json")]
    return [one for name in reversed(names) for one in audit_result(lake, pipeline, _read(lake, name)[0])]


def audit_result(lake: Lake, pipeline: str, run_id: str) -> list[Audited]:
    """How often people agreed with what a training predicted, by predicted class; empty where it was not audited.

    Labels count as soon as they are imported, whether gold knows them already or not: of each segment the latest that
    came back with this audit.
    """
    drawn, source = recorded(lake, pipeline, run_id), audit_name(run_id)
    if not drawn:
        return []
    dataset = get_pipeline(pipeline).dataset.name
    said: dict[tuple[str, float], str | None] = {}
    for row in human.everything(lake):
        if row["dataset"] == dataset and row["source"] == source and row["start_s"] is not None:
            said[row["item"], round(row["start_s"], 3)] = row["value"]
    by_class: dict[str, list[str | None]] = defaultdict(list)
    for one in drawn:
        answers = [said[item, one.start_s] for item in items_of(dataset, one.path) if (item, one.start_s) in said]
        by_class[one.predicted or ""].append(answers[0] if answers else None)
    return [_audited(run_id, predicted, answers) for predicted, answers in sorted(by_class.items())]


def _audited(run_id: str, predicted: str, answers: list[str | None]) -> Audited:
    answered = sum(answer is not None for answer in answers)
    right = answers.count(predicted)
    low, high = wilson(right, answered) if answered else (None, None)
    share = right / answered if answered else None
    return Audited(run_id, predicted, len(answers), answered, right, share, low, high)


def _object(pipeline: str, run_id: str) -> str:
    return f"{FOLDER}/{pipeline}/{safe_name(run_id)}.json"
