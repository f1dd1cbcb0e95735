"""Pictures of faces: a box of a frame as 112 x 112 gray pixels, and many of them packed as JPEGs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SIDE_PX = 112
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Box = np.ndarray[Any, np.dtype[np.float64]]  # (4,): x1, y1, x2, y2 as shares of the frame's width and height


def cut(luma: Pixels, box: Box) -> Pixels:
    """What lies in `box` of a gray frame, stretched to (112, 112); what of the box is outside the frame is cut off.

    Exact to a fraction of a pixel: a box rounded to whole pixels would tremble, and lips with it.
    """
    import cv2

    height, width = luma.shape
    x1, y1, x2, y2 = np.clip(box, 0.0, 1.0) * (width, height, width, height)
    margin = 2
    left, top = max(int(x1) - margin, 0), max(int(y1) - margin, 0)
    part = luma[top : int(np.ceil(y2)) + margin, left : int(np.ceil(x2)) + margin]
    x1, x2, y1, y2 = x1 - left, x2 - left, y1 - top, y2 - top
    scale_x, scale_y = (x2 - x1) / SIDE_PX, (y2 - y1) / SIDE_PX
    if scale_x > 1 or scale_y > 1:  # shrunk to the crop's scale first, by areas: no detail is skipped
        wide = max(round(part.shape[1] / max(scale_x, 1)), 1)
        high = max(round(part.shape[0] / max(scale_y, 1)), 1)
        fx, fy = wide / part.shape[1], high / part.shape[0]
        part = np.asarray(cv2.resize(part, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)
        x1, scale_x, y1, scale_y = x1 * fx, scale_x * fx, y1 * fy, scale_y * fy
    # The centre of the crop's pixel k lies at (k + 0.5) * scale of the box.
    back = np.array([[scale_x, 0, x1 + scale_x / 2 - 0.5], [0, scale_y, y1 + scale_y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(part, back, (SIDE_PX, SIDE_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.uint8)


def packed(crop: Pixels, quality: int) -> bytes:
    """A crop as JPEG."""
    import cv2

    done, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def unpacked(crops: bytes, lengths: Sequence[int]) -> Pixels:
    """The pictures of a row of `silver.face_tracks`: (n, 112, 112); black where a length is 0."""
    import cv2

    found = np.zeros((len(lengths), SIDE_PX, SIDE_PX), np.uint8)
    data, start = np.frombuffer(crops, np.uint8), 0
    for picture, length in zip(found, lengths, strict=True):
        if length:
            picture[:] = np.asarray(cv2.imdecode(data[start : start + length], cv2.IMREAD_GRAYSCALE))
        start += length
    return found
