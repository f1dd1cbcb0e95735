"""The video with boxes drawn in is the same video: its pictures when they were, its sound, and what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import filmed
import numpy as np
import pyarrow as pa
import pytest

from avlake.errors import WorkError
from avlake.stages.overlay import GREEN, RED, overlay
from clips import make_clip, moving_bar

Pictures = list[tuple[float, np.ndarray[Any, Any]]]


def faces(*rows: tuple[str, float, tuple[float, float, float, float], float, str | None]) -> pa.Table:
    edges = {name: [box[i] for _, _, box, _, _ in rows] for i, name in enumerate(("x1", "y1", "x2", "y2"))}
    return pa.table(
        {
            "track_id": [row[0] for row in rows],
            "frame_timestamp": [row[1] for row in rows],
            **edges,
            "score": [row[3] for row in rows],
            "label": pa.array([row[4] for row in rows], pa.string()),
        }
    )


def drawn(folder: Path, video: bytes, found: pa.Table) -> Path:
    (folder / "film.mp4").write_bytes(video)
    overlay(folder / "film.mp4", found, folder / "made" / "film.mp4")
    assert [path.name for path in (folder / "made").iterdir()] == ["film.mp4"]  # nothing half done is left
    return folder / "made" / "film.mp4"


def watched(path: Path) -> Pictures:
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def heard(path: Path) -> tuple[np.ndarray[Any, Any], int]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)]), stream.rate


def edge_colour(picture: np.ndarray[Any, Any], box: tuple[float, float, float, float]) -> str | None:
    """Green or red, where the middle of a box's left edge is drawn."""
    height, width = picture.shape[:2]
    x, y = round(box[0] * width), round((box[1] + box[3]) / 2 * height)
    pixel = picture[y, x - 1 : x + 2].astype(int).mean(axis=0)
    near = {name: np.abs(pixel - colour).max() for name, colour in (("green", GREEN), ("red", RED))}
    name = min(near, key=near.__getitem__)
    return name if near[name] < 70 else None


def test_each_face_is_green_while_it_speaks_and_red_while_not(tmp_path: Path) -> None:
    rows = filmed.annotated("a")
    said = [(row[7], row[1], row[2:6], 0.9 if row[6] == "SPEAKING_AUDIBLE" else 0.1, row[6]) for row in rows]
    pictures = watched(drawn(tmp_path, filmed.film("a"), faces(*said)))
    assert len(pictures) == round(filmed.SECONDS * filmed.RATE_HZ)
    for i, (time_s, picture) in enumerate(pictures):
        assert time_s == pytest.approx(i / filmed.RATE_HZ, abs=1e-3)
        assert picture.shape[1] >= 960 and picture.shape[1] == 2 * picture.shape[0]  # text can be read; the same shape
        for entity, box in (("left", filmed.LEFT), ("right", filmed.RIGHT)):
            assert edge_colour(picture, box) == ("green" if filmed.speaks("a", entity, time_s) else "red")


def test_the_sound_is_its_own_and_stays_where_it_was(tmp_path: Path) -> None:
    samples, rate = heard(drawn(tmp_path, filmed.film("b"), faces(("x", 0.0, filmed.LEFT, 0.5, None))))
    loud = np.sqrt(np.convolve(np.square(samples), np.ones(rate // 50) / (rate // 50), "same")) > 0.1
    begins = np.flatnonzero(loud)[0] / rate  # the left one speaks in the second half
    assert begins == pytest.approx(filmed.SECONDS / 2, abs=0.05)  # AAC begins with some 20 ms of its own


def test_a_box_is_seen_at_its_time_only_also_where_the_rate_changes(tmp_path: Path) -> None:
    times_s = [0.0, 0.04, 0.08, 0.5, 0.52, 0.54, 0.9]
    film = make_clip(moving_bar(320, 160), times_s=times_s)
    found = faces(*(("x", time_s, filmed.RIGHT, 0.7, None) for time_s in (0.5, 0.52, 0.54)))
    pictures = watched(drawn(tmp_path, film, found))
    assert [time_s for time_s, _ in pictures] == pytest.approx(times_s, abs=1e-3)
    assert [edge_colour(picture, filmed.RIGHT) for _, picture in pictures] == [*[None] * 3, *["green"] * 3, None]


def test_a_silent_film_and_boxes_beyond_the_edge_are_no_obstacle(tmp_path: Path) -> None:
    beyond = faces(
        ("weiß 名", 0.0, (-0.2, -0.5, 0.5, 1.7), 0.3, "NOT_SPEAKING"), ("y", 0.0, (2.0, 2.0, 3.0, 3.0), 1.0, "")
    )
    made = drawn(tmp_path, filmed.film("a", silent=True), beyond)
    with av.open(str(made)) as container:
        assert not container.streams.audio
    assert len(watched(made)) == round(filmed.SECONDS * filmed.RATE_HZ)


@pytest.mark.parametrize("data", [b"", b"no film", make_clip(None, np.zeros(16_000))])
def test_what_has_no_picture_is_said_and_leaves_no_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "film.mp4").write_bytes(data)
    with pytest.raises(WorkError, match=r"film\.mp4"):
        overlay(tmp_path / "film.mp4", faces(("x", 0.0, filmed.LEFT, 0.5, None)), tmp_path / "made.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
