"""BlazeFace on real talkers: where the model file and the recordings lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avlake.extractors.faces import MIN_CONFIDENCE, MODEL, Face, faces
from avlake.media.clip import Clip
from avlake.media.video import SIDE_PX, Frame

SHARED = Path(__file__).parents[2].parent / "shared"
TALKER = SHARED / "data/landing/voxceleb/2026-09-01/dev/mp4/id00003/f39e97fc27d/00000.mpg"
TWO_MEN = SHARED / "data/landing/voxceleb/2026-09-01/dev/mp4/id00023/cb6847632d7/00000.mp4"
pytestmark = [
    pytest.mark.skipif(not (SHARED / "models" / MODEL).is_file(), reason=f"no {MODEL} beside the checkout"),
    pytest.mark.skipif(not TALKER.exists(), reason="no shared/data beside the checkout"),
]


class Picture:
    """A frame already letterboxed, as a viewer sees it."""

    def __init__(self, letterboxed: np.ndarray) -> None:
        self.letterboxed = np.ascontiguousarray(letterboxed)

    def once(self, name, compute):
        return compute()


class Looker:
    """Looks at the first frames, twice each."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.found: list[list[Face]] = []
        self.pictures: list[np.ndarray] = []
        self.shared = True

    def see(self, frame: Frame) -> None:
        if frame.index < self.frames:
            self.found.append(faces(frame))
            self.shared &= faces(frame) is self.found[-1]
            self.pictures.append(frame.letterboxed)


def look(path: Path, frames: int, monkeypatch: pytest.MonkeyPatch) -> Looker:
    monkeypatch.setenv("AVLAKE_MODELS", str(SHARED / "models"))
    clip, looker = Clip(path), Looker(frames)
    clip.show_to("looker", looker)
    return clip.seen("looker")


def test_a_talkers_face_and_its_points(monkeypatch):
    looker = look(TALKER, 5, monkeypatch)
    assert looker.shared  # detected once per frame, whoever asks
    for (face,) in looker.found:
        assert MIN_CONFIDENCE <= face.confidence <= 1
        assert min(face.left, face.top) >= 0
        assert max(face.left + face.width, face.top + face.height) <= SIDE_PX
        right_eye, left_eye, nose, mouth, right_ear, left_ear = face.points
        assert right_ear[0] < right_eye[0] < nose[0] < left_eye[0] < left_ear[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1]
        inside = (face.points >= (face.left, face.top)) & (
            face.points <= (face.left + face.width, face.top + face.height)
        )
        assert inside[:4].all()


def test_a_mirrored_face_is_where_the_mirror_puts_it(monkeypatch):
    looker = look(TALKER, 1, monkeypatch)
    (face,), (mirrored,) = looker.found[0], faces(Picture(looker.pictures[0][:, ::-1]))
    assert mirrored.left + mirrored.width == pytest.approx(SIDE_PX - face.left, abs=6)
    assert mirrored.top == pytest.approx(face.top, abs=6)


def test_a_face_cut_by_the_edge_stays_inside_the_frame(monkeypatch):
    looker = look(TALKER, 1, monkeypatch)
    (face,) = looker.found[0]
    shift = face.left + face.width // 4
    cut = np.zeros_like(looker.pictures[0])
    cut[:, : SIDE_PX - shift] = looker.pictures[0][:, shift:]
    for found in faces(Picture(cut)):
        assert found.left >= 0 and found.width > 0


def test_the_largest_face_comes_first(monkeypatch):
    looker = look(TWO_MEN, 20, monkeypatch)
    assert max(map(len, looker.found)) >= 2
    for found in looker.found:
        areas = [face.width * face.height for face in found]
        assert areas == sorted(areas, reverse=True)


def test_no_face_in_noise(monkeypatch):
    monkeypatch.setenv("AVLAKE_MODELS", str(SHARED / "models"))
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    assert faces(Picture(noise)) == []
    assert faces(Picture(np.zeros_like(noise))) == []
