"""Predict: one row for every file named, measured in the sandbox as in the lake, judged by the model in charge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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
    say, done = progress or silent, 0
    results: dict[int, Prediction] = {}
    jobs = max(1, min(jobs, len(files)))
    with ThreadPoolExecutor(jobs) as pool:
        parts = [list(enumerate(files))[i::jobs] for i in range(jobs)]
        for part in pool.map(lambda part: list(_judge_all(settings, model, part)), parts):
            results.update(part)
            done += len(part)
            say("predict", done, len(files))
    return [results[i] for i in range(len(files))]


def _judge_all(settings: Settings, model: Model, files: Sequence[tuple[int, str]]) -> Iterator[tuple[int, Prediction]]:
    with Sandbox(settings) as sandbox:
        for i, file in files:
            try:
                answer = _judge(sandbox, model, file)
                yield i, Prediction(file, answer.label, answer.probability, answer.windows, None)
            except Quarantined as error:
                yield i, Prediction(file, None, None, 0, f"{error.error_class}: {error}")


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
