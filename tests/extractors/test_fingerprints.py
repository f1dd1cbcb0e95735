"""Hashes of sound and picture: counted from the recording's start, and hardly changed by what a copy goes through."""

from __future__ import annotations

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import voice

from avlake.extractors import base
from avlake.extractors.fingerprints import EXTRACTOR, LENGTH, audio_hashes, frame_hash
from avlake.media.clip import SAMPLE_RATE, Clip
from clips import make_clip, moving_bar, noise_pictures

GOLDEN_WORDS = (
    0x00000000,
    0xAE04A894,
    0xA62DA996,
    0xA64DA996,
    0xD295B532,
    0xDBB6D4BB,
    0xDBB2E2BB,
    0x6AB4E2FD,
    0x24C4A245,
    0x64439345,
)
GOLDEN_PICTURE = 0x0093111BFB3B07BF
TALK = voice(4.0, 120, 1).astype(np.float32)


def measured(data: bytes) -> tuple[np.ndarray | None, np.ndarray | None]:
    clip, extractor = Clip(data), EXTRACTOR()
    assert base.register(clip, [extractor], streams=()) == [extractor]
    columns = extractor.measure(clip)
    for name, values in columns.items():
        assert len(pa.array(values, EXTRACTOR.table.schema.field(name).type)) == 1
    words, pictures = columns["audio_hashes"][0], columns["frame_hashes"][0]
    return (
        None if words is None else words.view(np.uint32),
        None if pictures is None else pictures.view(np.uint64),
    )


def picture(seed: int, width: int = 160, height: int = 120) -> np.ndarray:
    return luma(noise_pictures(seed, width, height)(0.0))


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


def wrong(one: np.ndarray, other: np.ndarray) -> float:
    """Share of bits that differ, where both say something."""
    said = (one != 0) & (other != 0)
    return float(np.bitwise_count(one[said] ^ other[said]).mean() / (8 * one.itemsize))


def test_words_and_pictures_are_counted_from_the_start_of_the_recording():
    words, pictures = measured(make_clip(noise_pictures(1), TALK, seconds=4.0))
    assert len(words) == pytest.approx((len(TALK) - LENGTH) / SAMPLE_RATE * 25, abs=4)  # AAC's blocks pad the end
    assert len(pictures) == 20
    late, _ = measured(make_clip(noise_pictures(1), TALK, seconds=4.0, audio_start_s=1.0))
    assert not late[:23].any()  # 64 ms of AAC's priming count as sound
    assert wrong(words[:60], late[25:85]) < 0.1


def test_a_stream_that_is_not_there_is_null():
    assert measured(make_clip(moving_bar()))[0] is None
    assert measured(make_clip(None, TALK))[1] is None


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.374])
def test_sound_shorter_than_a_word_has_none(seconds):
    assert len(audio_hashes(TALK[: round(seconds * SAMPLE_RATE)])) == 0


def test_silence_and_dither_say_nothing():
    dither = np.random.default_rng(1).choice([-1, 0, 1], 3 * SAMPLE_RATE).astype(np.float32) / 32768
    assert not audio_hashes(np.zeros(3 * SAMPLE_RATE, np.float32)).any()
    assert not audio_hashes(dither).any()
    paused = TALK.copy()
    paused[SAMPLE_RATE : 2 * SAMPLE_RATE] = 0
    words = audio_hashes(paused)
    assert not words[26:40].any() and words[55:].all()


@given(exponent=st.integers(-3, 0))
def test_volume_changes_nothing(exponent):
    """By powers of two, for other factors round."""
    np.testing.assert_array_equal(audio_hashes(TALK), audio_hashes(TALK * np.float32(2.0**exponent)))


def test_other_speech_differs_in_almost_half_the_bits():
    other = voice(4.0, 120, 3).astype(np.float32)
    assert wrong(audio_hashes(TALK), audio_hashes(other)) > 0.4


@settings(deadline=None)
@given(late=st.integers(0, SAMPLE_RATE // 25))
def test_a_cut_between_two_words_changes_few_bits(late):
    whole, cut = audio_hashes(TALK), audio_hashes(TALK[late:])
    nearest = round(late * 25 / SAMPLE_RATE)
    assert wrong(whole[nearest : nearest + 80], cut[:80]) < 0.15


@pytest.mark.parametrize("rate_hz", [10, 24, 25, 30_000 / 1001, 50])
def test_pictures_come_five_a_second_at_any_frame_rate(rate_hz):
    draw = noise_pictures(3, every_s=1.0)
    pictures = measured(make_clip(draw, seconds=3.0, rate_hz=rate_hz))[1]
    assert len(pictures) == 15
    for second in range(3):
        expected = frame_hash(luma(draw(second + 0.5)))
        assert np.bitwise_count(pictures[5 * second + 1 : 5 * second + 5] ^ np.uint64(expected)).max() <= 12


def test_a_picture_that_stays_counts_for_as_long_as_it_is_shown():
    pictures = measured(make_clip(noise_pictures(3), times_s=[0.0, 0.04, 2.0, 2.04]))[1]
    assert len(pictures) == 11
    assert len(set(pictures[:10].tolist())) == 1 and pictures[10] != pictures[9]


def test_a_timestamp_far_away_cannot_fill_the_memory():
    pictures = measured(make_clip(noise_pictures(3), times_s=[0.0, 0.04, 1_000_000.0], container="mkv"))[1]
    assert len(pictures) == 1


@pytest.mark.parametrize("level", [0, 16, 128, 255])
def test_a_picture_of_one_colour_says_nothing(level):
    assert frame_hash(np.full((168, 224), level, np.uint8)) == 0


@given(seed=st.integers(0, 1000), above=st.integers(1, 30), beside=st.integers(1, 30))
def test_black_bars_change_few_bits(seed, above, beside):
    plain = np.maximum(picture(seed), 40)
    barred = np.pad(plain, ((above, above), (beside, beside)))
    assert (frame_hash(plain) ^ frame_hash(barred)).bit_count() <= 6


@given(seed=st.integers(0, 1000))
def test_size_changes_few_bits_and_another_picture_many(seed):
    whole = frame_hash(picture(seed))
    assert (whole ^ frame_hash(picture(seed, 80, 60))).bit_count() <= 6
    assert (whole ^ frame_hash(picture(seed + 1001))).bit_count() > 12


def test_numbers_change_only_with_the_version():
    """Of integers, so that they are the same on every machine but for roundings."""
    index = np.arange(12_000, dtype=np.int64)
    noise = (index * 1_103_515_245 + 12_345) * (index % 8_191 + 7) // 65_536 % 2_048 - 1_024
    words = audio_hashes((noise / 2048).astype(np.float32))
    ramp = (np.arange(64)[:, None] * np.arange(64)[None] * 7 % 256).astype(np.uint8)
    golden = EXTRACTOR.version, GOLDEN_WORDS, GOLDEN_PICTURE
    assert golden[0] == 1, "a new version: write its values"
    assert len(words) == len(GOLDEN_WORDS)
    assert wrong(words, np.array(GOLDEN_WORDS, np.uint32)) < 0.02
    assert (frame_hash(ramp) ^ GOLDEN_PICTURE).bit_count() <= 2
