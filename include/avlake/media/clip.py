"""A clip: one recording opened for measuring. It decodes at most once, whoever asks.

Audio is kept whole at 16 kHz. Video is not kept: who needs its frames shows them to a viewer, registered with
`show_to` before the first look at the clip's media, and one pass over the file serves every viewer and the audio.

A picture that does not decode is skipped and counted; sound that does not decode to its end is none. What one of the
two lacks is not the other's loss.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import av
from av.stream import Disposition

from avlake.errors import Quarantined
from avlake.media.audio import SAMPLE_RATE, Audio, AudioCollector
from avlake.media.video import NOMINAL_RATE_HZ, FrameClock, Video, Viewer, describe

__all__ = ["SAMPLE_RATE", "Audio", "Clip"]

T = TypeVar("T")
DAMAGE = (av.FFmpegError, ValueError, OSError)  # what decoding raises; FFmpeg's MemoryError is among them
SLOWEST_HZ = 8000  # sound of a lower rate claims more seconds than it is work


class Clip:
    """One recording, from its bytes or a path on this machine.

    `progress` is told how many seconds of sound or pictures are decoded, whenever some are: by what was decoded, not by
    timestamps, which a damaged file makes up.
    """

    def __init__(self, source: bytes | Path, progress: Callable[[float], None] | None = None) -> None:
        self._source, self._progress = source, progress
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
        sound = self._decoded().sound
        assert sound
        return sound.finished()

    @cached_property
    def audio_header(self) -> tuple[str, int, int]:
        """Codec, rate in Hz and channels, as the first audio stream says, whether or not it decodes."""
        with self._opened() as container:
            context = container.streams.audio[0].codec_context
            return context.name, context.sample_rate, context.channels

    @cached_property
    def video(self) -> Video:
        """What the first video stream says of itself, whether or not it decodes.

        Raises:
            Quarantined: `empty`, `not_media` or `no_video`.
        """
        if "video" not in self.streams:
            raise Quarantined("no_video", "the file has no video stream")
        with self._opened() as container:
            return describe(_moving(container)[0], (container.duration or 0) / av.time_base)

    def show_to(self, name: str, viewer: Viewer) -> None:
        """Register who is to see every frame, before anything is decoded."""
        assert not self._shown, "the frames of this clip were shown already: register viewers first"
        self._viewers[name] = viewer

    def seen(self, name: str) -> Any:
        """The viewer of that name, once it has seen every frame that decodes.

        Raises:
            Quarantined: as `video` does; `decode_error` or `empty` when there is no such frame.
            Exception: what the viewer itself raised at some frame; the others saw the rest all the same.
        """
        _ = self.video
        pictures = self._decoded().pictures
        assert pictures
        pictures.check()
        if name in self._failed:
            raise self._failed[name]
        return self._viewers[name]

    @property
    def decode_errors(self) -> int:
        """How many packets of the video gave no picture, once it was seen."""
        pictures = self._decoded().pictures
        return pictures.errors if pictures else 0

    def check(self, streams: Iterable[str]) -> None:
        """Decode, and raise if nothing of these streams can be measured.

        Raises:
            Quarantined: as `audio` and `seen` do, for the first of them.
        """
        decoded, failed, fine = self._decoded(), [], 0
        for name in sorted(streams):
            taker = decoded.sound if name == "audio" else decoded.pictures
            try:
                if taker:
                    taker.check()
                fine += 1
            except Quarantined as error:
                failed.append(error)
        if failed and not fine:
            raise Quarantined(failed[0].error_class, "; ".join(map(str, failed)))

    def _decoded(self) -> _Decoded:
        """The one pass: all audio, and every frame shown to the viewers."""
        return self.once("_decoded", self._decode)

    def _decode(self) -> _Decoded:
        self._shown = True
        with self._opened() as container:
            origin_s = max(0.0, (container.start_time or 0) / av.time_base)
            sound = pictures = None
            if "audio" in self.streams:
                sound = _Sound(container.streams.audio[0], origin_s)
            if self._viewers and "video" in self.streams:
                pictures = _Pictures(_moving(container)[0], origin_s, self._show)
            takers = [taker for taker in (sound, pictures) if taker]
            try:
                self._demux(container, takers)
            except MemoryError:
                raise
            except DAMAGE as error:
                for taker in takers:
                    taker.end(_reason(error))
        return _Decoded(sound, pictures)

    def _demux(self, container: Any, takers: Sequence[_Sound | _Pictures]) -> None:
        if not takers:  # a silent film that nobody looks at; PyAV takes no streams for all streams
            return
        by_index = {taker.stream.index: taker for taker in takers}
        for packet in container.demux(*(taker.stream for taker in takers)):
            by_index[packet.stream.index].take(packet)
            if self._progress:
                self._progress(max(taker.decoded_s for taker in takers))
            if all(taker.over for taker in takers):
                return

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


class _Sound:
    """Decodes all of an audio stream, or none of it."""

    def __init__(self, stream: Any, origin_s: float) -> None:
        self.stream = stream
        self._samples_s = 0.0
        self._codec = stream.codec_context.name
        self._collector = AudioCollector(self._codec, origin_s)
        self._error: Quarantined | None = None
        self._audio: Audio | None = None

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
            self.end(_reason(error))

    def end(self, reason: str) -> None:
        self._error = Quarantined("decode_error", f"decoding its {self._codec} sound failed: {reason}")

    def finished(self) -> Audio:
        if self._audio is None and not self._error:
            try:
                self._audio = self._collector.finish()
            except Quarantined as error:
                self._error = error
        if self._error:
            raise self._error
        assert self._audio
        return self._audio

    def check(self) -> None:
        self.finished()


class _Pictures:
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
            self.end(_reason(error))

    def end(self, reason: str) -> None:
        self.errors += 1
        self._reason = reason

    def check(self) -> None:
        if not self._clock.frames:
            if not self.errors:
                raise Quarantined("empty", "the video stream has no frames")
            raise Quarantined("decode_error", f"no picture of its {self._codec} video decodes: {self._reason}")


class _Decoded(NamedTuple):
    sound: _Sound | None
    pictures: _Pictures | None


def _moving(container: Any) -> list[Any]:
    """Its video streams, but for cover pictures."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
