"""Predict: one row for every file named, measured in the sandbox as in the lake, judged by the model in charge."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock

from avlake.errors import Quarantined
from avlake.lake import Lake
from avlake.learn.base import Answer, Model, Progress, silent
from avlake.media.sandbox import Sandbox
from avlake.settings import Settings
from avlake.stages.train import load_model


@dataclass(frozen=True)
class Prediction:
    """What the model says of one file; `label` and `probability` are None where `error` says why not."""

    file: str  # exactly as it was named
    label: str | None
    probability: float | None  # of the label
    windows: int
    error: str | None


def predict(
    settings: Settings, *, pipeline: str, files: Sequence[str], jobs: int = 1, progress: Progress | None = None
) -> list[Prediction]:
    """Judge files by name, in the order given; a file that cannot be measured gets a row with the reason.

    Raises:
        RequestError: if nothing has been trained.
        WorkError: if the model's files are damaged or untrusted, or it expects another version of its extractor.
    """
    _, model = load_model(Lake.open(settings).store, pipeline)
    say, lock, done = progress or silent, Lock(), count(1)

    def judge_all(part: Sequence[str]) -> list[Prediction]:
        found = []
        with Sandbox(settings) as sandbox:
            for file in part:
                found.append(_predict(sandbox, model, file))
                with lock:
                    say("predict", next(done), len(files))
        return found

    jobs = max(1, min(jobs, len(files)))
    results: list[Prediction | None] = [None] * len(files)
    with ThreadPoolExecutor(jobs) as pool:
        for i, part in enumerate(pool.map(judge_all, [files[i::jobs] for i in range(jobs)])):
            results[i::jobs] = part
    return [result for result in results if result is not None]


def _predict(sandbox: Sandbox, model: Model, file: str) -> Prediction:
    try:
        answer = _judge(sandbox, model, file)
    except Quarantined as error:
        return Prediction(file, None, None, 0, f"{error.error_class}: {error}")
    return Prediction(file, answer.label, answer.probability, answer.windows, None)


def _judge(sandbox: Sandbox, model: Model, file: str) -> Answer:
    path = Path(file)
    try:
        found = path.is_file()
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        raise Quarantined("not_found", f"no such file ({error})") from None
    if not found:
        raise Quarantined("not_found", "no such file")
    measured = sandbox.measure(path.resolve(), {model.measured.extractor: model.measured.params})[
        model.measured.extractor
    ]
    if measured.batch is None:
        raise measured.error or Quarantined("not_measured", "the extractor gave no windows")
    return model.answer(measured.batch)
