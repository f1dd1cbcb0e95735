"""A row for every file named, in the order they were named, whatever is in them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avlake.datasets.synthetic import Voice, speak
from avlake.errors import RequestError
from avlake.settings import Settings
from avlake.stages.predict import predict
from avlake.stages.train import TrainReport

PIPELINE = "voxforge_gender"
pytestmark = pytest.mark.usefixtures("fast")


def sound(speaker: int, form: str = "WAV", cut_s: float = 4.0) -> bytes:
    """A voice the model has not heard, cut off after `cut_s`: odd speakers are women."""
    samples = speak(Voice.of(speaker, seed=77), 4.0, np.random.default_rng(speaker))[: round(cut_s * 16_000)]
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=form, subtype="PCM_16")
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files")
    for speaker in range(6):
        (path / f"{speaker}.wav").write_bytes(sound(speaker))
    (path / "flac named.txt").write_bytes(sound(1, "FLAC"))
    (path / "short.wav").write_bytes(sound(1, cut_s=0.3))
    (path / "empty.wav").write_bytes(b"")
    (path / "noise.wav").write_bytes(np.random.default_rng(0).bytes(4000))
    return path


def test_unheard_voices_are_told_apart(trained: tuple[Settings, TrainReport], folder: Path) -> None:
    found = predict(trained[0], pipeline=PIPELINE, files=[str(folder / f"{i}.wav") for i in range(6)], jobs=2)
    assert [p.answer["label"] for p in found] == ["male", "female"] * 3
    for prediction in found:
        assert 0.5 <= prediction.answer["probability"] <= 1
        assert prediction.answer["windows"] >= 1
        assert prediction.error is None


def test_every_name_gets_a_row_as_given(
    trained: tuple[Settings, TrainReport], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    expected = {
        "./0.wav": None,
        "flac named.txt": None,
        "short.wav": "too_short",
        "empty.wav": "empty",
        "noise.wav": "not_media",
        "missing.wav": "not_found",
        ".": "not_found",
        "nul\0.wav": "not_found",
        "x" * 300: "not_found",
    }
    files = [*expected, "./0.wav"]
    found = predict(trained[0], pipeline=PIPELINE, files=files, jobs=3)
    assert [p.file for p in found] == files
    for prediction in found:
        reason = expected[prediction.file]
        if reason is None:
            assert prediction.answer["label"] in ("female", "male")
        else:
            assert prediction.answer == dict.fromkeys(("label", "probability", "windows"))
            assert prediction.error is not None and prediction.error.startswith(f"{reason}: ")


def test_the_number_of_jobs_changes_nothing(trained: tuple[Settings, TrainReport], folder: Path) -> None:
    files = sorted(str(path) for path in folder.iterdir())
    told: list[tuple[str, int, int]] = []
    one = predict(trained[0], pipeline=PIPELINE, files=files, jobs=1, progress=lambda *a: told.append(a))
    assert one == predict(trained[0], pipeline=PIPELINE, files=files, jobs=4)
    assert told == [("predict", i, len(files)) for i in range(1, len(files) + 1)]


def test_no_files_make_no_rows(trained: tuple[Settings, TrainReport]) -> None:
    assert predict(trained[0], pipeline=PIPELINE, files=[]) == []


def test_without_a_model_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"avlake train {PIPELINE}"):
        predict(Settings(uri=str(tmp_path / "lake")), pipeline=PIPELINE, files=["a.wav"])
