"""What is heard, by YAMNet: 521 scores for every 0.975 s.

YAMNet is a MobileNet trained on AudioSet (https://github.com/tensorflow/models/tree/master/research/audioset/yamnet),
run through MediaPipe's AudioClassifier, which cuts sound into windows side by side and knows their names from the model
file. It fills the last one up with silence, where it hears ticks and silence: that one is kept, and not trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avlake.extractors import base, mediapipe_tasks
from avlake.extractors.tagging import COLUMNS, Scores, TagListener
from avlake.media.audio import SAMPLE_RATE, Samples
from avlake.models import model_path
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.audio import Listener
    from avlake.media.clip import Clip

MODEL = "yamnet.tflite"
WINDOW_S = 0.975


class AudioTags(base.Extractor):
    """Tags of every window; times are seconds from the first sample of the decoded audio.

    The score of a whole recording is to be made of its trusted windows; of one with a single window, of that one.
    """

    table = silver("audio_tags", "tags of a recording, window by window", key=("window_index",), columns=COLUMNS)
    version = 1
    samples = False
    models = (MODEL,)

    def listen(self) -> Mapping[str, Callable[[], Listener]]:
        return {self.name: lambda: TagListener(yamnet())}

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        return clip.heard(self.name).columns()


class Yamnet:
    """A `Tagger`, see `avlake.extractors.tagging`."""

    window_samples = round(WINDOW_S * SAMPLE_RATE)

    def __init__(self, path: Path) -> None:
        """Raises:
        WorkError: if mediapipe does not load, with the next step.
        """
        audio = mediapipe_tasks.load("audio")
        from mediapipe.tasks.python import BaseOptions
        from mediapipe.tasks.python.components.containers import AudioData

        self._wrap = AudioData.create_from_array
        options = audio.AudioClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)))
        with mediapipe_tasks.hushed():
            self._classifier = audio.AudioClassifier.create_from_options(options)
            found = self._classify(np.zeros(self.window_samples, np.float32))[0]
        self.names = tuple(tag.category_name for tag in sorted(found, key=lambda tag: tag.index))

    def score(self, samples: Samples) -> Scores:
        windows = self._classify(samples)
        scores = np.empty((len(windows), len(self.names)), np.float32)
        for row, found in zip(scores, windows, strict=True):
            row[[tag.index for tag in found]] = [tag.score for tag in found]
        return scores

    def close(self) -> None:
        """Let go of the model: one that is open when the interpreter ends prints a TypeError."""
        self._classifier.close()

    def _classify(self, samples: Samples) -> list[Any]:
        results = self._classifier.classify(self._wrap(samples, SAMPLE_RATE))
        return [result.classifications[0].categories for result in results]


EXTRACTOR = AudioTags


@cache
def yamnet() -> Yamnet:
    """One per process: loading it takes longer than a clip.

    Raises:
        RequestError: if the model file is missing, with the next step.
        WorkError: if mediapipe does not load.
    """
    return Yamnet(model_path(MODEL))
