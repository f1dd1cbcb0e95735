"""Faces in a frame: MediaPipe's BlazeFace (short range) on the whole frame letterboxed to 224 x 224.

Bazarevsky et al. 2019, https://arxiv.org/abs/1907.05047. A face under about a tenth of the frame is missed, and a dog's
face may pass for a human one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avlake.extractors import mediapipe_tasks
from avlake.media.video import SIDE_PX
from avlake.models import model_path

if TYPE_CHECKING:
    from avlake.media.video import Frame

MODEL = "blaze_face_short_range.tflite"
MIN_CONFIDENCE = 0.5


class Face(NamedTuple):
    """One face; pixels of the letterboxed frame, its box cut off at the frame's edges."""

    confidence: float
    left: int
    top: int
    width: int
    height: int
    points: np.ndarray[Any, Any]  # (6, 2) x, y: right eye, left eye, nose tip, mouth, right ear, left ear


def faces(frame: Frame) -> list[Face]:
    """The faces of a frame with a confidence of at least 0.5, the largest first; found once, whoever asks.

    Raises:
        RequestError: if the model file is missing, with the next step.
        WorkError: if mediapipe does not load, with the next step.
    """
    return frame.once("faces", lambda: _detect(frame.letterboxed))


def _detect(image: np.ndarray[Any, Any]) -> list[Face]:
    detector = _detector()  # imported here first: a failure is explained
    import mediapipe

    side = image.shape[0]
    found = detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image))
    made = []
    for detection in found.detections:
        box = detection.bounding_box
        left, top = max(box.origin_x, 0), max(box.origin_y, 0)
        right, bottom = min(box.origin_x + box.width, side), min(box.origin_y + box.height, side)
        points = np.array([[p.x * side, p.y * side] for p in detection.keypoints])
        if right > left and bottom > top:
            made.append(Face(detection.categories[0].score, left, top, right - left, bottom - top, points))
    return sorted(made, key=lambda face: face.width * face.height, reverse=True)


@cache
def _detector() -> Any:
    """One per process: making it takes longer than a clip's worth of frames."""
    path, vision = model_path(MODEL), mediapipe_tasks.load("vision")
    import mediapipe
    from mediapipe.tasks.python import BaseOptions

    options = vision.FaceDetectorOptions(
        base_options=BaseOptions(model_asset_path=str(path)), min_detection_confidence=MIN_CONFIDENCE
    )
    with mediapipe_tasks.hushed():
        detector = vision.FaceDetector.create_from_options(options)
        blank = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
        detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=blank))
    return detector
