"""What segments of an episode sound like, cut from its end to its start.

An outro ends with its episode: counted from there, whole segments hold nothing but it, and what does not fill a segment
is left at the other end, where it is kept and marked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from avlake.extractors import base, soundscape
from avlake.media.clip import SAMPLE_RATE
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.audio import Listener
    from avlake.media.clip import Clip


class Params(base.Params):
    """How an episode is cut."""

    segment_s: float = Field(10.0, ge=1, le=600, title="Segment", description="length of a segment in seconds")
    direction: Literal["end", "start"] = Field(
        "end", title="Cut from", description="where the first whole segment lies; the rest is at the other end"
    )


class SegmentFeatures(base.Extractor):
    """Features of every segment: means and standard deviations over its frames, see `soundscape`.

    Times are seconds of the decoded sound, whole numbers of samples at 16 kHz; a segment ends where the next begins.
    """

    table = silver(
        "segment_features",
        "features of segments of an episode, counted from its end",
        key=("segment_index",),
        columns={
            "segment_index": pa.int32(),  # in order of time
            "start_s": pa.float64(),
            "end_s": pa.float64(),
            "is_short": pa.bool_(),  # the rest, at the other end, that is no whole segment
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
        length = round(params.segment_s * SAMPLE_RATE)
        edges = cuts(heard.n_samples, length, from_end=params.direction == "end")
        segments = np.stack((edges[:-1], edges[1:]), axis=1)
        return {
            "segment_index": np.arange(len(segments), dtype=np.int32),
            "start_s": segments[:, 0] / SAMPLE_RATE,
            "end_s": segments[:, 1] / SAMPLE_RATE,
            "is_short": np.diff(edges) < length,
            **dict(zip(soundscape.FEATURES, np.ascontiguousarray(heard.features(segments).T), strict=True)),
        }


EXTRACTOR = SegmentFeatures


def cuts(n_samples: int, length: int, *, from_end: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where `n_samples` (at least one) are cut, both ends among them: (n_segments + 1,), rising.

    All segments have `length` samples, but for the one at the end that is not counted from.
    """
    edges = np.append(np.arange(0, n_samples, length, dtype=np.int64), n_samples)
    return n_samples - edges[::-1] if from_end else edges
