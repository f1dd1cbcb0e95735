"""The standard form of a clip, decoded again: its shape, its timing, its sound, and the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import wave
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import av
import numpy as np
import pytest

from avlake.errors import Quarantined
from avlake.extractors import base
from avlake.extractors.standardised import Params, Standardised
from avlake.media.clip import SAMPLE_RATE, Clip
from avlake.media.sandbox import Sandbox
from avlake.settings import Settings
from clips import make_clip, moving_bar

STREAMS = ("audio", "video")
BITS = 12
FILM = 24_000 / 1001
NTSC = 30_000 / 1001
STEADY = {rate: np.arange(round(4 * rate)) / rate for rate in (FILM, 25.0, NTSC, 50.0, 60.0)}
VARYING = np.cumsum(np.random.default_rng(3).uniform(0.005, 0.06, 90))


class Form(NamedTuple):
    """What was measured, and the two files decoded."""

    row: dict[str, Any]
    pictures: list[np.ndarray]
    times_s: list[float]
    sound: np.ndarray  # of the mp4, from time 0
    wav: np.ndarray


def standardised(content: bytes, **params: Any) -> dict[str, Any]:
    clip, extractor = Clip(content), Standardised(Params(**params))
    base.register(clip, [extractor], streams=STREAMS)
    return {name: values[0] for name, values in extractor.measure(clip).items()}


def formed(content: bytes, **params: Any) -> Form:
    row = standardised(content, **params)
    pictures, times_s, sound = [], [], [np.zeros(0)]
    if row["video"]:
        with av.open(io.BytesIO(row["video"])) as made:
            for frame in made.decode():
                if isinstance(frame, av.VideoFrame):
                    pictures.append(frame.to_ndarray(format="rgb24"))
                    times_s.append(frame.time)
                else:
                    assert len(sound) > 1 or frame.time == 0
                    sound.append(frame.to_ndarray()[0])
    wav = np.zeros(0)
    if row["audio"]:
        with wave.open(io.BytesIO(row["audio"])) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLE_RATE, 1, 2)
            wav = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    return Form(row, pictures, times_s, np.concatenate(sound), wav)


def clock_face(time_s: float) -> np.ndarray:
    """A picture that says its own time: milliseconds as 12 black or white fields."""
    bits = [(round(time_s * 1000) >> bit) & 1 for bit in range(BITS)]
    fields = np.reshape(bits, (3, 4)).astype(np.uint8) * 255
    return np.repeat(np.kron(fields, np.ones((74, 56), np.uint8))[:, :, None], 3, axis=2)


def read_clock(picture: np.ndarray) -> float:
    """The time that `clock_face` drew, which fills the square but for two rows, s."""
    bits = [picture[37 + 74 * row, 28 + 56 * column, 0] > 127 for row in range(3) for column in range(4)]
    return sum(int(bit) << place for place, bit in enumerate(bits)) / 1000


def told(times_s: Sequence[float]) -> Form:
    return formed(make_clip(clock_face, times_s=times_s, container="mkv"))


def click(at_s: float, seconds: float = 3.0) -> np.ndarray:
    samples = np.zeros(round(seconds * SAMPLE_RATE))
    samples[round(at_s * SAMPLE_RATE) :][:160] = np.hanning(160) * 0.8
    return samples


def flash(at_s: float) -> Callable[[float], np.ndarray]:
    def draw(time_s: float) -> np.ndarray:
        return np.full((96, 96, 3), 255 if time_s >= at_s - 1e-6 else 0, np.uint8)

    return draw


def first_bright(form: Form) -> float:
    return form.times_s[next(i for i, picture in enumerate(form.pictures) if picture.mean() > 100)]


def test_the_files_are_what_models_read() -> None:
    row = standardised(make_clip(moving_bar(320, 180), click(1, 2.0), rate_hz=30.0))
    with av.open(io.BytesIO(row["video"])) as made:
        video, audio = made.streams.video[0], made.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height, video.average_rate, video.frames) == (224, 224, 25, 50)
        assert (audio.codec_context.name, audio.rate, audio.channels) == ("aac", SAMPLE_RATE, 1)
        assert video.start_time == audio.start_time == 0
    assert row["video"].index(b"moov") < row["video"].index(b"mdat")  # a player can start before it has all
    assert (row["frames"], row["side_px"]) == (50, 224)
    assert (row["video_bytes"], row["audio_bytes"]) == (len(row["video"]), len(row["audio"]))
    assert row["duration_s"] == pytest.approx(2.0, abs=0.1)  # AAC fills its last block


@pytest.mark.parametrize("times_s", STEADY.values(), ids=lambda times_s: f"{len(times_s) / 4:.2f} fps")
def test_every_frame_shows_its_time_within_half_a_frame_of_the_source(times_s: np.ndarray) -> None:
    form = told(times_s)
    wanted = np.arange(len(form.pictures)) / 25
    assert form.times_s == pytest.approx(wanted, abs=1e-6)
    assert abs(len(wanted) - len(times_s) * 25 / (len(times_s) / 4)) <= 1
    shown = np.array([read_clock(picture) for picture in form.pictures])
    inside = wanted <= times_s[-1]
    nearest_s = max(times_s[1] / 2, times_s[1] - 0.02)
    assert np.abs(shown - wanted)[inside].max() <= nearest_s + 0.0015  # clock and container count milliseconds
    counted = len(times_s) + form.row["duplicated_frames"] - form.row["dropped_frames"]
    assert form.row["frames"] == len(form.pictures) == counted
    assert len(set(shown)) == len(times_s) - form.row["dropped_frames"]


def test_a_variable_rate_is_followed_and_held_pictures_stay_until_the_next_is_due() -> None:
    steps_s = np.concatenate([np.diff(VARYING)[:40], [0.8], np.diff(VARYING)[40:], [0.3, 0.02]])
    times_s = np.round(np.concatenate([[0.0], np.cumsum(steps_s)]), 3)
    form = told(times_s)
    for k, picture in enumerate(form.pictures):
        shown = np.argmin(np.abs(times_s - read_clock(picture)))
        assert times_s[shown] == pytest.approx(read_clock(picture), abs=0.0015)
        after_s = times_s[shown + 1] if shown + 1 < len(times_s) else np.inf
        assert times_s[shown] - 0.0215 <= k / 25 <= after_s + 0.0015
    assert form.row["frames"] == len(times_s) + form.row["duplicated_frames"] - form.row["dropped_frames"]


def test_half_the_frames_of_twice_the_rate_are_dropped_and_the_reverse() -> None:
    fast, slow = (formed(make_clip(moving_bar(), seconds=2, rate_hz=rate)).row for rate in (50.0, 12.5))
    assert (fast["frames"], fast["dropped_frames"], fast["duplicated_frames"]) == (50, 50, 0)
    assert (slow["frames"], slow["dropped_frames"], slow["duplicated_frames"]) == (50, 0, 25)


@pytest.mark.parametrize("times_s", [*STEADY.values(), VARYING], ids=[*map(str, STEADY), "varying"])
def test_a_flash_and_a_click_stay_together(times_s: np.ndarray) -> None:
    times_s = times_s - times_s[0]
    at_s = float(times_s[np.searchsorted(times_s, 1.5)])
    form = formed(make_clip(flash(at_s), click(at_s), times_s=times_s, container="mkv"))
    assert np.argmax(form.wav) / SAMPLE_RATE == pytest.approx(at_s + 0.005, abs=0.002)
    assert np.argmax(form.sound) / SAMPLE_RATE == pytest.approx(at_s + 0.005, abs=0.002)
    assert abs(first_bright(form) - at_s) <= 1 / 25


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize(("video_s", "audio_s"), [(0.0, 0.37), (0.37, 0.0)], ids=["late sound", "late picture"])
def test_a_stream_that_begins_later_keeps_its_place(container: str, video_s: float, audio_s: float) -> None:
    at_s = 1.4 if container == "mkv" else 1.2
    samples = click(at_s - audio_s)
    content = make_clip(
        flash(at_s), samples, times_s=video_s + np.arange(75) / 25, audio_start_s=audio_s, container=container
    )
    form = formed(content)
    assert form.times_s[0] == 0 and np.diff(form.times_s) == pytest.approx(0.04, abs=1e-6)
    assert np.argmax(form.wav) / SAMPLE_RATE == pytest.approx(at_s + 0.005, abs=0.004)
    assert np.argmax(form.sound) == pytest.approx(np.argmax(form.wav), abs=16)
    assert abs(first_bright(form) - np.argmax(form.wav) / SAMPLE_RATE) <= 1 / 25
    assert form.row["duplicated_frames"] == round(video_s * 25)  # the first picture stands from 0 on


def test_the_wav_holds_the_samples_that_were_measured() -> None:
    content = make_clip(moving_bar(), 0.3 * np.sin(np.arange(32_000) / 9))
    form, audio = formed(content), Clip(content).audio
    assert len(form.wav) == len(audio.samples)
    assert np.abs(form.wav - audio.samples).max() <= 0.5 / 32768 + 1e-9
    assert np.corrcoef(form.sound[: len(form.wav)], form.wav)[0, 1] > 0.99


def test_what_a_clip_lacks_its_standard_form_lacks() -> None:
    silent, blind = make_clip(moving_bar(), seconds=1), make_clip(None, click(0.2, 1.0))
    form = formed(silent)
    assert form.row["audio"] is None and form.row["audio_bytes"] is None and len(form.pictures) == 25
    with av.open(io.BytesIO(form.row["video"])) as made:
        assert not made.streams.audio
    form = formed(blind)
    assert {form.row[name] for name in ("video", "frames", "duplicated_frames", "dropped_frames", "side_px")} == {None}
    assert len(form.wav) / SAMPLE_RATE == form.row["duration_s"]


def test_one_picture_is_a_film_too() -> None:
    form = formed(make_clip(moving_bar(), times_s=[0.0]))
    assert len(form.pictures) == form.row["frames"] == 1


def test_the_whole_picture_is_padded_and_its_middle_cropped() -> None:
    picture = np.full((180, 320, 3), 128, np.uint8)
    picture[80:100, 150:170] = 255
    content = make_clip(lambda _: picture, seconds=0.2, crf=5)
    padded, cropped = (formed(content, fit=fit, crf=5).pictures[0] for fit in ("pad", "crop"))
    assert padded[:48].max() < 12 and padded[-48:].max() < 12 and padded[51:-51].min() > 100
    assert cropped.min() > 100
    for image, side in ((padded, 20 * 224 / 320), (cropped, 20 * 224 / 180)):
        rows, columns = np.nonzero(image.min(axis=2) > 190)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == pytest.approx((side, side), abs=2.5)
        assert (rows.mean(), columns.mean()) == pytest.approx((111.5, 111.5), abs=1)


def test_colours_come_back() -> None:
    patches = np.array([[(200, 40, 40), (40, 200, 40)], [(40, 40, 200), (180, 180, 60)]], np.uint8)
    picture = np.kron(patches, np.ones((112, 112, 1), np.uint8))
    image = formed(make_clip(lambda _: picture, seconds=0.2, crf=5), crf=5).pictures[0]
    centres = image[56::112, 56::112].astype(int)
    assert np.abs(centres - patches).max() < 12


def test_a_turned_phone_video_stands_upright() -> None:
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    stored = np.zeros((96, 160, 3), np.uint8)
    stored[:, :40] = 255  # the left of what is stored is the top of what was filmed
    image = formed(make_clip(lambda _: stored, seconds=0.2, matrix=matrix)).pictures[0]
    box = image[:, 48:176]
    assert box[5:45].min() > 200 and box[70:].max() < 30


def test_lower_rates_make_smaller_files() -> None:
    content = make_clip(moving_bar(), seconds=1)
    assert len(standardised(content, crf=40)["video"]) < len(standardised(content, crf=10)["video"])


def test_the_same_clip_makes_the_same_bytes_in_another_process() -> None:
    content = make_clip(moving_bar(), 0.1 * np.random.default_rng(5).standard_normal(32_000), rate_hz=NTSC)
    here = standardised(content)
    with Sandbox(Settings()) as box:
        for _ in range(2):
            batch = box.measure(content, {"standardised": {}}, streams=STREAMS)["standardised"].batch
            assert batch is not None
            for name in ("video", "audio"):
                there = batch[name][0].as_py()
                assert hashlib.sha256(there).hexdigest() == hashlib.sha256(here[name]).hexdigest()


ANEW = """
import hashlib, sys
from avlake.extractors import base
from avlake.media.clip import Clip
extractor, clip = base.load("standardised")(), Clip(sys.stdin.buffer.read())
base.register(clip, [extractor], streams=("video",))
row = extractor.measure(clip)
print(hashlib.sha256(row["video"][0]).hexdigest(), hashlib.sha256(row["audio"][0]).hexdigest())
"""


def test_what_lies_in_new_memory_is_in_no_byte() -> None:
    content = make_clip(moving_bar(), 0.2 * np.sin(np.arange(16_000) / 7), seconds=1)

    def hashes(filling: str) -> bytes:
        """Each block of memory that glibc hands out is filled with a byte made from this number."""
        env = os.environ | {"MALLOC_PERTURB_": filling}
        return subprocess.run(
            [sys.executable, "-c", ANEW], input=content, env=env, stdout=subprocess.PIPE, check=True
        ).stdout

    assert len({hashes(filling) for filling in ("1", "85", "170")}) == 1


def test_parameters_are_a_part_of_the_identity_and_are_checked() -> None:
    hashes = {Standardised(Params(**given)).params_hash for given in ({}, {"fit": "crop"}, {"crf": 30})}
    assert len(hashes) == 3
    for wrong in ({"fit": "stretch"}, {"crf": 52}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Params(**wrong)


@pytest.mark.parametrize(
    ("times_s", "audio_start_s"),
    [([0, 0.04, 5000, 5000.04], 0.0), ([5000, 5000.04], 0.0), (np.arange(25) / 25, 5000.0)],
    ids=["a jump", "late pictures", "late sound"],
)
def test_a_timestamp_far_away_costs_a_row_and_not_an_hour(times_s: Sequence[float], audio_start_s: float) -> None:
    content = make_clip(moving_bar(), click(0.1, 1.0), times_s=times_s, audio_start_s=audio_start_s, container="mkv")
    with pytest.raises(Quarantined) as caught:
        standardised(content)
    assert caught.value.error_class == "bad_timestamps"
