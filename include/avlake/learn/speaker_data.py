"""Tracks of faces, and the scenes they share: what the network learns from and judges; `speaker_cache` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avlake.extractors.face_tracks import COEFFICIENTS, MELS, STEPS
from avlake.learn.speaker_net import SIDE

Array = np.ndarray[Any, Any]

SCENE_S = 10.0  # the longest stretch that is looked at as one
GAP_S = 0.5  # without a face: what comes after is another scene
LABELS = ("NOT_SPEAKING", "SPEAKING_NOT_AUDIBLE", "SPEAKING_AUDIBLE")
AUDIBLE = LABELS.index("SPEAKING_AUDIBLE")
SAME_TIME_S = 0.005  # times of two tracks closer than this are of one picture


@dataclass(frozen=True)
class Pixels:
    """What was measured of n faces: rows of arrays in memory, or of files mapped into it."""

    seen: Array  # (n,) bool: is there a picture?
    looks: Array  # (n, SIDE, SIDE) uint8, what the network looks at
    sound: Array  # (n, STEPS, MELS + COEFFICIENTS) float16: log-mel energies (ln), then MFCCs


@dataclass(frozen=True)
class Track:
    """One face through time: n faces in the order of their times."""

    file_id: str
    video_id: str  # its file's name without the ending: copies of a video share it
    drop: str  # dataset/drop_date
    split: str  # train | validation | test
    track_id: str
    talker: str | None  # who it shows, where people said so
    scene: int  # tracks of one video that overlap in time have the same
    times: Array  # (n,) float64, s
    boxes: Array  # (n, 4) float32: x1, y1, x2, y2 as shares of the frame
    labels: Array  # (n,) int8: places in LABELS, -1 where nobody said
    kept: Array  # (n,) bool: counts in the evaluation
    trains: Array  # (n,) bool: counts in training, too
    face_px: Array  # (n,) float32, width of the box in the video
    faces_on_screen: Array  # (n,) int32
    rows: Array = field(repr=False)  # (n,) where its faces are in `pixels`
    pixels: Pixels = field(repr=False)

    @property
    def group(self) -> tuple[str, int]:
        """The scene it is in, among all videos."""
        return self.file_id, self.scene

    @property
    def audible(self) -> Array:
        """(n,) int8: 1 speaks and is heard, 0 does not, -1 nobody said."""
        return np.where(self.labels < 0, -1, self.labels == AUDIBLE).astype(np.int8)

    @property
    def seen(self) -> Array:
        """(n,) bool: is there a picture?"""
        return self.pixels.seen[self.rows]

    def looks(self) -> Array:
        """(n, SIDE, SIDE) uint8: what the network looks at."""
        return self.pixels.looks[self.rows]

    @property
    def log_mel(self) -> Array:
        """(n, 4, 40) float32: ln of mel energies of four frames of sound, 10 ms apart, around each face's time."""
        return self.pixels.sound[self.rows, :, :MELS].astype(np.float32)

    @property
    def mfcc(self) -> Array:
        """(n, 4, 13) float32, of the same frames."""
        return self.pixels.sound[self.rows, :, MELS:].astype(np.float32)

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class Scene:
    """K tracks on a common grid of T times."""

    tracks: tuple[Track, ...]
    times: Array  # (T,) float64, s
    at: Array  # (K, T) int64: which face of the track is there, -1 for none

    @property
    def video_id(self) -> str:
        return self.tracks[0].video_id

    @property
    def split(self) -> str:
        return self.tracks[0].split

    @property
    def talkers(self) -> frozenset[str] | None:
        """Everybody it shows; None where somebody is not named."""
        names = [track.talker for track in self.tracks]
        return frozenset(name for name in names if name) if all(names) else None

    def of_faces(self, name: str, default: Any) -> Array:
        """(K, T) of a value per face, `default` where there is no face."""
        values = [getattr(track, name) for track in self.tracks]
        found = np.full(self.at.shape, default, dtype=values[0].dtype)
        for k, value in enumerate(values):
            here = self.at[k] >= 0
            found[k, here] = value[self.at[k, here]]
        return found

    def learns(self) -> Array:
        """(K, T) bool: is the face's label one to learn from?"""
        return self.of_faces("kept", False) & self.of_faces("trains", False) & (self.of_faces("labels", -1) >= 0)

    def looks(self) -> Array:
        """(K, T, SIDE, SIDE) uint8, black where there is no face."""
        found = np.zeros((*self.at.shape, SIDE, SIDE), dtype=np.uint8)
        for k, track in enumerate(self.tracks):
            here = self.at[k] >= 0
            found[k, here] = track.pixels.looks[track.rows[self.at[k, here]]]
        return found

    def sound(self) -> Array:
        """(T, STEPS, MELS + COEFFICIENTS) float32: that of the first face with a picture at each time."""
        first = self.of_faces("seen", False).argmax(axis=0)
        found = np.empty((len(self.times), STEPS, MELS + COEFFICIENTS), dtype=np.float32)
        for t, k in enumerate(first):
            track = self.tracks[k]
            found[t] = track.pixels.sound[track.rows[self.at[k, t]]]
        return found


def scenes_of(tracks: Sequence[Track]) -> list[Scene]:
    """Scenes of at most `SCENE_S`, in the order of videos and times; times without any picture are left out."""
    together: dict[tuple[str, int], list[Track]] = {}
    for track in tracks:
        together.setdefault(track.group, []).append(track)
    return [scene for key in sorted(together) for scene in _cut(together[key])]


def _cut(tracks: list[Track]) -> Iterator[Scene]:
    own = [track.times[track.seen] for track in tracks]
    every = np.unique(np.concatenate(own))
    if not len(every):
        return
    grid = every[np.r_[True, np.diff(every) > SAME_TIME_S]]
    place = [np.searchsorted(grid, times + SAME_TIME_S, side="right") - 1 for times in own]
    at: Array = np.full((len(tracks), len(grid)), -1, dtype=np.int64)
    for k, track in enumerate(tracks):
        at[k, place[k]] = np.flatnonzero(track.seen)
    for stretch in np.split(np.arange(len(grid)), np.flatnonzero(np.diff(grid) > GAP_S) + 1):
        pieces = int((grid[stretch[-1]] - grid[stretch[0]]) // SCENE_S) + 1
        for piece in np.array_split(stretch, pieces):
            there: Array = np.any(at[:, piece] >= 0, axis=1)
            chosen = tuple(track for track, here in zip(tracks, there, strict=True) if here)
            yield Scene(chosen, grid[piece], at[np.ix_(there, piece)])
