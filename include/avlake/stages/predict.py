"""Predict: one row for every file named, measured in the sandbox as in the lake, judged by the model in charge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from avlake.errors import Quarantined
from avlake.lake import Lake
from avlake.learn.base import Answer, FileModel, Model, Progress, learner_of, silent
from avlake.media.sandbox import Sandbox
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages.train import load_file_model

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """What the model says of one file: a value for each of its learner's answers, all None where `error` says why."""

    file: str  # exactly as it was named
    answer: Answer
    error: str | None


def predict(
    settings: Settings, *, pipeline: str, files: Sequence[str], jobs: int = 1, progress: Progress | None = None
) -> list[Prediction]:
    """Judge files by name, in the order given; a file that cannot be measured gets a row with the reason.

    Raises:
        RequestError: if nothing has been trained, or the model judges faces.
        WorkError: if the model's files are damaged or untrusted, or it expects another version of its extractor.
    """
    unknown = dict.fromkeys(learner_of(get_pipeline(pipeline).learner).answers)
    model = load_file_model(Lake.open(settings).store, pipeline)
    return each(settings, files, lambda sandbox, file: _predict(sandbox, model, file, unknown), jobs, progress)


def each(
    settings: Settings,
    files: Sequence[str],
    judge: Callable[[Sandbox, str], T],
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[T]:
    """What `judge` says of every file, in the order given; `jobs` of them side by side."""
    say, lock, done = progress or silent, Lock(), count(1)

    def judge_all(part: Sequence[str]) -> list[T]:
        found = []
        with Sandbox(settings) as sandbox:
            for file in part:
                found.append(judge(sandbox, file))
                with lock:
                    say("predict", next(done), len(files))
        return found

    jobs = max(1, min(jobs, len(files)))
    results: dict[int, T] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for i, part in enumerate(pool.map(judge_all, [files[i::jobs] for i in range(jobs)])):
            results |= zip(range(i, len(files), jobs), part, strict=True)
    return [results[i] for i in range(len(files))]


def measure(sandbox: Sandbox, model: Model, file: str, annotation: str | None = None) -> dict[str, pa.RecordBatch]:
    """A file named, measured as the model learned from, by extractor.

    Raises:
        Quarantined: if there is none of that name, or it cannot be measured.
    """
    path = Path(file)
    try:
        found = path.is_file()
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        raise Quarantined("not_found", f"no such file ({error})") from None
    if not found:
        raise Quarantined("not_found", "no such file")
    wanted = {name: one.params for name, one in model.measured.items()}
    batches = {}
    for name, measured in sandbox.measure(path.resolve(), wanted, annotation=annotation).items():
        if measured.batch is None:
            raise measured.error or Quarantined("not_measured", f"{name} gave no rows")
        batches[name] = measured.batch
    return batches


def _predict(sandbox: Sandbox, model: FileModel, file: str, unknown: Answer) -> Prediction:
    try:
        return Prediction(file, model.answer(measure(sandbox, model, file)), None)
    except Quarantined as error:
        return Prediction(file, unknown, f"{error.error_class}: {error}")
