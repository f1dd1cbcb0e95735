"""Small drops of AVA: drawn films in which two mouths move and one of them is heard, and their annotations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clips import Pixels, make_clip

DROP = "2026-09-01"
CSV = "ava_activespeaker_train_v1.0.csv"
WIDTH, HEIGHT, RATE_HZ, SAMPLE_RATE = 192, 96, 25, 16_000
FACES = ((0.06, 0.1, 0.44, 0.9), (0.56, 0.1, 0.94, 0.9))  # x1, y1, x2, y2
SPOKEN, MOUTHED, STILL = "SPEAKING_AUDIBLE", "SPEAKING_NOT_AUDIBLE", "NOT_SPEAKING"


@dataclass(frozen=True)
class Film:
    """Two faces side by side, both of which move their lips, each to a rhythm of its own; `heard` is 0, 1 or None."""

    video_id: str
    heard: int | None = 0
    seconds: float = 0.6
    first_s: float = 0.0  # of the first annotated frame; the film begins at 0 all the same

    @property
    def times_s(self) -> list[float]:
        return [k / RATE_HZ for k in range(round(self.first_s * RATE_HZ), round(self.seconds * RATE_HZ))]

    def opening(self, face: int, time_s: float | np.ndarray) -> np.ndarray:
        """How far a mouth is open, 0 to 1."""
        seed = sum(map(ord, self.video_id))
        rate_hz = 2.0 + (seed + 3 * face) % 5 / 2
        return 0.5 - 0.5 * np.cos(2 * np.pi * (rate_hz * np.asarray(time_s) + face / 3 + seed / 7))

    def video(self, **options: object) -> bytes:
        """The film; `options` are those of `make_clip`."""
        t = np.arange(round(self.seconds * SAMPLE_RATE)) / SAMPLE_RATE
        loud = np.zeros_like(t) if self.heard is None else self.opening(self.heard, t)
        buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12))
        sound = 0.2 * loud * buzz if self.heard is not None else None
        return make_clip(self._draw, sound, seconds=self.seconds, rate_hz=RATE_HZ, **options)

    def rows(self) -> list[str]:
        """The annotation, in the columns and the order that the data set has, without ends of lines."""
        return [
            f"{self.video_id},{time_s:.2f},{','.join(map(str, box))},{self.label(face)},{self.track(face)}"
            for face, box in enumerate(FACES)
            for time_s in self.times_s
        ]

    def track(self, face: int) -> str:
        """The entity_id."""
        return f"{self.video_id}_0000_0060:{face}"

    def label(self, face: int) -> str:
        return SPOKEN if face == self.heard else MOUTHED

    def _draw(self, time_s: float) -> Pixels:
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        picture = np.full((HEIGHT, WIDTH, 3), 70, np.uint8)
        for face, (x1, y1, x2, y2) in enumerate(FACES):
            cx, cy = (x1 + x2) / 2 * WIDTH, (y1 + y2) / 2 * HEIGHT
            rx, ry = (x2 - x1) / 2 * WIDTH, (y2 - y1) / 2 * HEIGHT
            skin = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
            picture[skin] = (214, 168, 140)
            for side in (-1, 1):
                eye = ((x - cx - side * 0.4 * rx) / (0.15 * rx)) ** 2 + ((y - cy + 0.3 * ry) / (0.1 * ry)) ** 2 < 1
                picture[eye] = 30
            gap = 0.04 + 0.2 * float(self.opening(face, time_s))
            mouth = ((x - cx) / (0.4 * rx)) ** 2 + ((y - cy - 0.5 * ry) / (gap * ry)) ** 2 < 1
            picture[mouth] = (90, 20, 30)
        return picture


def deliver(landing: Path, *films: Film, drop: str = DROP, videos: str = "videos/{}.mp4") -> Path:
    """Write the films and one CSV for all of them; returns the drop's folder."""
    folder = landing / "ava" / drop
    for film in films:
        file = folder / videos.format(film.video_id)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(film.video())
    annotate(folder / CSV, [row for film in films for row in film.rows()])
    return folder


def annotate(file: Path, rows: Iterable[str]) -> None:
    """Write a CSV of annotations."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{row}\n" for row in rows))
