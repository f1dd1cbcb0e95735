"""What is heard, by PANNs: 527 scores for every window; only where its weights are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import TEXT, silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class PannsTags(base.Extractor):
    """Tags of every window."""

    table = silver(
        "panns_tags",
        "tags of a recording by a second tagger, window by window",
        key=("window_index",),
        columns={
            "window_index": pa.int32(),
            "start_s": pa.float64(),
            "trusted": pa.bool_(),  # false for the last window, which is padded
            "speech": pa.float32(),  # score of the tag Speech
            "music": pa.float32(),  # score of the tag Music
            "speech_any": pa.float32(),  # highest score of all tags of human voices
            "music_any": pa.float32(),  # highest score of all tags of music, instruments and singing
            "top_tags": pa.list_(TEXT),  # names of the five highest, falling
            "top_scores": pa.list_(pa.float32()),
            "scores": pa.binary(),  # of all tags: byte i is round(255 sqrt(score i))
        },
    )
    version = 1
    samples = False
    models = ("Cnn14_16k_mAP=0.438.pth",)
    optional = True

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = PannsTags
