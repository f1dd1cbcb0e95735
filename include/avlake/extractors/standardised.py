"""The clip as models want it: 224 x 224 at 25 fps in H.264, 16 kHz mono sound; kept as objects, one row per clip.

Time 0 of both files is the recording's start: sound that begins later has silence before it, and a picture that begins
later is shown from 0 on. At k / 25 s an output frame shows what was on the screen then; where the clip's next frame is
due within half an output frame (20 ms) and nearer than the one before it, that one, as rounding would have it. So sound
and picture keep their offset, and a source of 25 fps or more is never off by more than half of its own frame.
"""

from __future__ import annotations

import heapq
import io
import wave
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import av
import numpy as np
import pyarrow as pa
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from pydantic import Field

from avlake.errors import Quarantined
from avlake.extractors import base
from avlake.media.audio import SAMPLE_RATE
from avlake.media.video import SIDE_PX
from avlake.tables import TEXT, silver

if TYPE_CHECKING:
    from avlake.media.audio import Audio
    from avlake.media.clip import Clip
    from avlake.media.video import Frame, Pixels

RATE_HZ = 25
MAX_HOLD_S = 600.0  # a picture that stays longer, or sound that begins later, is a damaged timestamp
# A keyframe a second, for loaders that seek. One thread: a task has one core, and the bytes never depend on timing.
# x264's fast code for its macroblock tree reads memory that it never wrote: other bytes from one encoding to the next.
H264 = {"preset": "veryfast", "threads": "1", "g": str(RATE_HZ), "x264-params": "cpu-independent=1"}
AAC_BIT_RATE = 64_000
AAC_BLOCK = 1024
BLOCK = 1 << 20
BT601 = 6  # AVCOL_SPC_SMPTE170M

Samples = np.ndarray[Any, np.dtype[np.int16]]


class Params(base.Params):
    """How a picture is made square, and how well it is kept."""

    fit: Literal["pad", "crop"] = Field(
        "pad",
        title="Fit",
        description="pad: the whole picture in a black square; crop: the middle of it fills the square",
    )
    crf: int = Field(20, ge=0, le=51, title="Constant rate factor", description="of H.264; lower is better and larger")


class Standardised(base.Extractor):
    """What a clip lacks, audio or video, its standard form lacks too.

    The same clip makes the same bytes with the same build of the codecs. The wav is 16-bit PCM.
    """

    table = silver(
        "standardised",
        "a clip in standard form: where its bytes are, and what they hold",
        columns={
            "video": TEXT,  # sha256 of the object, an mp4; NULL without video
            "audio": TEXT,  # sha256 of the object, a wav; NULL without audio
            "frames": pa.int32(),  # at 25 per second
            "duplicated_frames": pa.int32(),  # shown more than once to keep 25 per second
            "dropped_frames": pa.int32(),  # of the clip, not shown
            "duration_s": pa.float64(),  # of the longer of the two
            "side_px": pa.int32(),
            "video_bytes": pa.int64(),
            "audio_bytes": pa.int64(),
        },
    )
    version = 2
    reads = ()
    objects = ("video", "audio")
    Params: ClassVar[type[base.Params]] = Params

    def watch(self, clip: Clip) -> Recorder:
        assert isinstance(self.params, Params)
        return Recorder(cover=self.params.fit == "crop", crf=self.params.crf)

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        """Raises:
        Quarantined: `bad_timestamps` when a picture stays for more than 10 minutes, or sound begins so late.
        """
        sound = _from_start(clip.audio) if "audio" in clip.streams else None
        recorder = clip.seen(self.name) if "video" in clip.streams else None
        video = recorder.finish(sound) if recorder else None
        audio = None if sound is None else _wav(sound)
        row = {
            "video": video,
            "audio": audio,
            "frames": recorder and recorder.shown,
            "duplicated_frames": recorder and recorder.duplicated,
            "dropped_frames": recorder and recorder.dropped,
            "duration_s": max(
                recorder.shown / RATE_HZ if recorder else 0.0, 0.0 if sound is None else len(sound) / SAMPLE_RATE
            ),
            "side_px": recorder and SIDE_PX,
            "video_bytes": video and len(video),
            "audio_bytes": audio and len(audio),
        }
        return {name: np.array([value], object) for name, value in row.items()}


class Recorder:
    """Encodes frames as they come, at 25 per second; holds the picture on the screen and what is encoded."""

    def __init__(self, *, cover: bool, crf: int) -> None:
        self.shown = self.duplicated = self.dropped = 0
        self._cover = cover
        self._file = io.BytesIO()
        # Nothing is written before the first `mux`, so the sound can join when all pictures are encoded.
        self._out: Any = av.open(
            self._file, "w", format="mp4", options={"movflags": "+faststart"}, io_open=lambda *_: _Again(self._file)
        )
        self._stream = self._out.add_stream("libx264", rate=RATE_HZ, options=H264 | {"crf": str(crf)})
        self._stream.width = self._stream.height = SIDE_PX
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.colorspace = BT601
        self._stream.codec_context.color_range = ColorRange.MPEG
        self._to_yuv = VideoReformatter()
        self._packets: list[Any] = []
        self._picture: Pixels = np.zeros((0, 0, 3), np.uint8)
        self._since_s = self._until_s = 0.0

    def see(self, frame: Frame) -> None:
        """Raises:
        Quarantined: `bad_timestamps`.
        """
        if not self._picture.size:
            _check_hold(frame.time_s)
        else:
            self._show(until_s=frame.time_s - min((frame.time_s - self._since_s) / 2, 0.5 / RATE_HZ))
        self._picture = frame.fitted(SIDE_PX, cover=True) if self._cover else frame.letterboxed
        self._since_s, self._until_s = frame.time_s, frame.time_s + min(frame.lasts_s, MAX_HOLD_S)

    def finish(self, sound: Samples | None) -> bytes:
        """The mp4, with `sound` at 16 kHz from time 0 on."""
        self._show(until_s=max(self._until_s - 0.5 / RATE_HZ, 0.5 / RATE_HZ if not self.shown else 0.0))
        self._packets += self._stream.encode(None)
        tracks = [self._packets, [] if sound is None else self._encoded(sound)]
        for packet in heapq.merge(*tracks, key=lambda packet: packet.dts * packet.time_base):
            self._out.mux(packet)
        self._out.close()
        return self._file.getvalue()

    def _show(self, *, until_s: float) -> None:
        """Encode the picture on the screen for every output frame before `until_s`."""
        _check_hold(until_s - self.shown / RATE_HZ)
        times = 0
        while self.shown / RATE_HZ < until_s:
            if not times:
                raw = self._to_yuv.reformat(
                    av.VideoFrame.from_ndarray(self._picture, format="rgb24"),
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU601,
                    dst_color_range=ColorRange.MPEG,
                    threads=1,
                )
                raw.time_base = Fraction(1, RATE_HZ)
            raw.pts = self.shown
            self._packets += self._stream.encode(raw)
            self.shown += 1
            times += 1
        self.duplicated += max(times - 1, 0)
        self.dropped += not times

    def _encoded(self, sound: Samples) -> list[Any]:
        stream = self._out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = AAC_BIT_RATE
        stream.codec_context.flags |= av.codec.context.Flags.bitexact  # the same sums whatever this processor can do
        packets: list[Any] = []
        for start in range(0, len(sound), AAC_BLOCK):
            block = sound[None, start : start + AAC_BLOCK].astype(np.float32) / 32768
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), start
            packets += stream.encode(frame)
        return packets + stream.encode(None)


class _Again:
    """The file being written, read from a place of its own: so the index is moved to its front."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file, self._at = file, 0

    def read(self, size: int) -> bytes:
        writing_at = self._file.tell()
        self._file.seek(self._at)
        data = self._file.read(size)
        self._at += len(data)
        self._file.seek(writing_at)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset if whence == io.SEEK_SET else self._at + offset
        return self._at

    def tell(self) -> int:
        return self._at


def _from_start(audio: Audio) -> Samples:
    """16-bit samples from time 0 on: silence until the first."""
    _check_hold(audio.start_s)
    late = round(audio.start_s * SAMPLE_RATE)
    made = np.zeros(late + len(audio.samples), np.int16)
    for start in range(0, len(audio.samples), BLOCK):  # an hour as floats is 230 MB
        block = audio.samples[start : start + BLOCK]
        made[late + start :][: len(block)] = np.clip(np.rint(block * 32768.0), -32768, 32767)
    return made


def _wav(samples: Samples) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def _check_hold(seconds: float) -> None:
    if seconds > MAX_HOLD_S:
        raise Quarantined("bad_timestamps", f"nothing new for {seconds:.0f} s; at most {MAX_HOLD_S:.0f} s are taken")


EXTRACTOR = Standardised
