"""A clip: one recording opened for measuring. It decodes at most once, whoever asks.

Audio is kept whole at 16 kHz. Video is not kept: who needs its frames shows them to a viewer, registered with
`show_to` before the first look at the clip's media, and one pass over the file serves every viewer and the audio.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import av
from av.stream import Disposition

from avlake.errors import Quarantined
from avlake.media.audio import SAMPLE_RATE, Audio, AudioCollector
from avlake.media.video import FrameClock, Video, Viewer, describe

__all__ = ["SAMPLE_RATE", "Audio", "Clip"]

T = TypeVar("T")


class Clip:
    """One recording, from its bytes or a path on this machine."""

    def __init__(self, source: bytes | Path) -> None:
        self._source = source
        self._memo: dict[str, Any] = {}
        self._viewers: dict[str, Viewer] = {}
        self._failed: dict[str, Exception] = {}
        self._shown = False

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """`compute()`, kept for the next extractor that asks for the same name (a shared spectrogram, say)."""
        if name not in self._memo:
            self._memo[name] = compute()
        return self._memo[name]

    @cached_property
    def streams(self) -> frozenset[str]:
        """Which of `audio` and `video` the file has; a cover picture is no video.

        Raises:
            Quarantined: `empty` or `not_media`.
        """
        with self._opened() as container:
            found = {"audio": container.streams.audio, "video": _moving(container)}
            return frozenset(name for name, streams in found.items() if streams)

    @cached_property
    def audio(self) -> Audio:
        """The first audio stream, channels averaged, resampled to 16 kHz as `librosa.load(sr=16000)` does.

        Raises:
            Quarantined: `empty`, `not_media`, `no_audio`, `decode_error` or `not_finite`.
        """
        if "audio" not in self.streams:
            raise Quarantined("no_audio", "the file has no audio stream")
        decoded = self._decoded()
        assert decoded
        return decoded

    @cached_property
    def video(self) -> Video:
        """What the first video stream says of itself; shows the frames to all viewers.

        Raises:
            Quarantined: `empty`, `not_media`, `no_video` or `decode_error`.
        """
        if "video" not in self.streams:
            raise Quarantined("no_video", "the file has no video stream")
        if self._viewers:
            self._decoded()
        with self._opened() as container:
            return describe(_moving(container)[0], (container.duration or 0) / av.time_base)

    def show_to(self, name: str, viewer: Viewer) -> None:
        """Register who is to see every frame, before anything is decoded."""
        assert not self._shown, "the frames of this clip were shown already: register viewers first"
        self._viewers[name] = viewer

    def seen(self, name: str) -> Any:
        """The viewer of that name, once it has seen every frame.

        Raises:
            Quarantined: as `video` does.
            Exception: what the viewer itself raised at some frame; the others saw the rest all the same.
        """
        _ = self.video
        if name in self._failed:
            raise self._failed[name]
        return self._viewers[name]

    def _decoded(self) -> Audio | None:
        """The one pass: all audio, and every frame shown to the viewers."""
        return self.once("_decoded", self._decode)

    def _decode(self) -> Audio | None:
        self._shown = True
        with self._opened() as container:
            origin_s = max(0.0, (container.start_time or 0) / av.time_base)
            streams = []
            collector = clock = None
            if "audio" in self.streams:
                audio = container.streams.audio[0]
                collector = AudioCollector(audio.codec_context.name, origin_s)
                streams.append(audio)
            if self._viewers and "video" in self.streams:
                video = _moving(container)[0]
                video.codec_context.thread_count = 1  # a task has one core
                clock = FrameClock(video, origin_s)
                streams.append(video)
            try:
                for frame in container.decode(*streams):
                    if isinstance(frame, av.AudioFrame):
                        assert collector
                        collector.add(frame)
                    else:
                        assert clock
                        self._show(clock, frame)
            except MemoryError:  # FFmpeg's is an FFmpegError, too
                raise
            except (av.FFmpegError, ValueError, OSError) as error:
                names = " and ".join(stream.codec_context.name for stream in streams)
                raise Quarantined("decode_error", f"decoding {names} failed: {_reason(error)}") from None
        if clock and not clock.frames:
            raise Quarantined("empty", "the video stream has no frames")
        return collector.finish() if collector else None

    def _show(self, clock: FrameClock, raw: Any) -> None:
        frame = clock.frame(raw)
        for name, viewer in self._viewers.items():
            if name not in self._failed:
                try:
                    viewer.see(frame)
                except Exception as error:
                    self._failed[name] = error

    def _opened(self) -> Any:
        if (len(self._source) if isinstance(self._source, bytes) else self._source.stat().st_size) == 0:
            raise Quarantined("empty", "the file has no bytes")
        try:
            source = io.BytesIO(self._source) if isinstance(self._source, bytes) else str(self._source)
            return av.open(source, mode="r")
        except (av.FFmpegError, ValueError, OSError) as error:
            raise Quarantined("not_media", f"no known audio or video format ({_reason(error)})") from None


def _moving(container: Any) -> list[Any]:
    """Its video streams, but for cover pictures."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
