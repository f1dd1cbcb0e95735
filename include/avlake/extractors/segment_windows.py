"""The same features, finer: windows of 2 s, a second apart, for finding where something begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from avlake.extractors import base, soundscape, windows
from avlake.media.clip import SAMPLE_RATE
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.audio import Listener
    from avlake.media.clip import Clip


class Params(base.Params):
    """How an episode is cut into windows, from its start."""

    window_s: float = Field(2.0, ge=0.25, le=60, title="Window", description="length of a window in seconds")
    hop_s: float = Field(1.0, ge=0.125, le=60, title="Hop", description="seconds between the starts of two windows")

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.hop_s > self.window_s:
            raise ValueError("hop_s must not exceed window_s")
        return self


class SegmentWindows(base.Extractor):
    """Features of every window; what is left after the last whole one makes a shorter one, to the sound's end."""

    table = silver(
        "segment_windows",
        "features of short windows of an episode",
        key=("window_index",),
        columns={
            "window_index": pa.int32(),
            "start_s": pa.float64(),
            "end_s": pa.float64(),
            **dict.fromkeys(soundscape.FEATURES, pa.float32()),
        },
    )
    version = 1
    samples = False
    Params: ClassVar[type[base.Params]] = Params

    def listen(self) -> Mapping[str, Callable[[], Listener]]:
        return {soundscape.NAME: soundscape.Soundscape}

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        """Raises:
        Quarantined: `out_of_range` or `too_short`.
        """
        params = self.params
        assert isinstance(params, Params)
        heard = soundscape.heard(clip)
        window, hop = (round(seconds * SAMPLE_RATE) for seconds in (params.window_s, params.hop_s))
        parts = windows.bounds(heard.n_samples, window=window, hop=hop, shortest=1, shortest_partial=1)
        samples = np.array(parts, np.int64)
        times = samples / SAMPLE_RATE
        return {
            "window_index": np.arange(len(parts), dtype=np.int32),
            "start_s": times[:, 0],
            "end_s": times[:, 1],
            **dict(zip(soundscape.FEATURES, np.ascontiguousarray(heard.features(samples).T), strict=True)),
        }


EXTRACTOR = SegmentWindows
