"""Frames of a clip, whatever the file says about turning, stretching and timing them."""

from __future__ import annotations

import io
from typing import Any

import av
import cv2
import numpy as np
import pytest

from avlake.errors import Quarantined
from avlake.media.clip import Clip
from avlake.media.sandbox import Sandbox
from avlake.media.video import Frame
from avlake.settings import Settings
from clips import make_clip, moving_bar

ONE = 1 << 16
# What a player is to do with the stored picture, as a display matrix says it: where right and down point then.
TURNS = {
    "as stored": ((1, 0, 0, 1), lambda p: p),
    "held upright (phone)": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "held upside down": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "held the other way": ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "mirrored (selfie)": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "inverted": ((1, 0, 0, -1), lambda p: p[::-1]),
    "mirrored and upright": ((0, 1, 1, 0), lambda p: np.rot90(p, -1)[:, ::-1]),
    "mirrored the other way": ((0, -1, -1, 0), lambda p: np.rot90(p, 1)[:, ::-1]),
}


class Eye:
    """Keeps what is asked of every frame."""

    def __init__(self, look: Any) -> None:
        self.seen: list[Any] = []
        self._look = look

    def see(self, frame: Frame) -> None:
        self.seen.append(self._look(frame))


def looked(content: bytes, look: Any) -> list[Any]:
    clip = Clip(content)
    clip.show_to("eye", Eye(look))
    return list(clip.seen("eye").seen)


def corners(width: int = 160, height: int = 96) -> np.ndarray:
    """Another gray in each corner."""
    picture = np.full((height, width, 3), 128, np.uint8)
    for gray, place in zip((0, 60, 190, 255), np.ndindex(2, 2), strict=True):
        rows, columns = (
            slice(0, n // 2) if end == 0 else slice(n // 2, n) for n, end in zip((height, width), place, strict=True)
        )
        picture[rows, columns] = gray
    return picture


def disc(width: int, height: int) -> np.ndarray:
    """White on dark gray; its diameter is half of the height, and its middle the picture's."""
    picture = np.full((height, width, 3), 50, np.uint8)
    cv2.circle(picture, (width // 2, height // 2), height // 4, (255, 255, 255), -1)
    return picture


def bounds(picture: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is white."""
    rows, columns = np.nonzero(picture.min(axis=2) > 150)
    return columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1


@pytest.mark.parametrize(("axes", "upright"), TURNS.values(), ids=TURNS)
def test_a_picture_is_shown_as_its_display_matrix_says(axes: tuple[int, ...], upright: Any) -> None:
    right_x, right_y, down_x, down_y = (ONE * axis for axis in axes)
    matrix = [right_x, right_y, 0, down_x, down_y, 0, 0, 0, 1 << 30]
    content = make_clip(lambda _: corners(), seconds=0.2, matrix=matrix, crf=5)
    [(size, shown), *_] = looked(content, lambda frame: (frame.size_px, frame.rgb(*frame.size_px)))
    expected = upright(corners())
    assert size == (expected.shape[1], expected.shape[0])
    assert np.abs(shown.astype(int) - expected).mean() < 4


def test_pixels_that_are_not_square_are_made_so() -> None:
    content = make_clip(lambda _: disc(180, 240), seconds=0.2, pixel_aspect=16 / 9)
    [(size, box, image), *_] = looked(content, lambda frame: (frame.size_px, frame.box_px, frame.letterboxed))
    assert size == (320, 240) and box == (0, 28, 224, 168)
    _, _, width, height = bounds(image)
    assert width / height == pytest.approx(16 / 9, rel=0.03)  # a disc as stored, so wider than high as shown


def test_stretched_pixels_of_a_turned_picture_are_those_of_the_stored_one() -> None:
    turned = [0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30]
    content = make_clip(lambda _: disc(160, 120), seconds=0.2, pixel_aspect=2.0, matrix=turned)
    assert looked(content, lambda frame: frame.size_px)[0] == (120, 320)


def test_a_pixel_aspect_that_cannot_be_is_ignored() -> None:
    content = make_clip(moving_bar(), seconds=0.2, pixel_aspect=200.0)
    assert looked(content, lambda frame: frame.size_px)[0] == (160, 120)


@pytest.mark.parametrize(("width", "height"), [(320, 180), (180, 320), (224, 224), (640, 360), (62, 46)])
def test_the_letterbox_keeps_every_shape_and_is_black_outside(width: int, height: int) -> None:
    content = make_clip(lambda _: disc(width, height), seconds=0.1, crf=5)
    box, image = looked(content, lambda frame: (frame.box_px, frame.letterboxed))[0]
    scale = 224 / max(width, height)
    assert box[2:] == (round(width * scale), round(height * scale))
    assert abs(2 * box[0] + box[2] - 224) <= 1 and abs(2 * box[1] + box[3] - 224) <= 1
    inside = np.zeros((224, 224), bool)
    inside[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
    assert not image[~inside].any() and image[inside].min() > 30
    left, top, wide, high = bounds(image)
    assert wide == pytest.approx(height / 2 * scale, abs=2.5) and high == pytest.approx(wide, abs=2)
    assert (left + wide / 2, top + high / 2) == pytest.approx((112, 112), abs=2)


def test_a_covered_square_shows_the_middle() -> None:
    content = make_clip(lambda _: disc(320, 180), seconds=0.1, crf=5)
    image = looked(content, lambda frame: frame.fitted(224, cover=True))[0]
    left, top, wide, high = bounds(image)
    assert image.shape == (224, 224, 3) and image.min() > 30
    assert wide == pytest.approx(112, abs=2.5) and high == pytest.approx(112, abs=2.5)
    assert (left + wide / 2, top + high / 2) == pytest.approx((112, 112), abs=2)


def test_frames_of_another_size_midway_are_fitted_anew() -> None:
    first, then = (
        make_clip(lambda _, size=size: disc(*size), seconds=0.2, container="h264") for size in ((160, 120), (120, 160))
    )
    seen = looked(first + then, lambda frame: (frame.size_px, bounds(frame.letterboxed)))
    assert [size for size, _ in seen] == [(160, 120)] * 5 + [(120, 160)] * 5
    for _, (_, _, wide, high) in seen:
        assert wide == pytest.approx(high, abs=2)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_frames_are_shown_when_their_timestamps_say(container: str) -> None:
    times_s = [0.0, 0.033, 0.1, 0.14, 0.5, 0.52, 1.0]
    content = make_clip(moving_bar(), times_s=times_s, container=container)
    assert looked(content, lambda frame: frame.time_s) == pytest.approx(times_s, abs=0.001)


def test_pictures_without_timestamps_follow_each_other_at_the_rate_of_the_stream() -> None:
    content = make_clip(moving_bar(), seconds=1, container="h264")
    times_s = looked(content, lambda frame: frame.time_s)
    assert np.diff(times_s) == pytest.approx(0.04, abs=1e-3) and times_s[0] == pytest.approx(0, abs=1e-3)


def test_grays_of_full_and_limited_range_look_the_same() -> None:
    limited = make_clip(lambda _: corners(), seconds=0.1, crf=1)
    full = make_clip(lambda _: corners(), seconds=0.1, codec="mjpeg", pix_fmt="yuvj420p", container="mkv")
    seen = [looked(content, lambda frame: frame.letterboxed)[0].astype(int) for content in (limited, full)]
    assert np.abs(seen[0] - seen[1]).mean() < 4


def with_packets_zeroed(content: bytes, kind: str, which: slice) -> bytes:
    """The file with the packets of one stream, in stored order, overwritten."""
    damaged = bytearray(content)
    with av.open(io.BytesIO(content)) as opened:
        packets = [p for p in opened.demux(getattr(opened.streams, kind)[0]) if p.size]
        for packet in packets[which]:
            damaged[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    return bytes(damaged)


HISS = 0.1 * np.random.default_rng(1).standard_normal(32_000)
PNG = make_clip(moving_bar(), HISS, seconds=2, container="mov", codec="png", pix_fmt="rgb24")


def test_a_damaged_picture_costs_itself_and_is_counted() -> None:
    clip = Clip(with_packets_zeroed(PNG, "video", slice(20, 22)))
    clip.show_to("eye", Eye(lambda frame: frame.time_s))
    seen = clip.seen("eye").seen
    assert len(seen) == 48 and seen[19:21] == pytest.approx([0.76, 0.88])  # those after it keep their time
    assert clip.decode_errors == 2
    assert np.array_equal(clip.audio.samples, Clip(PNG).audio.samples)


def test_pictures_that_are_all_damaged_leave_the_sound_and_the_reverse() -> None:
    mute, dark = with_packets_zeroed(PNG, "audio", slice(3, None)), with_packets_zeroed(PNG, "video", slice(None))
    asked: dict[str, dict[str, Any]] = {name: {} for name in ("media", "audio_quality", "fingerprints", "standardised")}
    with Sandbox(Settings()) as box:
        for content, fine, failing in (
            (dark, {"media", "audio_quality"}, "no picture of its png video decodes"),
            (mute, {"media"}, "decoding its aac sound failed"),
        ):
            found = box.measure(content, asked, streams=("audio", "video"))
            assert {name for name, measured in found.items() if not measured.error} == fine
            assert all(
                failing in str(m.error) and m.error.error_class == "decode_error" for m in found.values() if m.error
            )
            [row] = found["media"].batch.to_pylist()
            assert (row["codec"], row["native_rate_hz"], row["channels"]) == ("aac", 16_000, 1)
            assert (row["video_codec"], row["width_px"]) == ("png", 160)
            assert row["duration_s"] == pytest.approx(2.0, abs=0.1)
        with pytest.raises(Quarantined, match=r"aac sound failed.*; no picture of its png"):
            box.measure(with_packets_zeroed(mute, "video", slice(None)), asked, streams=("audio", "video"))
        with pytest.raises(Quarantined, match="aac sound failed"):
            box.measure(mute, {"audio_quality": {}})
