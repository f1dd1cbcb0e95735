"""Where someone speaks: segments from Silero VAD, one row per clip.

Silero VAD 6 (https://github.com/snakers4/silero-vad) gives each 32 ms a probability of speech; its own state machine
makes segments of them. The model lies in its wheel and runs on onnxruntime, about 16 s of audio in one call and in one
thread, with what it remembers carried from call to call: hours of audio are measured as a whole, in little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from avlake.extractors import base
from avlake.media.clip import SAMPLE_RATE
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.audio import Samples
    from avlake.media.clip import Clip

LISTENER = "voice_activity"
FRAME, CONTEXT = 512, 64  # samples that get one probability, and those before them that the model looks at, too
CALL = 512 * FRAME  # samples of one call of the model, as Silero's own front end has it


class Params(base.Params):
    """What counts as speech; the defaults are Silero's."""

    threshold: float = Field(
        0.5, gt=0, lt=1, title="Speech", description="probability at which speech begins; it ends 0.15 below"
    )
    min_speech_ms: int = Field(
        250, ge=0, le=60_000, title="Shortest speech", description="a shorter segment is no speech"
    )
    min_silence_ms: int = Field(
        100, ge=0, le=60_000, title="Shortest pause", description="a shorter pause does not end a segment"
    )
    pad_ms: int = Field(30, ge=0, le=10_000, title="Padding", description="added to both ends of a segment")


class Speech(base.Extractor):
    """Times are seconds from the first sample of the decoded audio; silence is a row without segments."""

    table = silver(
        "speech",
        "when speech sounds, and the share of time that it does",
        columns={
            "duration_s": pa.float64(),  # of the audio
            "speech_s": pa.float64(),
            "speech_ratio": pa.float32(),  # speech_s over duration_s
            "segments": pa.int32(),
            "segment_start_s": pa.list_(pa.float32()),  # rising; segments do not overlap
            "segment_end_s": pa.list_(pa.float32()),
        },
    )
    version = 1
    reads = ("audio",)
    samples = False
    Params: ClassVar[type[base.Params]] = Params

    def listen(self) -> Mapping[str, Callable[[], VoiceActivity]]:
        return {LISTENER: VoiceActivity}

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        n_samples = clip.sound.n_samples
        bounds = self._segments(clip.heard(LISTENER).probabilities(), n_samples) / SAMPLE_RATE
        duration_s, speech_s = n_samples / SAMPLE_RATE, float((bounds[:, 1] - bounds[:, 0]).sum())
        return {
            "duration_s": np.array([duration_s]),
            "speech_s": np.array([speech_s]),
            "speech_ratio": np.array([speech_s / duration_s if duration_s else 0.0], np.float32),
            "segments": np.array([len(bounds)], np.int32),
            "segment_start_s": _one_list(bounds[:, 0]),
            "segment_end_s": _one_list(bounds[:, 1]),
        }

    def _segments(self, probabilities: np.ndarray[Any, Any], n_samples: int) -> np.ndarray[Any, Any]:
        """First and end sample of each segment: (n_segments, 2)."""
        from silero_vad.utils_vad import get_speech_timestamps_from_probs

        assert isinstance(self.params, Params)
        found = get_speech_timestamps_from_probs(
            probabilities,
            threshold=self.params.threshold,
            sampling_rate=SAMPLE_RATE,
            min_speech_duration_ms=self.params.min_speech_ms,
            min_silence_duration_ms=self.params.min_silence_ms,
            speech_pad_ms=self.params.pad_ms,
            audio_length_samples=n_samples,
        )
        return np.array([(segment["start"], segment["end"]) for segment in found], np.int64).reshape(-1, 2)


class VoiceActivity:
    """Finds the probability of speech of every 32 ms while the sound is heard."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._memory = [np.zeros((1, 1, 128), np.float32)] * 2
        self._found = [np.zeros(0, np.float32)]

    def hear(self, samples: Samples) -> None:
        """Take the next samples (n,)."""
        held = np.concatenate([self._rest, samples])
        whole = len(held) - len(held) % CALL
        for start in range(0, whole, CALL):
            part = held[start : start + CALL]
            values, *self._memory = self._call(part)
            self._context = part[-CONTEXT:].copy()
            self._found.append(values.reshape(-1))
        self._rest = held[whole:].copy()

    def probabilities(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Of all that was heard: (ceil(n_samples / 512),); the last frame is filled up with silence."""
        last = [self._call(self._rest)[0].reshape(-1)] if len(self._rest) else []
        return np.concatenate([*self._found, *last])

    def _call(self, samples: Samples) -> list[np.ndarray[Any, Any]]:
        """Probabilities of at most `CALL` samples, and the two parts of what the model remembers after them."""
        from silero_vad.sequence_vad import frame_blocks

        (block,) = frame_blocks(samples, FRAME, CONTEXT, CALL // FRAME)
        block[0, :CONTEXT] = self._context
        hidden, cell = self._memory
        found: list[np.ndarray[Any, Any]] = _model().session.run(
            ["speech_probs", "hn", "cn"], {"input": block, "h": hidden, "c": cell}
        )
        return found


EXTRACTOR = Speech


def _one_list(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A column of one row that holds all the values."""
    column = np.empty(1, object)
    column[0] = values.astype(np.float32)
    return column


@cache
def _model() -> Any:
    """One per process: making it takes longer than a clip."""
    from silero_vad import load_silero_vad

    return load_silero_vad(sequence=True)
