"""Where someone speaks: segments from Silero VAD, one row per clip.

Silero VAD 6 (https://github.com/snakers4/silero-vad) gives each 32 ms a probability of speech; its own state machine
makes segments of them. The model lies in its wheel and runs on onnxruntime, about 16 s of audio in one call and in one
thread, with what it remembers carried from call to call: an hour of audio is measured as a whole.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from avlake.extractors import base
from avlake.media.clip import SAMPLE_RATE
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


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
    Params: ClassVar[type[base.Params]] = Params

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        samples = clip.audio.samples
        bounds = self._segments(samples) / SAMPLE_RATE
        duration_s, speech_s = len(samples) / SAMPLE_RATE, float((bounds[:, 1] - bounds[:, 0]).sum())
        return {
            "duration_s": np.array([duration_s]),
            "speech_s": np.array([speech_s]),
            "speech_ratio": np.array([speech_s / duration_s if duration_s else 0.0], np.float32),
            "segments": np.array([len(bounds)], np.int32),
            "segment_start_s": _one_list(bounds[:, 0]),
            "segment_end_s": _one_list(bounds[:, 1]),
        }

    def _segments(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """First and end sample of each segment: (n_segments, 2)."""
        from silero_vad import get_speech_timestamps_sequence

        assert isinstance(self.params, Params)
        found = get_speech_timestamps_sequence(
            samples,
            _model(),
            threshold=self.params.threshold,
            sampling_rate=SAMPLE_RATE,
            min_speech_duration_ms=self.params.min_speech_ms,
            min_silence_duration_ms=self.params.min_silence_ms,
            speech_pad_ms=self.params.pad_ms,
        )
        return np.array([(segment["start"], segment["end"]) for segment in found], np.int64).reshape(-1, 2)


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
