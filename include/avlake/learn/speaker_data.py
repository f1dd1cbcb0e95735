"""Tracks of faces, and the scenes they share: what the network learns from and judges; `speaker_cache` reads them.

A film has a frame rate of its own, and a network that compares lips and sound at lags of so many pictures would be
another one for each. So a scene is seen and heard at moments `MOMENT_S` apart, whatever its film's rate: between two
pictures both are mixed by their distances, and so is the sound between two frames of it.
"""

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
MOMENT_S = 0.04  # between two moments of a scene
HOLD_S = 0.15  # a face is there between two of its pictures which are no further apart than this
SAME_TIME_S = 0.005  # pictures and frames of sound closer than this are the same
SOUND_STEP_S = 0.01  # between two frames of sound; those of a face have its time in their middle


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
    """K tracks at T moments, `MOMENT_S` apart."""

    tracks: tuple[Track, ...]
    faces: tuple[Array, ...]  # which faces of each track are in it: places of those with a picture, rising
    times: Array  # (T,) float64, s
    at: Array  # (K, T) int64: which face of the track is nearest, -1 where it is not there

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
        """(K, T) of a value per face, that of the nearest; `default` where there is no face."""
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
        for k, (track, faces) in enumerate(zip(self.tracks, self.faces, strict=True)):
            here = self.at[k] >= 0
            before, after, share = _between(track.times[faces], self.times[here])
            rows, pixels = track.rows[faces], track.pixels.looks
            found[k, here] = pixels[rows[np.where(share < 0.5, before, after)]]
            mixed = np.flatnonzero((share > 0) & (share < 1))
            of_after = share[mixed, None, None].astype(np.float32)
            both = pixels[rows[before[mixed]]] * (1 - of_after) + pixels[rows[after[mixed]]] * of_after
            found[k, np.flatnonzero(here)[mixed]] = np.rint(both)
        return found

    def sound(self) -> Array:
        """(T, STEPS, MELS + COEFFICIENTS) float32: what is heard around each moment, by whatever face it was kept."""
        offsets = (np.arange(STEPS) - (STEPS - 1) / 2) * SOUND_STEP_S
        times = [(track.times[f][:, None] + offsets).ravel() for track, f in zip(self.tracks, self.faces, strict=True)]
        rows = [track.rows[faces] for track, faces in zip(self.tracks, self.faces, strict=True)]
        every = np.concatenate(times)
        order = np.argsort(every, kind="stable")
        order = order[np.r_[True, np.diff(every[order]) > SAME_TIME_S]]
        frames = self.tracks[0].pixels.sound[np.concatenate(rows)].reshape(-1, MELS + COEFFICIENTS)[order]
        before, after, share = _between(every[order], (self.times[:, None] + offsets).ravel(), hold_s=np.inf, same_s=0)
        weight = share[:, None].astype(np.float32)
        found: Array = frames[before] * (1 - weight) + frames[after] * weight
        return found.reshape(len(self.times), STEPS, -1)

    def to_faces(self, values: Array) -> Iterator[tuple[Track, Array, Array]]:
        """Of (K, T) values at moments those of faces: of each track places in it and a value for each."""
        for track, faces, at, value in zip(self.tracks, self.faces, self.at, values, strict=True):
            here = at >= 0
            yield track, faces, np.interp(track.times[faces], self.times[here], value[here])


def scenes_of(tracks: Sequence[Track]) -> list[Scene]:
    """Scenes of at most `SCENE_S`, in the order of videos and times; every face with a picture is in one of them."""
    together: dict[tuple[str, int], list[Track]] = {}
    for track in tracks:
        together.setdefault(track.group, []).append(track)
    return [scene for key in sorted(together) for scene in _cut(together[key])]


def _cut(tracks: list[Track]) -> Iterator[Scene]:
    seen = [np.flatnonzero(track.seen) for track in tracks]
    every = np.unique(np.concatenate([track.times[faces] for track, faces in zip(tracks, seen, strict=True)]))
    if not len(every):
        return
    for stretch in np.split(every, np.flatnonzero(np.diff(every) > GAP_S) + 1):
        length = stretch[-1] - stretch[0]
        pieces = int(length // SCENE_S) + 1
        for piece in np.split(stretch, np.searchsorted(stretch, stretch[0] + length / pieces * np.arange(1, pieces))):
            inside = [
                faces[(track.times[faces] >= piece[0]) & (track.times[faces] <= piece[-1])]
                for track, faces in zip(tracks, seen, strict=True)
            ]
            there = [(track, faces) for track, faces in zip(tracks, inside, strict=True) if len(faces)]
            moments = piece[0] + MOMENT_S * np.arange(int((piece[-1] - piece[0]) / MOMENT_S + 0.5) + 1)
            at = np.stack([_nearest(track.times[faces], faces, moments) for track, faces in there])
            yield Scene(tuple(track for track, _ in there), tuple(faces for _, faces in there), moments, at)


def _nearest(times: Array, faces: Array, moments: Array) -> Array:
    """(T,) which of a track's faces, (n,) with their times, is nearest to each moment; -1 where it is not there."""
    before, after, share = _between(times, moments)
    near = np.where(share < 0.5, before, after)
    there = (times[after] - times[before] <= HOLD_S) & (times[before] <= moments) & (moments <= times[after])
    there |= np.abs(times[near] - moments) <= MOMENT_S / 2 + SAME_TIME_S
    found: Array = np.where(there, faces[near], -1)
    return found


def _between(times: Array, moments: Array, hold_s: float = HOLD_S, same_s: float = SAME_TIME_S) -> tuple[Array, ...]:
    """The two of (n,) rising times around each of (T,) moments, and the share of the latter in what is between them.

    0 or 1 where one of them is less than `same_s` away, or where they are further apart than `hold_s`: the nearer.
    """
    after = np.clip(np.searchsorted(times, moments), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    apart = times[after] - times[before]
    share = np.clip((moments - times[before]) / np.where(apart > 0, apart, 1), 0, 1)
    near = np.minimum(np.abs(moments - times[before]), np.abs(moments - times[after])) <= same_s
    return before, after, np.where(near | (apart > hold_s), np.rint(share), share)
