"""A clip: one recording opened for measuring. It decodes at most once, whoever asks.

Audio is kept whole at 16 kHz, unless `keep_samples` is false. Video is not kept: who needs its frames shows them to a
viewer, registered with `show_to` before the first look at the clip's media; who needs the sound only once, from its
beginning to its end, has a listener, registered with `play_to`. One pass over the file serves them all.

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
from avlake.media.audio import SAMPLE_RATE, Audio, Listener, Samples, Sound
from avlake.media.decoders import DAMAGE, PictureDecoder, SoundDecoder, reason
from avlake.media.video import FrameClock, Video, Viewer, describe

__all__ = ["SAMPLE_RATE", "Audio", "Clip"]

T = TypeVar("T")


class Clip:
    """One recording, from its bytes or a path on this machine.

    `progress` is told how many seconds of sound or pictures are decoded, whenever some are: by what was decoded, not by
    timestamps, which a damaged file makes up.
    """

    def __init__(
        self, source: bytes | Path, progress: Callable[[float], None] | None = None, annotation: str | None = None
    ) -> None:
        self._source, self._progress = source, progress
        self.annotation = annotation  # what its drop's text files say of it, see `datasets.base.Annotation`
        self._memo: dict[str, Any] = {}
        self._viewers: dict[str, Viewer] = {}
        self._listeners: dict[str, Listener] = {}
        self._failed: dict[str, Exception] = {}
        self._shown = False
        self.keep_samples = True  # to be decided before anything is decoded

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
            Quarantined: as `sound` does.
        """
        found = self.sound
        assert isinstance(found, Audio), "the samples of this clip are not kept: listen to them, or say so before"
        return found

    @cached_property
    def sound(self) -> Sound:
        """What is known of the first audio stream once it is decoded; has the samples where they are kept.

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

    def play_to(self, name: str, listener: Callable[[], Listener]) -> None:
        """Register who is to hear the sound, before anything is decoded; made only where none has that name yet."""
        assert not self._shown, "the sound of this clip was played already: register listeners first"
        if name not in self._listeners:
            self._listeners[name] = listener()

    def heard(self, name: str) -> Any:
        """The listener of that name, once it has heard all of the sound.

        Raises:
            Quarantined: as `sound` does.
            Exception: what the listener itself raised at some block; the others heard the rest all the same.
        """
        _ = self.sound
        if name in self._failed:
            raise self._failed[name]
        return self._listeners[name]

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
                sound = SoundDecoder(container.streams.audio[0], origin_s, self._play, keep=self.keep_samples)
            if self._viewers and "video" in self.streams:
                pictures = PictureDecoder(_moving(container)[0], origin_s, self._show)
            takers = [taker for taker in (sound, pictures) if taker]
            try:
                self._demux(container, takers)
            except MemoryError:
                raise
            except DAMAGE as error:
                for taker in takers:
                    taker.end(reason(error))
        return _Decoded(sound, pictures)

    def _demux(self, container: Any, takers: Sequence[SoundDecoder | PictureDecoder]) -> None:
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
            self._guarded(name, viewer.see, frame)

    def _play(self, samples: Samples) -> None:
        for name, listener in self._listeners.items():
            self._guarded(name, listener.hear, samples)

    def _guarded(self, name: str, take: Callable[[Any], None], part: Any) -> None:
        """What one of them cannot take is not the others' loss."""
        if name not in self._failed:
            try:
                take(part)
            except Exception as error:
                self._failed[name] = error

    def _opened(self) -> Any:
        if (len(self._source) if isinstance(self._source, bytes) else self._source.stat().st_size) == 0:
            raise Quarantined("empty", "the file has no bytes")
        try:
            source = io.BytesIO(self._source) if isinstance(self._source, bytes) else str(self._source)
            return av.open(source, mode="r")
        except (av.FFmpegError, ValueError, OSError) as error:
            raise Quarantined("not_media", f"no known audio or video format ({reason(error)})") from None


class _Decoded(NamedTuple):
    sound: SoundDecoder | None
    pictures: PictureDecoder | None


def _moving(container: Any) -> list[Any]:
    """Its video streams, but for cover pictures."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
