"""What a clip says of a recording as it was delivered, before any resampling."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
import soundfile

from avlake.errors import Quarantined
from avlake.extractors.base import Extractor, register
from avlake.media.audio import BLOCK, Audio, Sound
from avlake.media.clip import Clip
from avlake.media.sandbox import Sandbox
from avlake.media.video import Frame
from avlake.settings import Settings
from avlake.tables import silver
from clips import make_clip, moving_bar

BAD = Path(__file__).parents[2].parent / "shared/data/bad"
CLASSES = {"empty", "not_media", "no_audio", "decode_error"}
HISS = 0.1 * np.random.default_rng(1).standard_normal(32_000)


def wav(samples: np.ndarray, subtype: str, rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_clipping_is_counted_on_both_sides_at_every_depth(subtype: str) -> None:
    square = np.tile([1.0, 1.0, -1.0, -1.0, 0.5, -0.5, 0.0, 0.0], 1000)
    audio = Clip(wav(square, subtype)).audio
    assert audio.native_clipped == 4000
    assert audio.native_peak == pytest.approx(1.0, abs=0.01)


def test_channels_are_averaged_and_the_original_format_is_kept() -> None:
    left, right = np.full(4800, 0.5), np.full(4800, -0.25)
    audio = Clip(wav(np.column_stack([left, right]), "FLOAT", rate=48_000)).audio
    assert (audio.native_rate_hz, audio.native_channels, audio.native_samples) == (48_000, 2, 4800)
    assert audio.duration_s == pytest.approx(0.1)
    assert audio.samples[400:1200] == pytest.approx(0.125, abs=1e-3)


class Counter:
    """Counts frames; fails at one of them."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.frames = 0
        self._fails_at = fails_at

    def see(self, frame: Frame) -> None:
        if frame.index == self._fails_at:
            raise RuntimeError("this frame is too much")
        self.frames += 1


def with_cover(mp3: bytes) -> bytes:
    """An mp3 that carries a picture of its album, as an ID3 tag."""
    file = io.BytesIO()
    with av.open(file, "w", format="image2pipe") as out:
        stream = out.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    body = b"\0image/png\0\x03\0" + file.getvalue()
    tag = b"APIC" + struct.pack(">IH", len(body), 0) + body
    size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + tag + mp3


def mp3() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, HISS, 16_000, format="MP3")
    return buffer.getvalue()


def test_a_cover_picture_is_no_video() -> None:
    content = with_cover(mp3())
    with av.open(io.BytesIO(content)) as opened:
        assert opened.streams.video  # there it is
    clip, viewer = Clip(content), Counter()
    clip.show_to("viewer", viewer)
    assert clip.streams == {"audio"}
    assert np.array_equal(clip.audio.samples, Clip(mp3()).audio.samples) and viewer.frames == 0
    with pytest.raises(Quarantined, match="no video stream"):
        clip.seen("viewer")


@pytest.mark.parametrize("container", ["mp4", "mkv", "mpegts"])
def test_sound_is_the_same_whoever_looks_at_the_pictures(container: str) -> None:
    content = make_clip(moving_bar(), HISS, container=container)
    alone, beside = Clip(content), Clip(content)
    beside.show_to("viewer", Counter())
    assert np.array_equal(alone.audio.samples, beside.audio.samples)
    assert alone.audio.start_s == beside.audio.start_s
    assert beside.seen("viewer").frames == 50


def test_one_pass_serves_all_and_a_failing_viewer_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    plain = av.open

    def counted(*args: Any, **options: Any) -> Any:
        opened.append(plain(*args, **options))
        return opened[-1]

    clip = Clip(make_clip(moving_bar(), HISS))
    for name, viewer in (("first", Counter()), ("failing", Counter(fails_at=7)), ("last", Counter())):
        clip.show_to(name, viewer)
    monkeypatch.setattr(av, "open", counted)
    assert clip.seen("first").frames == clip.seen("last").frames == 50
    with pytest.raises(RuntimeError, match="too much"):
        clip.seen("failing")
    before = len(opened)
    _ = clip.audio, clip.video, clip.seen("first")
    assert len(opened) == before


@pytest.mark.parametrize("late_s", [0.0, 0.3])
def test_sound_that_begins_later_says_so(late_s: float) -> None:
    audio = Clip(make_clip(moving_bar(), HISS, audio_start_s=late_s, container="mkv")).audio
    assert audio.start_s == pytest.approx(late_s, abs=0.001)


class Ear:
    """Keeps the blocks it hears; fails at one of them."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.blocks: list[np.ndarray] = []
        self._fails_at = fails_at

    def hear(self, samples: np.ndarray) -> None:
        if len(self.blocks) == self._fails_at:
            raise RuntimeError("this block is too much")
        self.blocks.append(samples.copy())


def listened(content: bytes, *, keep: bool) -> tuple[Clip, Ear]:
    clip = Clip(content)
    clip.keep_samples = keep
    clip.play_to("ear", Ear)
    return clip, clip.heard("ear")


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [0.01, 7.3, 24.0])
def test_a_listener_hears_the_samples_in_order_and_without_gaps(rate: int, seconds: float) -> None:
    content = wav(0.1 * np.random.default_rng(rate).standard_normal(round(rate * seconds)), "FLOAT", rate=rate)
    kept, at_once = listened(content, keep=True)
    samples = kept.audio.samples
    assert np.array_equal(np.concatenate(at_once.blocks), samples)
    passing, in_passing = listened(content, keep=False)
    assert np.array_equal(np.concatenate(in_passing.blocks), samples)
    assert len(in_passing.blocks) >= len(samples) // (2 * BLOCK)
    assert max(map(len, in_passing.blocks)) < 2 * BLOCK
    facts = {name: getattr(kept.audio, name) for name in vars(passing.sound)}
    assert vars(passing.sound) == facts and passing.sound.n_samples == len(samples)


def test_a_failing_listener_costs_only_itself() -> None:
    clip = Clip(wav(np.tile(HISS, 15), "FLOAT"))
    for name, fails_at in (("first", None), ("failing", 1), ("last", None)):
        clip.play_to(name, lambda fails_at=fails_at: Ear(fails_at))
    assert np.array_equal(np.concatenate(clip.heard("first").blocks), clip.audio.samples)
    assert len(clip.heard("last").blocks) == len(clip.heard("first").blocks) > 2
    with pytest.raises(RuntimeError, match="too much"):
        clip.heard("failing")


class Hearing(Extractor):
    """Counts samples as they pass."""

    table = silver("hearing", "a test's own", columns={"n": pa.int64()})
    version = 1
    samples = False

    def listen(self) -> dict[str, Any]:
        return {"ear": Ear}

    def measure(self, clip: Clip) -> dict[str, np.ndarray]:
        return {"n": np.array([sum(map(len, clip.heard("ear").blocks))])}


class Keeping(Hearing):
    """Asks for the samples, too."""

    samples = True


def test_samples_are_kept_only_where_an_extractor_asks_for_them() -> None:
    content, hearing, keeping = wav(HISS, "PCM_16"), Hearing(), Keeping()
    clip = Clip(content)
    assert register(clip, [hearing], streams=("audio",)) == [hearing]
    assert hearing.measure(clip) == {"n": 32_000}
    assert type(clip.sound) is Sound
    with pytest.raises(AssertionError, match="not kept"):
        _ = clip.audio
    clip = Clip(content)
    register(clip, [hearing, keeping], streams=("audio",))
    assert hearing.measure(clip) == {"n": 32_000} == keeping.measure(clip)  # one listener for both
    assert type(clip.sound) is Audio and len(clip.audio.samples) == 32_000


def test_what_is_no_number_is_found_though_nothing_is_kept() -> None:
    sound = np.tile(HISS, 15)
    sound[-5] = np.nan
    clip = Clip(wav(sound, "FLOAT"))
    clip.keep_samples = False
    clip.play_to("ear", Ear)
    with pytest.raises(Quarantined) as caught:
        clip.heard("ear")
    assert caught.value.error_class == "not_finite"


def test_every_bad_file_costs_at_most_a_row_when_its_pictures_are_asked_for() -> None:
    files = sorted(BAD.glob("*"))
    if not files:
        pytest.skip(f"no bad files in {BAD}")
    with Sandbox(Settings()) as box:
        for file in files:
            try:
                found = box.measure(file, {"media": {}, "standardised": {}}, streams=("audio", "video"))
            except Quarantined as error:
                assert error.error_class in CLASSES and str(error), file.name
                continue
            assert found["media"].error is None, (file.name, found["media"].error)
            for measured in found.values():
                if measured.error:
                    assert measured.error.error_class == "decode_error", (file.name, measured.error)
                else:
                    assert measured.batch is not None and measured.batch.num_rows == 1
        again = box.measure(make_clip(moving_bar(), HISS), {"standardised": {}}, streams=("audio", "video"))
        assert again["standardised"].error is None
