"""Overlay: a video again, with what a model says of every face drawn into it, to be looked at.

A box is green where the score says that this face speaks and is heard, else red; above it stand the score and the label
there is, below it whose face it is. Pictures are shown when they were, upright and with square pixels, with the video's
own sound (H.264 and AAC in an mp4).
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pyarrow as pa
from av.stream import Disposition

from avlake.errors import WorkError
from avlake.media.decoders import DAMAGE, reason
from avlake.media.video import FrameClock, Pixels

SPEAKS = 0.5  # from this score on
GREEN, RED, WHITE, DARK = (40, 200, 60), (230, 50, 40), (255, 255, 255), (20, 20, 20)  # RGB
NARROWEST_PX, WIDEST_PX = 960, 1920  # of the picture made: what is written in it can be read
TICKS = 90_000  # a second, in the time base of the pictures
H264 = {"preset": "veryfast", "crf": "22"}
AAC_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
AAC_BLOCK = 1024
SLACK_S = 0.001


class Drawn(NamedTuple):
    """One face at one time; its box in shares of the frame's width and height."""

    entity: str
    box: tuple[float, float, float, float]  # x1, y1, x2, y2
    score: float | None
    label: str | None


def overlay(source: Path, faces: pa.Table, to: Path) -> None:
    """Draw faces into a video, and write it whole or not at all.

    Args:
        faces: track_id, frame_timestamp (s), x1, y1, x2, y2, score and, where there is any, label.

    Raises:
        WorkError: if the video cannot be read, or has no picture.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{to.name}.tmp")
    try:
        with av.open(str(source)) as container, av.open(str(temporary), "w", format="mp4") as out:
            if not _Writer(container, out, _tracks(faces)).run():
                raise WorkError(f"{source}: no picture of it decodes, so there is nothing to draw into")
        temporary.replace(to)
    except DAMAGE as error:
        raise WorkError(f"{source}: cannot be drawn into: {reason(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Track:
    """One face through time; it is shown until half way to its next box."""

    times_s: list[float]
    drawn: list[Drawn]
    step_s: float

    def at(self, time_s: float, lasts_s: float) -> Drawn | None:
        """What is to be seen of it in a picture: its nearest box, unless that is of another picture."""
        after = bisect_left(self.times_s, time_s)
        near = min(range(max(after - 1, 0), min(after + 1, len(self.times_s))), key=lambda i: self._off(i, time_s))
        return self.drawn[near] if self._off(near, time_s) <= max(self.step_s, lasts_s) / 2 + SLACK_S else None

    def _off(self, i: int, time_s: float) -> float:
        return abs(self.times_s[i] - time_s)


def _tracks(faces: pa.Table) -> list[_Track]:
    if "label" not in faces.schema.names:
        faces = faces.append_column("label", pa.nulls(len(faces), pa.string()))
    found: dict[str, list[tuple[float, Drawn]]] = {}
    for row in faces.select(["track_id", "frame_timestamp", "x1", "y1", "x2", "y2", "score", "label"]).to_pylist():
        track, time_s, *box, score, label = row.values()
        found.setdefault(track, []).append((time_s, Drawn(track, (box[0], box[1], box[2], box[3]), score, label)))
    made = []
    for rows in found.values():
        rows.sort(key=lambda row: row[0])
        times_s = [time_s for time_s, _ in rows]
        step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
        made.append(_Track(times_s, [drawn for _, drawn in rows], min(step_s, 0.2)))
    return made


class _Writer:
    """Decodes, draws and encodes, packet by packet; memory holds a few pictures."""

    def __init__(self, container: Any, out: Any, tracks: list[_Track]) -> None:
        self._container, self._out, self._tracks = container, out, tracks
        self._origin_s = max(0.0, (container.start_time or 0) / av.time_base)
        self._pictures: Any = None  # the streams written
        self._last = -1
        video = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        self._video = video[0] if video else None
        self._audio = container.streams.audio[0] if container.streams.audio else None
        self._sound: Any = None
        self._resampler: Any = None

    def run(self) -> bool:
        """Is any picture written?"""
        streams = [stream for stream in (self._video, self._audio) if stream is not None]
        if self._video is None:
            return False
        self._video.codec_context.thread_count = 1
        self._clock = FrameClock(self._video, self._origin_s)
        if self._audio is not None:
            self._open_sound(self._audio)
        early: list[Any] = []  # sound before the first picture: its stream is not made yet, and a header needs both
        for packet in self._container.demux(*streams):
            for frame in _decoded(packet):
                if packet.stream is self._video:
                    self._show(frame)
                else:
                    early.append(frame)
            if self._pictures is not None:
                for frame in early:
                    self._play(frame)
                early = []
        if self._pictures is None:
            return False
        if self._sound is not None:
            self._play(None)
            self._out.mux(self._sound.encode(None))
        self._out.mux(self._pictures.encode(None))
        return True

    def _open_sound(self, stream: Any) -> None:
        context = stream.codec_context
        if not context.sample_rate or not context.channels:
            return
        rate = context.sample_rate if context.sample_rate in AAC_RATES_HZ else 48_000
        layout = "mono" if context.channels == 1 else "stereo"
        self._sound = self._out.add_stream("aac", rate=rate, layout=layout)
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate, frame_size=AAC_BLOCK)

    def _play(self, frame: Any) -> None:
        if self._sound is None:
            return
        with contextlib.suppress(*DAMAGE):  # sound that changes its format midway
            for piece in self._resampler.resample(frame):
                if piece.pts is not None:
                    piece.pts -= round(self._origin_s / piece.time_base)
                self._out.mux(self._sound.encode(piece))

    def _show(self, raw: Any) -> None:
        frame = self._clock.frame(raw)
        width, height = frame.size_px
        scale = min(max(1.0, NARROWEST_PX / width), WIDEST_PX / max(width, height))
        if self._pictures is None:
            self._pictures = self._out.add_stream("libx264", rate=_rate(self._video))
            self._pictures.width, self._pictures.height = _even(width * scale), _even(height * scale)
            self._pictures.pix_fmt, self._pictures.options = "yuv420p", H264
            self._pictures.codec_context.time_base = Fraction(1, TICKS)
        pts = round(frame.time_s * TICKS)
        if pts <= self._last:
            return
        self._last = pts
        picture = frame.rgb(self._pictures.width, self._pictures.height)
        seen = (track.at(frame.time_s, frame.lasts_s) for track in self._tracks)
        draw(picture, [one for one in seen if one is not None], frame.time_s)
        made = av.VideoFrame.from_ndarray(picture, format="rgb24")
        made.pts, made.time_base = pts, Fraction(1, TICKS)
        self._out.mux(self._pictures.encode(made))


def draw(picture: Pixels, faces: list[Drawn], time_s: float) -> None:
    """Draw faces and the time into a picture, (height, width, 3) RGB, in place."""
    import cv2

    height, width = picture.shape[:2]
    size = max(0.45, width / 2100)
    line = max(2, round(width / 480))
    for face in faces:
        colour = GREEN if face.score is not None and face.score >= SPEAKS else RED
        x1, x2 = (round(face.box[i] * width) for i in (0, 2))
        y1, y2 = (round(face.box[i] * height) for i in (1, 3))
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, line)
        said = "no score" if face.score is None else f"{face.score:.2f}"
        _write(picture, f"{said} {face.label or ''}".strip(), (x1, y1), size, colour, above=True)
        _write(picture, face.entity, (x1, y2), size * 0.85, DARK, above=False)
    _write(picture, f"{time_s:.2f} s", (0, height), size * 0.85, DARK, above=True)


def _write(
    picture: Pixels, text: str, at: tuple[int, int], size: float, ground: tuple[int, int, int], *, above: bool
) -> None:
    """A line of text on its own ground, above or below a point, moved to where it is inside the picture."""
    import cv2

    plain = text.encode("ascii", "replace").decode()  # all that OpenCV's fonts have
    (wide, high), below = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    tall = high + below + 4
    left = min(max(at[0], 0), max(picture.shape[1] - wide - 6, 0))
    top = min(max(at[1] - tall if above else at[1], 0), max(picture.shape[0] - tall, 0))
    cv2.rectangle(picture, (left, top), (left + wide + 6, top + tall), ground, -1)
    where = (left + 3, top + high + 2)
    cv2.putText(picture, plain, where, cv2.FONT_HERSHEY_SIMPLEX, size, WHITE, 1, cv2.LINE_AA)


def _decoded(packet: Any) -> Iterator[Any]:
    """A packet's frames; none of those that do not decode."""
    with contextlib.suppress(*DAMAGE):
        yield from packet.decode()


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or 25).limit_denominator(1001)


def _even(pixels: float) -> int:
    return max(2, round(pixels / 2) * 2)
