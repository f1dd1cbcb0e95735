from __future__ import annotations

import csv
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avlake.errors import RequestError
from avlake.extractors import base
from avlake.extractors.faces import MODEL, Face
from avlake.extractors.video_quality import PictureViewer, VideoQuality, laplacian_variance, overlap
from avlake.media.clip import Clip
from avlake.media.sandbox import Sandbox
from avlake.media.video import SIDE_PX, Frame
from avlake.settings import Settings
from clips import Pixels, make_clip, moving_bar, noise_pictures

SHARED = Path(__file__).parents[2].parent / "shared"
LANDING, TRUTH, MODELS = SHARED / "data/landing/voxceleb", SHARED / "data/truth/voxceleb.csv", SHARED / "models"
needs_model = pytest.mark.skipif(not (MODELS / MODEL).is_file(), reason=f"no {MODEL} beside the checkout")
needs_recordings = pytest.mark.skipif(not (LANDING.exists() and TRUTH.exists()), reason="no shared/data")


class Told:
    """Says which faces a frame has, before anyone looks for them; keeps where the picture lies and what it shows."""

    def __init__(self, found: Callable[[int], list[Face]]) -> None:
        self.found = found
        self.box_px = (0, 0, 0, 0)
        self.pictures: list[Pixels] = []

    def see(self, frame: Frame) -> None:
        self.box_px = frame.box_px
        self.pictures.append(frame.gray)
        frame.once("faces", lambda: self.found(frame.index))


def face(left: int, top: int, side: int, confidence: float = 0.9) -> Face:
    return Face(confidence, left, top, side, side, np.zeros((6, 2)))


def no_faces(index: int) -> list[Face]:
    return []


def look(
    content: bytes, found: Callable[[int], list[Face]] = no_faces, **params: Any
) -> tuple[dict[str, float | None], Told]:
    clip, told = Clip(content), Told(found)
    clip.show_to("told", told)
    extractor = VideoQuality(VideoQuality.Params(**params))
    base.register(clip, [extractor], streams=("video",))
    return {name: values[0] for name, values in extractor.measure(clip).items()}, told


def measure(content: bytes, found: Callable[[int], list[Face]] = no_faces, **params: Any) -> dict[str, float | None]:
    return look(content, found, **params)[0]


def scene(seed: int, height: int = 120, width: int = 160) -> Pixels:
    """A smooth picture with some detail, unlike that of another seed."""
    rng = np.random.default_rng(seed)
    rough = np.kron(rng.integers(20, 236, (6, 8, 3)), np.ones((height // 6, width // 8, 1)))
    return np.clip(rough + rng.normal(0, 6, rough.shape), 0, 255).astype(np.uint8)


def shots(*lengths_s: float) -> Callable[[float], Pixels]:
    """One scene after the other."""
    ends = np.cumsum(lengths_s)
    pictures = [scene(seed) for seed in range(len(lengths_s))]
    return lambda time_s: pictures[min(int(np.searchsorted(ends, time_s, side="right")), len(pictures) - 1)]


def talker(time_s: float, *, swing_px: float = 2.0, mouth_px: float = 3.0, noise: float = 2.0) -> Pixels:
    """A head before a room, swaying, with a mouth that opens and closes, and the noise of a camera."""
    picture = scene(7).astype(float)
    y, x = np.mgrid[:120, :160]
    left = 80 + swing_px * np.sin(2 * np.pi * time_s / 1.7)
    picture[((x - left) / 28) ** 2 + ((y - 62) / 40) ** 2 < 1] = (205, 160, 140)
    opened = mouth_px * (1 + np.sin(2 * np.pi * 3 * time_s)) + 1
    picture[((x - left) / 9) ** 2 + ((y - 84) / opened) ** 2 < 1] = (90, 20, 30)
    camera = np.random.default_rng(round(time_s * 1000)).normal(0, noise, picture.shape)
    return np.clip(picture + camera, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(320, 120), (120, 320), (160, 160)])
def test_light_is_the_pictures_not_the_black_bars(width, height):
    half = np.full((height, width, 3), 200, np.uint8)
    half[: height // 2] = 100
    row = measure(make_clip(lambda t: half, seconds=0.4))
    assert row["brightness"] == pytest.approx(150, abs=3)
    assert row["contrast"] == pytest.approx(50, abs=3)


def test_nothing_to_say_of_faces_where_there_are_none():
    row = measure(make_clip(moving_bar(), seconds=1))
    assert {row[name] for name in ("face_presence_ratio", "avg_faces", "max_faces")} == {0}
    missing = {name for name, value in row.items() if value is None}
    assert missing == {"avg_blur_score", "min_blur_score", "face_size_ratio", "face_confidence", "face_stability"}


def test_stride_measures_every_nth_frame_only():
    looked_for = []

    def found(index: int) -> list[Face]:
        return [face(80, 80, 40)]

    class Asked(Told):
        def see(self, frame: Frame) -> None:
            plain = frame.once
            frame.once = lambda name, compute: looked_for.append(frame.index) or plain(name, compute)  # type: ignore[method-assign]
            plain("faces", lambda: found(frame.index))

    content = make_clip(moving_bar(), seconds=1)
    for stride, measured in ((1, 25), (2, 13), (7, 4), (25, 1), (100, 1)):
        looked_for.clear()
        clip, extractor = Clip(content), VideoQuality(VideoQuality.Params(stride=stride))
        clip.show_to("asked", Asked(found))
        base.register(clip, [extractor], streams=("video",))
        row = extractor.measure(clip)
        assert (row["frames_measured"][0], row["frames"][0]) == (measured, 25)
        assert looked_for == list(range(0, 25, stride))
    assert row["frozen_ratio"][0] is None and row["face_stability"][0] is None  # one frame has none before it


def test_stride_is_a_part_of_the_identity_and_at_least_1():
    assert VideoQuality(VideoQuality.Params(stride=2)).params_hash != VideoQuality().params_hash
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        VideoQuality.Params(stride=0)


def test_face_measures_are_of_the_largest_face():
    def found(index: int) -> list[Face]:
        faces = [face(60, 80, 60, 0.9), face(150, 80, 30, 0.6)]
        return {0: faces, 1: faces[1:], 2: []}[index % 3]

    row, told = look(make_clip(noise_pictures(1), seconds=0.36), found)
    left, top, width, height = told.box_px
    assert (left, top, width, height) == (0, 28, 224, 168)
    assert row["face_presence_ratio"] == pytest.approx(6 / 9)
    assert row["avg_faces"] == pytest.approx(1) and row["max_faces"] == 2
    assert row["face_confidence"] == pytest.approx(0.75)
    assert row["face_size_ratio"] == pytest.approx((60 * 60 + 30 * 30) / 2 / (width * height))
    boxes = [
        gray[80:140, 60:120] if i % 3 == 0 else gray[80:110, 150:180]
        for i, gray in enumerate(told.pictures)
        if i % 3 < 2
    ]
    scores = [laplacian_variance(box) for box in boxes]
    assert row["avg_blur_score"] == pytest.approx(np.mean(scores))
    assert row["min_blur_score"] == min(scores)
    assert row["face_stability"] == pytest.approx(1)  # the smaller face stood where the largest one is next


def test_the_edge_of_a_bar_is_not_sharpness():
    plain = np.full((300, 100, 3), 180, np.uint8)  # 75 px wide in the square, with bars of 74 and 75 px
    row = measure(make_clip(lambda t: plain, seconds=0.2), lambda index: [face(40, 60, 80)])
    assert row["avg_blur_score"] == pytest.approx(0, abs=0.1)
    assert row["face_size_ratio"] == pytest.approx(46 * 80 / (75 * 224), rel=0.03)


def test_laplacian_variance_is_its_formula():
    gray = np.random.default_rng(3).integers(0, 256, (31, 17), dtype=np.uint8)
    wide = np.pad(gray.astype(float), 1, mode="reflect")
    edges = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1]
    assert laplacian_variance(gray) == pytest.approx(edges.var())
    assert laplacian_variance(np.full((1, 1), 9, np.uint8)) == 0


def test_overlap_of_boxes():
    assert overlap(face(0, 0, 10), face(0, 0, 10)) == 1
    assert overlap(face(0, 0, 10), face(5, 0, 10)) == pytest.approx(1 / 3)
    assert overlap(face(0, 0, 10), face(20, 20, 10)) == 0


def test_face_stability_falls_with_movement():
    content = make_clip(moving_bar(), seconds=0.4)
    row = measure(content, lambda index: [face(40 + 10 * index, 60, 40)])
    assert row["face_stability"] == pytest.approx(30 / 50)
    assert measure(content, lambda index: [face(40 * (index % 2), 60, 40)])["face_stability"] == 0


CODINGS = {
    "x264": {},
    "x264, coarse": {"crf": 35},
    "ffv1": {"codec": "ffv1", "container": "mkv"},
}


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
def test_a_still_is_frozen_however_it_is_coded(coding):
    still = talker(0.3)
    for stride in (1, 5):
        assert measure(make_clip(lambda t: still, seconds=3, **coding), stride=stride)["frozen_ratio"] > 0.95


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
def test_a_talker_who_sits_still_is_not_frozen(coding):
    content = make_clip(lambda t: talker(t, swing_px=0.3, mouth_px=1.0), seconds=3, **coding)
    assert measure(content)["frozen_ratio"] < 0.1


def test_frames_shown_twice_are_frozen():
    def draw(time_s: float) -> Pixels:
        return talker(round(time_s * 25) // 2 * 0.08, noise=0)  # 12.5 pictures a second, shown 25 times

    assert measure(make_clip(draw, seconds=2, crf=12))["frozen_ratio"] == pytest.approx(0.5, abs=0.03)


def test_a_half_frozen_clip():
    content = make_clip(lambda t: talker(min(t, 2.0), swing_px=8), seconds=4)
    assert measure(content)["frozen_ratio"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("stride", [1, 3, 5])
def test_hard_cuts_are_counted(stride):
    content = make_clip(shots(1.0, 0.8, 1.2, 0.7), seconds=3.7)
    assert measure(content, stride=stride)["scene_cuts"] == 3


def test_cuts_of_a_montage():
    assert measure(make_clip(noise_pictures(5, every_s=0.5), seconds=4))["scene_cuts"] == 7


@pytest.mark.parametrize("frames", [1, 3, 6])
def test_a_flash_is_no_cut(frames):
    def draw(time_s: float) -> Pixels:
        picture = talker(time_s)
        lit = 1.0 <= time_s < 1.0 + (frames - 0.5) / 25
        return np.clip(picture.astype(int) + 110, 0, 255).astype(np.uint8) if lit else picture

    for stride in (1, 5):
        assert measure(make_clip(draw, seconds=2.4), stride=stride)["scene_cuts"] == 0


def test_a_flash_at_a_cut_is_one_cut():
    plain = shots(1.0, 1.0)

    def draw(time_s: float) -> Pixels:
        return np.full((120, 160, 3), 255, np.uint8) if 1.0 <= time_s < 1.06 else plain(time_s)

    assert measure(make_clip(draw, seconds=2))["scene_cuts"] == 1


def test_movement_is_no_cut():
    assert measure(make_clip(lambda t: talker(t, swing_px=40), seconds=3))["scene_cuts"] == 0
    assert measure(make_clip(moving_bar(), seconds=3))["scene_cuts"] == 0


def test_a_fade_is_no_cut():
    dark, light = scene(1) * 0.1, scene(1)
    assert measure(make_clip(lambda t: (dark + (light - dark) * t / 2).astype(np.uint8), seconds=2))["scene_cuts"] == 0


class Synthetic:
    """As much of a frame as a viewer looks at, of a picture drawn here."""

    def __init__(self, index: int, found: list[Face]) -> None:
        self.index, self.time_s, self.box_px = index, index / 25, (0, 28, SIDE_PX, 168)
        self.letterboxed = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
        self.letterboxed[28:196] = np.roll(np.arange(168 * SIDE_PX * 3, dtype=np.int64) // 97 % 251, index * 6).reshape(
            168, SIDE_PX, 3
        )
        self.gray = self.letterboxed[..., 1]
        self.found = found

    def once(self, name: str, compute: Callable[[], list[Face]]) -> list[Face]:
        return self.found


def test_memory_does_not_grow_with_the_clip():
    viewer, found = PictureViewer(stride=1), [face(60, 60, 90)]
    for index in range(1_000):
        viewer.see(Synthetic(index, found))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(1_000, 3_000):
        viewer.see(Synthetic(index, found))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4_096  # KiB; a kept gray frame is 49
    assert viewer.row()["frames_measured"] == 3_000


@needs_model
def test_one_clip_has_one_row_and_the_same_in_every_run():
    content = make_clip(lambda t: talker(t, swing_px=10), seconds=1)
    rows = []
    for _ in range(2):
        with Sandbox(Settings(models=MODELS)) as sandbox:
            found = sandbox.measure(content, {"video_quality": {"stride": 2}})["video_quality"]
        assert found.error is None and found.batch is not None
        rows.append(found.batch.to_pylist())
    assert rows[0] == rows[1]
    assert rows[0][0]["frames_measured"] == 13
    assert len(rows[0]) == 1


def test_without_the_model_file_the_error_says_the_next_step(tmp_path):
    with Sandbox(Settings(models=tmp_path)) as sandbox, pytest.raises(RequestError) as caught:
        sandbox.measure(make_clip(moving_bar(), seconds=0.2), {"video_quality": {}})
    assert str(tmp_path / MODEL) in str(caught.value) and "avlake models pull" in str(caught.value)


# The small ones of every kind; tests/stages/test_talking_heads.py measures all of them.
SHOWN = (
    *("id00003/f39e97fc27d/00000.mpg", "id00009/0a67b15f76f/00000.mp4", "id00011/3d3f8589174/00000.mp4"),
    *("id00014/aae7722c12f/00000.mp4", "id00015/4d5a98855a6/00000.mp4", "id00016/195cc8e69a1/00000.mp4"),
    *("id00017/9cd78bf9a20/00000.mkv", "id00020/0607d7b335f/00000.mp4", "id00024/43cf31e4c36/00000.mp4"),
)


@needs_model
@needs_recordings
def test_faces_of_real_recordings_are_the_truths():
    """Measured at every frame in the sandbox: within 0.02 of the truth, within 0.1 where a face comes and goes."""
    known = csv.DictReader(TRUTH.read_text().splitlines())
    truth = {row["path"]: float(row["face_ratio"]) for row in known if row["path"].endswith(SHOWN)}
    assert len(truth) == len(SHOWN)
    rows = {}
    with Sandbox(Settings(models=MODELS)) as sandbox:
        for path in truth:
            found = sandbox.measure(LANDING / path, {"video_quality": {}})["video_quality"]
            assert found.error is None and found.batch is not None, path
            rows[path] = found.batch.to_pylist()[0]
    off = {path: abs(rows[path]["face_presence_ratio"] - truth[path]) for path in truth}
    assert [path for path in off if off[path] > (0.1 if 0.1 < truth[path] < 0.9 else 0.02)] == []
    agree = [(rows[path]["face_presence_ratio"] >= 0.99) == (truth[path] >= 0.99) for path in truth]
    assert np.mean(agree) >= 0.95
    cuts = {path: row["scene_cuts"] for path, row in rows.items() if row["scene_cuts"]}
    assert {Path(path).parts[3]: n for path, n in cuts.items()} == {"id00009": 3, "id00016": 1}  # seen by eye
    talking = [row for path, row in rows.items() if truth[path] == 1 and Path(path).parts[3] != "id00014"]
    assert max(row["frozen_ratio"] for row in talking) < 0.1
    assert all(low["min_blur_score"] <= low["avg_blur_score"] for low in talking)
    assert min(row["face_stability"] for row in talking) > 0.8
