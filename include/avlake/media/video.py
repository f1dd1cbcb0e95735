"""Decoded video: facts of the stream, and frames that scale themselves once, whoever asks.

A frame lives while the viewers of the one pass look at it; one of them may keep it until the next, and none longer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

SIDE_PX = 224  # of the square on which all face measures are taken
NOMINAL_RATE_HZ = 25.0  # of a stream that does not tell its own
MAX_PIXEL_ASPECT = 8.0  # width to height of one pixel, or the reverse; a header that says more is damaged
SIZES_KEPT = 8  # to which frames of one stream are scaled without preparing anew
QUARTER_TURNS = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))  # counterclockwise
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

    def __init__(
        self,
        raw: Any,
        index: int,
        time_s: float,
        pixel_aspect: float = 1.0,
        *,
        lasts_s: float = 1 / NOMINAL_RATE_HZ,
        scaler: Callable[[int, int], VideoReformatter] | None = None,
    ) -> None:
        self.index = index  # from 0, in the order shown
        self.time_s = time_s  # when it is shown, from the recording's start; never falls
        self.lasts_s = lasts_s  # how long it is shown if none follows
        self._raw, self._pixel_aspect = raw, pixel_aspect
        self._scaler = scaler or _new_scaler
        self._memo: dict[str, Any] = {}

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """`compute()`, kept for the next viewer of this frame that asks for the same name (its faces, say)."""
        if name not in self._memo:
            self._memo[name] = compute()
        return self._memo[name]

    @cached_property
    def size_px(self) -> tuple[int, int]:
        """Width and height as shown."""
        wide, high = max(1, round(self._raw.width * self._pixel_aspect)), self._raw.height
        return (high, wide) if self._turn[0] else (wide, high)

    @cached_property
    def letterboxed(self) -> Pixels:
        """(224, 224, 3) RGB: the whole frame, its aspect kept, black beside or above it."""
        return self.fitted(SIDE_PX, cover=False)

    @cached_property
    def gray(self) -> Pixels:
        """(224, 224) luma of `letterboxed`, BT.601 as OpenCV has it."""
        import cv2

        return np.asarray(cv2.cvtColor(self.letterboxed, cv2.COLOR_RGB2GRAY), np.uint8)

    @cached_property
    def luma(self) -> Pixels:
        """(height, width): the whole frame in gray, as large as shown."""
        return self._scaled(*self.size_px, "gray")

    @property
    def box_px(self) -> tuple[int, int, int, int]:
        """Where the picture itself lies in `letterboxed`: left, top, width, height."""
        return _place(*self.size_px, SIDE_PX, cover=False)

    def rgb(self, width: int, height: int) -> Pixels:
        """(height, width, 3): the frame scaled to this size, whatever its aspect."""
        return self._scaled(width, height, "rgb24")

    def _scaled(self, width: int, height: int, form: str) -> Pixels:
        across, mirrored, inverted = self._turn
        if across:
            width, height = height, width
        scaled = (
            self._scaler(width, height)
            .reformat(self._raw, width, height, form, interpolation=Interpolation.AREA, threads=1)
            .to_ndarray()
        )
        upright = scaled.swapaxes(0, 1) if across else scaled
        return np.ascontiguousarray(upright[:: -1 if inverted else 1, :: -1 if mirrored else 1])

    @cached_property
    def _turn(self) -> tuple[bool, bool, bool]:
        """What makes the stored picture upright: rows become columns; then left and right, top and bottom change."""
        right_x, right_y, down_x, down_y = _display_axes(self._raw)
        if abs(right_x) + abs(down_y) >= abs(right_y) + abs(down_x):
            return False, right_x < 0, down_y < 0
        return True, down_x < 0, right_y < 0

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
        aspect = float(stream.sample_aspect_ratio or 0) or 1.0
        self._pixel_aspect = aspect if 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT else 1.0
        self._last_s = -self._step_s
        self._scaler = lru_cache(SIZES_KEPT)(_new_scaler)

    def frame(self, raw: Any) -> Frame:
        time_s = raw.time - self._origin_s if raw.pts is not None else self._last_s + self._step_s
        self._last_s = max(time_s, self._last_s, 0.0)
        self.frames += 1
        lasts_s = float(raw.duration * raw.time_base) if raw.duration and raw.time_base else self._step_s
        return Frame(raw, self.frames - 1, self._last_s, self._pixel_aspect, lasts_s=lasts_s, scaler=self._scaler)


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


def _display_axes(raw: Any) -> tuple[int, int, int, int]:
    """Where the stored picture's right (x, y) and down (x, y) point when it is shown."""
    try:
        matrix = raw.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV lists no frame's side data when it does not know the kind of one of them
        return QUARTER_TURNS[round(raw.rotation / 90) % 4]
    if matrix is None:
        return QUARTER_TURNS[0]
    right_x, right_y, _, down_x, down_y, *_ = struct.unpack("=9i", bytes(matrix))
    return right_x, right_y, down_x, down_y


def _new_scaler(width: int, height: int) -> VideoReformatter:
    """One that is asked for a single size prepares only once."""
    return VideoReformatter()
