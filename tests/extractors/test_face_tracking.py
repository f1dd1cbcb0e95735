"""Faces of a video that nobody annotated: who goes on, who ends, and what is kept of frames that wait."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avlake.extractors import base
from avlake.extractors.crops import unpacked
from avlake.extractors.face_tracking import overlap
from avlake.extractors.face_tracks import FaceTracks, Params
from avlake.extractors.faces import MODEL, Face
from avlake.media.clip import Clip
from avlake.media.sandbox import Sandbox
from avlake.media.video import Frame
from avlake.settings import Settings
from clips import Pixels, make_clip

SHARED = Path(__file__).parents[2].parent / "shared"
DROP, MODELS = SHARED / "data/landing/ava/2026-09-01", SHARED / "models"
Seen = dict[int, list[Face]]  # by frame


class Told:
    """Says which faces a frame has, before anyone looks for them."""

    def __init__(self, found: Callable[[int], list[Face]]) -> None:
        self.found = found

    def see(self, frame: Frame) -> None:
        frame.once("faces", lambda: self.found(frame.index))


def face(left: int, top: int = 80, side: int = 60) -> Face:
    return Face(0.9, left, top, side, side, np.zeros((6, 2)))


def talkers(
    *seeds: int, switch_at_s: float = 1e9, room_after: int = 140, flash_s: tuple[float, float] = (9e9, 9e9)
) -> Callable[[float], Pixels]:
    """A room 224 x 168 with a head at 30 and one at 130; after the switch perhaps another room, with other heads."""

    def draw(time_s: float) -> Pixels:
        shown = seeds[:2] if time_s < switch_at_s else seeds[2:]
        picture = np.full((168, 224), 40 if time_s < switch_at_s else room_after, np.uint8)
        for seed, left in zip(shown, (30, 130), strict=False):
            blocks = np.random.default_rng(seed).integers(60, 220, (6, 6), dtype=np.uint8)
            picture[52:112, left : left + 60] = np.kron(blocks, np.ones((10, 10), np.uint8))
        lit = 80 if flash_s[0] <= time_s < flash_s[1] else 0
        return np.repeat(np.clip(picture[..., None].astype(int) + lit, 0, 255).astype(np.uint8), 3, axis=2)

    return draw


def tracks(content: bytes, found: Callable[[int], list[Face]], **params: Any) -> list[dict[str, Any]]:
    clip = Clip(content)
    clip.show_to("told", Told(found))
    (extractor,) = base.register(clip, [FaceTracks(Params(**params))], streams=("video",))
    columns = extractor.measure(clip)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def spans(rows: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """First and last frame, and number of faces."""
    return [(round(row["start_s"] * 25), round(row["end_s"] * 25), row["faces"]) for row in rows]


def test_two_faces_are_two_tracks_in_shares_of_the_frame():
    content = make_clip(talkers(1, 2), seconds=1.0)
    rows = tracks(content, lambda index: [face(130), face(30)] if index % 2 else [face(30), face(130)])
    assert [row["track_id"] for row in rows] == ["face_0001", "face_0002"]
    assert spans(rows) == [(0, 24, 25)] * 2
    for row, left in zip(rows, (30, 130), strict=True):
        assert row["x1"] == pytest.approx([left / 224] * 25) and row["x2"] == pytest.approx([(left + 60) / 224] * 25)
        assert row["y1"] == pytest.approx([52 / 168] * 25) and row["y2"] == pytest.approx([112 / 168] * 25)
        assert row["source"] == "detector" and set(row["label"]) == set(row["problem"]) == {None}
        shown = talkers(1, 2)(0.0)[52:112, left : left + 60, 0]
        crops = unpacked(row["crops"], row["crop_bytes"])
        assert all(np.corrcoef(crop[::2, ::2].ravel(), _large(shown)[::2, ::2].ravel())[0, 1] > 0.9 for crop in crops)


def _large(picture: Pixels) -> Pixels:
    at = np.arange(112) * picture.shape[0] // 112
    return picture[np.ix_(at, at)]


def test_short_gaps_are_bridged_on_a_line_and_long_ones_end_a_track():
    missing = {5, 6, 7, 8, *range(15, 20)}  # 0.2 s from one to the next, then 0.24 s
    rows = tracks(
        make_clip(talkers(1), seconds=1.0), lambda index: [] if index in missing else [face(30 + 2 * (index > 6))]
    )
    assert spans(rows) == [(0, 14, 15), (20, 24, 5)]
    left = np.array(rows[0]["x1"]) * 224
    assert left[4:10] == pytest.approx([30, 30.4, 30.8, 31.2, 31.6, 32], abs=1e-4)
    assert min(rows[0]["crop_bytes"]) > 0


def test_a_face_that_jumps_away_is_another_track_and_one_seen_once_is_none():
    rows = tracks(
        make_clip(talkers(1, 2), seconds=0.8),
        lambda index: [face(30 if index < 10 else 130)] + ([face(80, 20, 30)] if index == 4 else []),
    )
    assert spans(rows) == [(0, 9, 10), (10, 19, 10)]


def test_a_moving_face_is_followed():
    rows = tracks(make_clip(talkers(1), seconds=0.8), lambda index: [face(30 + index)])
    assert spans(rows) == [(0, 19, 20)]


@pytest.mark.parametrize(("after", "room"), [((3, 4), 140), ((1, 2), 140), ((3, 4), 40)])
def test_a_cut_to_another_room_or_to_others_ends_tracks_though_faces_are_at_the_same_place(after, room):
    content = make_clip(talkers(1, 2, *after, switch_at_s=0.4, room_after=room), seconds=0.8)
    rows = tracks(content, lambda index: [face(30), face(130)])
    assert sorted(spans(rows)) == [(0, 9, 10)] * 2 + [(10, 19, 10)] * 2


def test_a_flash_ends_no_track():
    content = make_clip(talkers(1, flash_s=(0.4, 0.52)), seconds=0.8)
    rows = tracks(content, lambda index: [face(30)])
    assert (0, 19, 20) in spans(rows)


def test_every_stride_th_frame_is_searched_and_the_others_lie_between():
    looked_for = []

    def found(index: int) -> list[Face]:
        looked_for.append(index)
        return [face(30 + index // 5)]

    class Asked(Told):
        def see(self, frame: Frame) -> None:
            plain = frame.once
            frame.once = lambda name, compute: plain(name, lambda: found(frame.index))  # type: ignore[method-assign]

    clip = Clip(make_clip(talkers(1), seconds=0.84))
    clip.show_to("told", Asked(found))
    (extractor,) = base.register(clip, [FaceTracks(Params(stride=5))], streams=("video",))
    columns = extractor.measure(clip)
    assert looked_for == [0, 5, 10, 15, 20]
    assert columns["faces"].tolist() == [21]
    assert np.array(columns["x1"][0]) * 224 == pytest.approx(30 + np.arange(21) / 5)


def test_a_large_frame_waits_small_and_gives_the_same_picture():
    small, large = (make_clip(_scaled(talkers(1), by), seconds=0.2) for by in (1, 8))
    one, other = (tracks(content, lambda index: [face(30)])[0] for content in (small, large))
    assert (other["width_px"], other["height_px"]) == (1792, 1344)
    pictures = [unpacked(row["crops"], row["crop_bytes"]).astype(float) for row in (one, other)]
    assert np.corrcoef(pictures[0].ravel(), pictures[1].ravel())[0, 1] > 0.95


def _scaled(draw: Callable[[float], Pixels], by: int) -> Callable[[float], Pixels]:
    return lambda time_s: draw(time_s).repeat(by, 0).repeat(by, 1)


def test_a_video_without_a_face_has_no_tracks():
    assert tracks(make_clip(talkers(), seconds=0.2), lambda index: []) == []


def test_overlap_of_boxes():
    one = np.array([0.0, 0.0, 0.2, 0.2])
    assert overlap(one, one) == 1
    assert overlap(one, one + np.array([0.1, 0, 0.1, 0])) == pytest.approx(1 / 3)
    assert overlap(one, one + 0.5) == 0


def test_without_the_model_file_the_error_says_the_next_step(tmp_path):
    with Sandbox(Settings(models=tmp_path)) as sandbox:
        found = sandbox.measure(make_clip(talkers(1), seconds=0.2), {"face_tracks": {}, "media": {}})
    error = found["face_tracks"].error
    assert error.error_class == "no_face_detector" and not found["media"].error
    assert str(tmp_path / MODEL) in str(error) and "avlake models pull" in str(error)


@pytest.mark.train
@pytest.mark.skipif(not (DROP.exists() and (MODELS / MODEL).is_file()), reason="no shared/data or no model beside it")
def test_the_faces_of_real_scenes_are_found_where_they_were_annotated():
    (table,) = DROP.glob("*.csv")
    told: dict[str, dict[float, list[np.ndarray]]] = {}
    for video, time, *edges, _, _ in csv.reader(table.read_text().splitlines()):
        told.setdefault(video, {}).setdefault(round(float(time), 2), []).append(np.array(edges, float))
    found_near, sizes = [], []
    with Sandbox(Settings(models=MODELS)) as sandbox:
        for video in sorted(told)[:6]:
            batch = sandbox.measure(DROP / f"videos/{video}.mp4", {"face_tracks": {}})["face_tracks"].batch
            assert batch is not None
            seen: dict[float, list[np.ndarray]] = {}
            for row in batch.to_pylist():
                for time_s, *edges in zip(*(row[k] for k in ("frame_timestamp", "x1", "y1", "x2", "y2")), strict=True):
                    seen.setdefault(round(time_s, 2), []).append(np.array(edges))
            for time_s, boxes in told[video].items():
                for box in boxes:
                    best = max(seen.get(time_s, []), key=lambda other: overlap(box, other), default=box + 9)
                    found_near.append(overlap(box, best))
                    sizes.append((best[2] - best[0]) / (box[2] - box[0]))
    assert np.mean(np.array(found_near) > 0.5) > 0.98
    assert np.mean(found_near) > 0.8
    assert 0.88 < np.median(sizes) < 1.05  # measured 0.93: the detector sees a smaller picture than the annotators' did
