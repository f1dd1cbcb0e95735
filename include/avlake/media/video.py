"""Decoded video: facts of the stream, and frames that scale themselves once, whoever asks.

A frame lives while the viewers of the one pass look at it; memory never holds more than one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
from av.video.reformatter import Interpolation

SIDE_PX = 224  # of the square on which all face measures are taken
NOMINAL_RATE_HZ = 25.0  # of a stream that does not tell its own
T = TypeVar("T")
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Video:
    """What the first video stream says of itself, before anything is decoded."""

    codec: str
    width_px: int  # as stored, before it is turned upright or its pixels made square
    height_px: int
    frame_rate_hz: float  # average
    duration_s: float


class Frame:
    """One decoded frame, upright and with square pixels."""

    def __init__(self, raw: Any, index: int, time_s: float, pixel_aspect: float = 1.0) -> None:
        self.index = index  # from 0, in the order shown
        self.time_s = time_s  # when it is shown, from the recording's start; never falls
        self._raw, self._pixel_aspect = raw, pixel_aspect
        self._memo: dict[str, Any] = {}

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """`compute()`, kept for the next viewer of this frame that asks for the same name (its faces, say)."""
        if name not in self._memo:
            self._memo[name] = compute()
        return self._memo[name]

    @cached_property
    def size_px(self) -> tuple[int, int]:
        """Width and height as shown."""
        wide = max(1, round(self._raw.width * self._pixel_aspect))
        return (self._raw.height, wide) if self._raw.rotation % 180 else (wide, self._raw.height)

    @cached_property
    def letterboxed(self) -> Pixels:
        """(224, 224, 3) RGB: the whole frame, its aspect kept, black beside or above it."""
        return self.fitted(SIDE_PX, cover=False)

    @cached_property
    def gray(self) -> Pixels:
        """(224, 224) luma of `letterboxed`, BT.601 as OpenCV has it."""
        import cv2

        return np.asarray(cv2.cvtColor(self.letterboxed, cv2.COLOR_RGB2GRAY), np.uint8)

    @property
    def box_px(self) -> tuple[int, int, int, int]:
        """Where the picture itself lies in `letterboxed`: left, top, width, height."""
        return _place(*self.size_px, SIDE_PX, cover=False)

    def rgb(self, width: int, height: int) -> Pixels:
        """(height, width, 3): the frame scaled to this size, whatever its aspect."""
        turned = self._raw.rotation % 180 != 0
        scaled = self._raw.reformat(
            width=height if turned else width,
            height=width if turned else height,
            format="rgb24",
            interpolation=Interpolation.AREA,
        ).to_ndarray()
        return np.ascontiguousarray(np.rot90(scaled, round(self._raw.rotation / 90) % 4))

    def fitted(self, side: int, *, cover: bool) -> Pixels:
        """(side, side, 3): the frame inside a black square, or (`cover`) the middle of it filling the square."""
        left, top, width, height = _place(*self.size_px, side, cover=cover)
        scaled = self.rgb(width, height)
        if cover:
            return np.ascontiguousarray(scaled[-top : side - top, -left : side - left])
        square = np.zeros((side, side, 3), np.uint8)
        square[top : top + height, left : left + width] = scaled
        return square


class Viewer(Protocol):
    """What an extractor shows every frame to; it keeps numbers, not frames."""

    def see(self, frame: Frame) -> None: ...


class FrameClock:
    """Turns a stream's pictures into frames: shown when their timestamps say, never earlier than the one before."""

    def __init__(self, stream: Any, origin_s: float) -> None:
        self.frames = 0
        self._origin_s = origin_s
        self._step_s = 1.0 / (float(stream.average_rate or 0) or NOMINAL_RATE_HZ)
        self._pixel_aspect = float(stream.sample_aspect_ratio or 0) or 1.0
        self._last_s = -self._step_s

    def frame(self, raw: Any) -> Frame:
        time_s = raw.time - self._origin_s if raw.pts is not None else self._last_s + self._step_s
        self._last_s = max(time_s, self._last_s, 0.0)
        self.frames += 1
        return Frame(raw, self.frames - 1, self._last_s, self._pixel_aspect)


def describe(stream: Any, container_s: float) -> Video:
    """A stream's header as `Video`; `container_s` stands in where the stream tells no duration."""
    context = stream.codec_context
    duration_s = float(stream.duration * stream.time_base) if stream.duration else container_s
    return Video(context.name, context.width, context.height, float(stream.average_rate or 0), duration_s)


def _place(width: int, height: int, side: int, *, cover: bool) -> tuple[int, int, int, int]:
    """Left, top, width and height of a picture in a square: all of it inside, or (`cover`) all of the square filled."""
    scale = (max if cover else min)(side / width, side / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    return (side - wide) // 2, (side - high) // 2, wide, high
