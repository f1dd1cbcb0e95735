"""Pictures that tell their own number, sound that clicks: what was cut at a time is what was shown and heard then."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
import pytest

from avlake.errors import Quarantined
from avlake.extractors import base
from avlake.extractors.crops import cut, packed, unpacked
from avlake.extractors.face_boxes import parsed, steady_box
from avlake.extractors.face_tracks import COEFFICIENTS, MELS, MOST_FACES, SIDE_PX, STEPS, FaceTracks, Params
from avlake.extractors.speech_frames import SILENCE
from avlake.media.clip import Clip
from avlake.media.sandbox import Sandbox
from avlake.settings import Settings
from clips import Pixels, make_clip

RATE = 16_000
BITS = 10
BOX = (0.25, 0.25, 0.75, 0.75)  # where the clock is drawn
STEP_TIMES_S = np.array([-0.015, -0.005, 0.005, 0.015])
Box = tuple[float, float, float, float]


def clock(times_s: Sequence[float], width: int = 320, height: int = 240) -> Callable[[float], Pixels]:
    """Pictures whose middle shows their number in bars, light for 1, the lowest bit to the left."""
    numbers = {time_s: number for number, time_s in enumerate(times_s)}

    def draw(time_s: float) -> Pixels:
        picture = np.full((height, width, 3), 110, np.uint8)
        bits = numbers[time_s] >> np.arange(BITS) & 1
        bars = np.repeat(np.where(bits, 230, 25), width // 2 // BITS)
        picture[height // 4 : height * 3 // 4, width // 4 : width // 4 + len(bars)] = bars[:, None]
        return picture

    return draw


def number_of(crop: Pixels) -> int:
    """What a clock's crop shows."""
    bars = crop[20:-20, : SIDE_PX // BITS * BITS].mean(axis=0).reshape(BITS, -1)[:, 3:-3].mean(axis=1)
    assert ((bars < 70) | (bars > 180)).all(), bars
    return int(((bars > 128) << np.arange(BITS)).sum())


def clicks(times_s: Sequence[float], seconds: float) -> np.ndarray[Any, Any]:
    """4 ms of noise around each time."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    noise = 0.5 * np.random.default_rng(1).standard_normal(64).astype(np.float32)
    for time_s in times_s:
        samples[round(time_s * RATE) - 32 : round(time_s * RATE) + 32] = noise
    return samples


def told(times_s: Sequence[float], box: Box = BOX, track: str = "v_0:1", label: str = "SPEAKING_AUDIBLE") -> str:
    """An annotation of one track."""
    edges = ",".join(f"{edge:.6f}" for edge in box)
    return "".join(f"{time_s:.2f},{edges},{label},{track}\n" for time_s in times_s)


def measure(content: bytes, annotation: str, **params: Any) -> list[dict[str, Any]]:
    """The rows of a clip."""
    clip = Clip(content, annotation=annotation)
    (extractor,) = base.register(clip, [FaceTracks(Params(**params))], streams=("video",))
    columns = extractor.measure(clip)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def crops_of(row: dict[str, Any]) -> Pixels:
    return unpacked(row["crops"], row["crop_bytes"])


def sound_of(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(row["log_mel"], "<f2").reshape(row["faces"], STEPS, MELS).astype(np.float32)


def uneven(seed: int, frames: int) -> list[float]:
    """Times of a camera that drops and delays pictures."""
    steps = np.random.default_rng(seed).choice([1 / 50, 1 / 30, 1 / 25, 1 / 15], frames)
    return np.round(np.cumsum(steps), 4).tolist()


def every(rate_hz: float, first_s: float = 0.0, seconds: float = 2.4) -> list[float]:
    return (first_s + np.arange(round(seconds * rate_hz)) / rate_hz).tolist()


def first_shown_s(content: bytes) -> float:
    """When a player shows the first picture; an MPEG transport stream begins with 64 ms of the sound's encoder."""
    with av.open(io.BytesIO(content)) as container:
        return float(next(container.decode(video=0)).time) - max(container.start_time, 0) / av.time_base


# times of pictures, start of the sound, container
TIMINGS = {
    "23.976": (every(24000 / 1001), 0.0, "mp4"),
    "25": (every(25), 0.0, "mp4"),
    "25, mpeg-ts": (every(25), 0.0, "mpegts"),
    "29.97": (every(30000 / 1001), 0.0, "mkv"),
    "50": (every(50), 0.0, "mp4"),
    "uneven": (uneven(3, 60), 0.0, "mp4"),
    "uneven, mkv": (uneven(4, 60), 0.0, "mkv"),
    "sound later": (every(25), 0.33, "mp4"),
    "sound earlier": (every(25, 0.33), 0.0, "mkv"),
    "pictures from 5 s, sound from 5.2 s": (every(25, 5.0), 5.2, "mkv"),
    "all from 7.4 s": (every(30000 / 1001, 7.4), 7.4, "mpegts"),
}


@pytest.mark.parametrize(("times_s", "sound_s", "container"), TIMINGS.values(), ids=TIMINGS)
def test_a_face_is_what_is_seen_and_heard_at_its_time(times_s, sound_s, container):
    half_s = np.median(np.diff(times_s)) / 2
    at_s = [times_s[12] + 0.004, times_s[-14]]  # of the clicks
    sound = clicks([time_s - sound_s for time_s in at_s], times_s[-1] - sound_s + 0.2)
    content = make_clip(clock(times_s), sound, times_s=times_s, audio_start_s=sound_s, container=container)
    origin_s = times_s[0] - first_shown_s(content)
    shown_s = np.round(np.array(times_s) - origin_s, 2)
    (row,) = measure(content, told(shown_s))
    assert row["problem"] == [None] * len(times_s)
    assert [number_of(crop) for crop in crops_of(row)] == list(range(len(times_s)))
    loudness = np.exp(sound_of(row)).sum(axis=2)
    heard_s = np.array(row["frame_timestamp"])[:, None] + STEP_TIMES_S
    for click_s in np.array(at_s) - origin_s:
        near = np.abs(heard_s - click_s) < 0.2
        loudest_s = heard_s[near][loudness[near].argmax()]
        assert abs(loudest_s - click_s) <= min(half_s, 0.011), (loudest_s, click_s)
        face = np.abs(shown_s - click_s).argmin()
        assert loudness[face].max() > 100 * np.median(loudness)


def test_a_time_between_two_pictures_gets_the_nearer_one():
    times_s = every(25, seconds=0.4)
    content = make_clip(clock(times_s), times_s=times_s)
    (row,) = measure(content, "".join(told([time_s]) for time_s in (0.05, 0.07, 0.11, 0.3)))
    assert [number_of(crop) for crop in crops_of(row)] == [1, 2, 3, 7]  # 0.3 s: halfway, the earlier one


def ramps(width: int, height: int) -> Pixels:
    """Light grows from left to right, by 100 levels, and from top to bottom, by 100."""
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return np.rint(20 + 100 * x[None] + 100 * y[:, None]).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(90, 70), (320, 240), (1111, 907), (4096, 2304)])
@pytest.mark.parametrize("box", [(0.2, 0.3, 0.61, 0.77), (-0.4, 0.5, 0.3, 1.9), (0.501, 0.101, 0.503, 0.109)])
def test_a_crop_is_exactly_its_box_cut_off_at_the_frames_edges(width, height, box):
    x1, y1, x2, y2 = np.clip(box, 0, 1)
    middle = (np.arange(SIDE_PX) + 0.5) / SIDE_PX
    wanted = 20 + 100 * (x1 + middle * (x2 - x1))[None] + 100 * (y1 + middle * (y2 - y1))[:, None]
    found = cut(ramps(width, height), box)
    inner = slice(2, -2)  # nothing is known beyond the frame's outermost pixels' centres
    off = (found - wanted)[inner, inner]
    assert np.abs(off).max() < 1.6 and abs(off.mean()) < 0.2  # half a pixel of the smallest frame is 0.5 levels


def test_crops_of_one_row_are_unpacked_in_their_places():
    first, second = ramps(SIDE_PX, SIDE_PX), 255 - ramps(SIDE_PX, SIDE_PX)
    jpegs = [packed(first, 95), b"", packed(second, 95)]
    found = unpacked(b"".join(jpegs), [len(jpeg) for jpeg in jpegs])
    assert found.shape == (3, SIDE_PX, SIDE_PX) and not found[1].any()
    assert np.abs(found[0].astype(int) - first).max() < 8 and np.abs(found[2].astype(int) - second).max() < 8


def test_boxes_that_no_picture_has_say_why_and_the_others_are_measured():
    times_s = [*every(25, seconds=0.6), *every(25, 1.6, seconds=0.4)]  # nothing for a second
    content = make_clip(clock(times_s), clicks([0.2], 2.2), times_s=times_s)
    boxes = {
        0.0: BOX,
        0.04: (0.75, 0.25, 0.25, 0.75),
        0.08: (0.25, 0.5, 0.75, 0.5),
        0.12: (1.2, 0.1, 1.5, 0.4),
        0.16: (-3.0, -3.0, -1e300, -2.0),
        0.2: (0.1, -1e300, 0.4, -0.1),
        0.24: (float("nan"), 0.1, 0.4, 0.4),
        0.28: (-0.5, -0.5, 1.5, 1.5),
        1.1: BOX,
        1.96: BOX,
        1.97: BOX,
        2.05: BOX,
        1e9: BOX,
        -0.5: BOX,
    }
    problems = (None, "bad_box", "bad_box", "outside_frame", "bad_box", "outside_frame", "bad_box", None, "no_frame")
    text = "".join(f"{time_s},{','.join(map(str, box))},,v:1\n" for time_s, box in boxes.items())
    (row,) = measure(content, text)
    assert row["frame_timestamp"] == sorted(boxes)
    assert row["problem"] == ["no_frame", *problems, None, None, "past_end", "past_end"]
    assert row["label"] == [None] * len(boxes)
    assert [n > 0 for n in row["crop_bytes"]] == [problem is None for problem in row["problem"]]
    sound = sound_of(row)
    assert not sound[[problem is not None for problem in row["problem"]]].any()
    assert (sound[[problem is None for problem in row["problem"]]] != 0).all()
    assert np.isfinite(np.array(row["x2"])[1:7]).all()
    assert (row["width_px"], row["height_px"], row["source"]) == (320, 240, "annotation")


def test_a_video_of_which_no_box_is_usable_is_quarantined():
    content = make_clip(clock(every(25, seconds=0.2)), seconds=0.2)
    text = told([900.0, 900.04]) + told([0.1], (0.5, 0.5, 0.5, 0.6))
    with pytest.raises(Quarantined, match=r"none of 3 boxes has a picture: 1 bad_box, 2 past_end") as caught:
        measure(content, text)
    assert caught.value.error_class == "no_usable_box"


@pytest.mark.parametrize("line", ["0.1,0.2,x,0.3,0.4,,v:1", "0.1,0.2,0.3,0.4,,v:1", "nan,0.1,0.1,0.2,0.2,,v:1", ""])
def test_an_annotation_that_is_none_is_the_videos_own_fault(line):
    with pytest.raises(Quarantined, match="line 2 of its annotation") as caught:
        parsed(told([0.0]) + line + "\n" + told([1.0]))
    assert caught.value.error_class == "bad_annotation"


def test_boxes_keep_what_was_told_of_them():
    text = '1.50,0.1,0.2,0.3,0.4,NOT_SPEAKING,"b,1"\n0.50,0.1,0.2,0.3,0.5,,"b,1"\n1.5,0,0,1,1,SPEAKING_AUDIBLE,"b,1"\n'
    boxes = parsed(text + told([0.2], track="a:1"))
    assert boxes.tracks == ["a:1", "b,1", "b,1"]
    assert boxes.times_s.tolist() == [0.2, 0.5, 1.5]
    assert boxes.labels == ["SPEAKING_AUDIBLE", None, "NOT_SPEAKING"]  # of two of one time the first
    assert boxes.edges[2].tolist() == [0.1, 0.2, 0.3, 0.4]


def test_a_long_track_has_parts_and_many_tracks_need_one_look():
    times_s = every(25, seconds=1.0)
    content = make_clip(clock(times_s, 64, 48), times_s=times_s)
    long_s = np.arange(MOST_FACES + 2) * 0.0005
    text = "".join(f"{time_s:.4f},0.25,0.25,0.75,0.75,,long\n" for time_s in long_s)
    text += "".join(told([times_s[k % 25]], track=f"t:{k:04}") for k in range(1000))
    rows = measure(content, text)
    assert [(row["track_id"], row["part"], row["faces"]) for row in rows[:3]] == [
        ("long", 0, MOST_FACES),
        ("long", 1, 2),
        ("t:0000", 0, 1),
    ]
    assert len(rows) == 1002
    assert rows[0]["end_s"] < rows[1]["start_s"] < rows[1]["end_s"] == pytest.approx(0.7505)
    lists = ("frame_timestamp", "x1", "y1", "x2", "y2", "label", "problem", "crop_bytes")
    assert {len(row[name]) for row in rows[2:] for name in lists} == {1}
    assert all(len(row["mfcc"]) == 2 * row["faces"] * STEPS * COEFFICIENTS for row in rows)


def test_a_trembling_box_does_not_make_the_face_tremble():
    picture = np.random.default_rng(5).integers(40, 220, (24, 32)).repeat(10, 0).repeat(10, 1).astype(np.uint8)
    content = make_clip(lambda t: np.repeat(picture[..., None], 3, 2), seconds=1.0)
    trembling = np.random.default_rng(6).normal(0, 0.004, (25, 4))
    text = "".join(told([k / 25], tuple(np.add(BOX, trembling[k]))) for k in range(25))
    moves = []
    for smooth_s in (0.0, 0.12):
        (row,) = measure(content, text, smooth_s=smooth_s)
        moves.append(np.abs(np.diff(crops_of(row).astype(float), axis=0)).mean())
        assert row["x1"] == pytest.approx(np.round(BOX[0] + trembling[:, 0], 6))  # told as annotated
    assert moves[1] < 0.25 * moves[0]


def test_smoothing_follows_a_face_and_stops_at_gaps():
    times_s = [*np.arange(20) / 25, *(5 + np.arange(20) / 25)]
    left = [0.1 + 0.2 * time_s for time_s in times_s[:20]] + [0.6] * 20
    edges = [np.array([x, 0.2, x + 0.2, 0.6]) for x in left]
    found = np.array([steady_box(times_s, edges, at, 0.12) for at in range(40)])
    assert found[10] == pytest.approx(edges[10], abs=5e-4)  # a steady motion is not held up
    assert found[20:] == pytest.approx(np.array(edges[20:]))  # what was 4 s ago does not pull


def test_a_video_without_sound_is_silent():
    content = make_clip(clock(every(25, seconds=0.4)), times_s=every(25, seconds=0.4))
    (row,) = measure(content, told([0.0, 0.2]))
    assert (sound_of(row) == np.float16(SILENCE)).all()
    mfcc = np.frombuffer(row["mfcc"], "<f2").reshape(2, STEPS, COEFFICIENTS)
    assert mfcc[..., 0] == pytest.approx(np.full((2, STEPS), SILENCE * np.sqrt(MELS)), rel=1e-3)
    assert np.abs(mfcc[..., 1:]).max() < 0.05


def test_damaged_sound_is_as_none_and_costs_no_picture():
    times_s = every(25, seconds=0.4)
    sound = clicks([0.2], 0.6)
    whole = make_clip(clock(times_s), sound, times_s=times_s, container="mkv")
    alone = make_clip(None, sound, container="mkv")
    audio = alone[-400:-100]  # the last packets of it
    at = whole.find(audio[100:200])
    assert at > 0
    clip = Clip(whole[:at] + b"\xff" * 100 + whole[at + 100 :], annotation=told(times_s))
    (extractor,) = base.register(clip, [FaceTracks()], streams=("video",))
    with pytest.raises(Quarantined):
        _ = clip.sound
    columns = extractor.measure(clip)
    assert columns["problem"][0] == [None] * len(times_s)
    assert set(np.frombuffer(columns["log_mel"][0], "<f2")) == {np.float16(SILENCE)}


def test_of_a_truncated_video_the_rest_is_past_its_end():
    times_s = every(25, seconds=2.0)
    whole = make_clip(clock(times_s), clicks([0.2], 2.0), times_s=times_s, container="mpegts")
    first_s = first_shown_s(whole)
    (row,) = measure(whole[: len(whole) // 2 // 188 * 188], told([first_s + time_s for time_s in times_s]))
    kept = sum(problem is None for problem in row["problem"])
    assert 10 < kept < 40
    assert row["problem"] == [None] * kept + ["past_end"] * (50 - kept)
    assert [number_of(crop) for crop in crops_of(row)[: kept - 1]] == list(range(kept - 1))
    assert not any(row["crop_bytes"][kept:])


def test_in_the_sandbox_an_annotated_video_needs_no_model_and_gives_the_same(tmp_path):
    times_s = every(25, seconds=0.4)
    content = make_clip(clock(times_s), clicks([0.2], 0.6), times_s=times_s)
    with Sandbox(Settings(models=tmp_path)) as sandbox:
        found = sandbox.measure(content, {"face_tracks": {}}, annotation=told(times_s))["face_tracks"]
    assert found.error is None and found.batch is not None
    (row,), (again,) = found.batch.to_pylist(), measure(content, told(times_s))
    assert [row[name] for name in ("crops", "log_mel", "mfcc", "frame_timestamp")] == [
        again[name] for name in ("crops", "log_mel", "mfcc", "frame_timestamp")
    ]
    names = [field.name for field in FaceTracks.table.schema if field.name not in base.ADDED]
    assert found.batch.schema.names == names
