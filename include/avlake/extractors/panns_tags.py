"""What is heard, by PANNs' CNN14: 527 scores for every 10 s; only where its weights are, see `avlake.models`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from avlake.extractors import base
from avlake.extractors.tagging import COLUMNS, Tagger, TagListener
from avlake.models import model_path
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.audio import Listener
    from avlake.media.clip import Clip

WEIGHTS, LABELS = "Cnn14_16k_mAP=0.438.pth", "class_labels_indices.csv"


class PannsTags(base.Extractor):
    """Tags of every window; times are seconds from the first sample of the decoded audio."""

    table = silver(
        "panns_tags",
        "tags of a recording by a second tagger, window by window",
        key=("window_index",),
        columns=COLUMNS,
    )
    version = 1
    samples = False
    models = (WEIGHTS, LABELS)
    optional = True

    def listen(self) -> Mapping[str, Callable[[], Listener]]:
        return {self.name: lambda: TagListener(panns())}

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        return clip.heard(self.name).columns()


EXTRACTOR = PannsTags


@cache
def panns() -> Tagger:
    """One per process.

    Raises:
        RequestError: if a file is missing or is not what its name says, with the next step.
    """
    from avlake.extractors.panns import Panns

    return Panns(model_path(WEIGHTS), model_path(LABELS))
