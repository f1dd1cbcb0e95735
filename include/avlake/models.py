"""Third-party model files: where they come from, and how to tell that they are whole.

They lie in AVLAKE_MODELS, which the pipelines only read. Every file that is fetched is pinned by sha256. Some are for
people to put there; who uses these looks at what is in them, and pipelines go without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from avlake.errors import RequestError, WorkError
from avlake.settings import Settings, load_settings


@dataclass(frozen=True)
class ModelFile:
    """One published file; a model may have several builds, any of which will do."""

    name: str
    url: str
    sha256: tuple[str, ...]  # the first is that of `url`


MEDIAPIPE = "https://storage.googleapis.com/mediapipe-models"
MODEL_FILES = (
    ModelFile(
        "blaze_face_short_range.tflite",
        f"{MEDIAPIPE}/face_detector/blaze_face_short_range/float16/1/blaze_face_short_range.tflite",
        ("b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f",),
    ),
    ModelFile(
        "yamnet.tflite",
        f"{MEDIAPIPE}/audio_classifier/yamnet/float32/1/yamnet.tflite",
        (
            "4d8b4a53282dc83ef04e3e7dbc4fbc98082e34e44ed798e16c3a0cdd4c584faf",
            "10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de",
        ),
    ),
)
# Files that nobody has to have, and where they are published.
BROUGHT = {
    "Cnn14_16k_mAP=0.438.pth": "https://zenodo.org/records/3987831",
    "class_labels_indices.csv": "https://github.com/qiuqiangkong/audioset_tagging_cnn/tree/master/metadata",
}


def model_path(name: str, settings: Settings | None = None) -> Path:
    """Where a model file is.

    Raises:
        RequestError: if it is missing or not a published build, with the next step.
    """
    path = (settings or load_settings()).models / name
    known = _pinned(name)
    if not known and not path.is_file():
        raise RequestError(f"model file {path} is missing: fetch it from {BROUGHT[name]}")
    if known and not is_whole(path, known):
        state = "is not the published file (sha256 differs)" if path.is_file() else "is missing"
        raise RequestError(f"model file {path} {state}: run `avlake models pull`, or set AVLAKE_MODELS to its folder")
    return path


def has_model(name: str, settings: Settings) -> bool:
    """Is a model file there, in a published build where it is one of those known here?"""
    known, path = _pinned(name), settings.models / name
    return is_whole(path, known) if known else path.is_file()


def _pinned(name: str) -> ModelFile | None:
    return next((model for model in MODEL_FILES if model.name == name), None)


def is_whole(path: Path, model: ModelFile) -> bool:
    """Is this file one of the model's published builds?"""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() in model.sha256


def pull(settings: Settings, models: tuple[ModelFile, ...] = MODEL_FILES) -> Iterator[Path]:
    """Fetch what is missing or broken; yields each file's path once it is whole.

    Raises:
        WorkError: when a download fails or is not the pinned file; nothing is left under the model's name then.
    """
    settings.models.mkdir(parents=True, exist_ok=True)
    for model in models:
        path = settings.models / model.name
        if not is_whole(path, model):
            part = path.with_suffix(".part")
            try:
                with httpx.stream("GET", model.url, timeout=60) as answer, part.open("wb") as file:
                    answer.raise_for_status()
                    for block in answer.iter_bytes():
                        file.write(block)
                        if file.tell() > settings.download_max_mb << 20:
                            raise WorkError(f"{model.url} is larger than AVLAKE_DOWNLOAD_MAX_MB")
                if not is_whole(part, model):
                    raise WorkError(f"{model.url} is not the pinned file (sha256 differs); nothing was installed")
                part.replace(path)
            except httpx.HTTPError as error:
                raise WorkError(
                    f"{model.url}: {error}; fetch it by other means into {settings.models} and run this again"
                ) from None
            finally:
                part.unlink(missing_ok=True)
        yield path
