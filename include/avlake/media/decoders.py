"""Decoding one stream of a clip, packet by packet, and what becomes of packets that do not decode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av

from avlake.errors import Quarantined
from avlake.media.audio import AudioCollector, Samples, Sound
from avlake.media.video import NOMINAL_RATE_HZ, FrameClock

DAMAGE = (av.FFmpegError, ValueError, OSError)  # what decoding raises; FFmpeg's MemoryError is among them
SLOWEST_HZ = 8000  # sound of a lower rate claims more seconds than it is work


def reason(error: Exception) -> str:
    """What went wrong, in words."""
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__


class SoundDecoder:
    """Decodes all of an audio stream, or none of it."""

    def __init__(self, stream: Any, origin_s: float, play: Callable[[Samples], None], *, keep: bool) -> None:
        self.stream = stream
        self._samples_s = 0.0
        self._codec = stream.codec_context.name
        self._collector = AudioCollector(self._codec, origin_s, play, keep=keep)
        self._error: Quarantined | None = None
        self._sound: Sound | None = None

    @property
    def decoded_s(self) -> float:
        return self._samples_s

    @property
    def over(self) -> bool:
        return self._error is not None

    def take(self, packet: Any) -> None:
        if self._error:
            return
        try:
            for frame in packet.decode():
                self._collector.add(frame)
                self._samples_s += frame.samples / max(frame.sample_rate, SLOWEST_HZ)
        except Quarantined as error:
            self._error = error
        except MemoryError:
            raise
        except DAMAGE as error:
            self.end(reason(error))

    def end(self, reason: str) -> None:
        self._error = Quarantined("decode_error", f"decoding its {self._codec} sound failed: {reason}")

    def finished(self) -> Sound:
        if self._sound is None and not self._error:
            try:
                self._sound = self._collector.finish()
            except Quarantined as error:
                self._error = error
        if self._error:
            raise self._error
        assert self._sound
        return self._sound

    def check(self) -> None:
        self.finished()


class PictureDecoder:
    """Decodes a video stream, and passes over the packets that do not decode."""

    over = False

    def __init__(self, stream: Any, origin_s: float, show: Callable[[FrameClock, Any], None]) -> None:
        stream.codec_context.thread_count = 1  # a task has one core
        self.stream = stream
        self.errors = 0
        self._codec = stream.codec_context.name
        self._clock, self._show = FrameClock(stream, origin_s), show
        self._reason = ""

    @property
    def decoded_s(self) -> float:
        return self._clock.frames / NOMINAL_RATE_HZ

    def take(self, packet: Any) -> None:
        try:
            for frame in packet.decode():
                self._show(self._clock, frame)
        except MemoryError:
            raise
        except DAMAGE as error:
            self.end(reason(error))

    def end(self, reason: str) -> None:
        self.errors += 1
        self._reason = reason

    def check(self) -> None:
        if not self._clock.frames:
            if not self.errors:
                raise Quarantined("empty", "the video stream has no frames")
            raise Quarantined("decode_error", f"no picture of its {self._codec} video decodes: {self._reason}")
