"""How good a talking head's picture is: faces, sharpness, light, stillness; one row per clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip


class VideoQuality(base.Extractor):
    """All face measures are of the whole frame letterboxed to 224 x 224."""

    table = silver(
        "video_quality",
        "faces, sharpness, light and stillness of a clip's picture",
        columns={
            "frames_measured": pa.int32(),  # every `stride`-th of the clip's
            "frames": pa.int32(),  # of the clip
            "face_presence_ratio": pa.float32(),  # share of measured frames with a face
            "avg_blur_score": pa.float32(),  # mean Laplacian variance of the largest face's box; NULL without a face
            "min_blur_score": pa.float32(),  # of the blurriest frame
            "face_size_ratio": pa.float32(),  # mean area of the largest face over the picture's
            "avg_faces": pa.float32(),  # mean number per measured frame
            "max_faces": pa.int32(),
            "face_confidence": pa.float32(),  # mean of the largest face's; NULL without a face
            "brightness": pa.float32(),  # mean luma of the picture, 0 to 255
            "contrast": pa.float32(),  # mean standard deviation of luma
            "face_stability": pa.float32(),  # mean IoU of its box with the measured frame's before; NULL without two
            "frozen_ratio": pa.float32(),  # share of measured frames equal to the one before
            "scene_cuts": pa.int32(),
        },
    )
    version = 1
    reads = ("video",)
    models = ("blaze_face_short_range.tflite",)

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError


EXTRACTOR = VideoQuality
