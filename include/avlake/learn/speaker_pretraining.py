"""Learning by synchrony, without labels: which sound belongs to which lips?

Taken are the lake's talking heads: faces that are alone on screen for two seconds, of videos that gold has no label of.
Each scene's own sound is to be told from those of others (Chung & Zisserman 2016 did so with shifted sound); others are
of another video or of another time of the same.
Since a recording may be in the lake twice, under another name or in another cut, whatever sounds like a labelled scene
is left out. Who a talking head shows is not known: so what is pre-trained is not judged on unseen talkers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter1d

from avlake.extractors.face_tracks import MELS
from avlake.learn.speaker_cache import read_unlabelled
from avlake.learn.speaker_data import Array, Scene, Track, scenes_of

if TYPE_CHECKING:
    from avlake.learn.base import Silver

MODEL = "pretraining"
PIECE = 50  # moments of a scene, 2 s: all alike, for a sound is not to be known by its length
FEWEST = 8  # scenes; with fewer sounds to choose from there is little to learn
SMOOTH, APART = 16, 8  # frames of 10 ms
SAME_SHARE = 0.03  # of the words of a scene that another has, too: the same recording (of other recordings none are)


def talking_heads(silver: Silver, folder: Path, tracks: Sequence[Track]) -> list[Scene]:
    """Scenes to pre-train on: none of the videos of `tracks`, and none that sounds like one of their scenes."""
    found = read_unlabelled(silver, folder, {track.file_id for track in tracks})
    videos = {(track.drop.partition("/")[0], track.video_id) for track in tracks}
    strangers = [track for track in found if (track.drop.partition("/")[0], track.video_id) not in videos]
    heads = [piece for scene in scenes_of(strangers) if len(scene.tracks) == 1 for piece in pieces(scene)]
    return different(heads, scenes_of(tracks))


def pieces(scene: Scene) -> list[Scene]:
    """As many stretches of `PIECE` times as there are, one after the other."""
    starts = range(0, len(scene.times) - PIECE + 1, PIECE)
    return [replace(scene, times=scene.times[i : i + PIECE], at=scene.at[:, i : i + PIECE]) for i in starts]


def different(scenes: Iterable[Scene], from_these: Iterable[Scene]) -> list[Scene]:
    """Those whose sound is in none of the others."""
    known = np.unique(np.concatenate([np.zeros(0, np.int64), *(words(scene.sound()) for scene in from_these)]))
    shares = ((scene, np.isin(words(scene.sound()), known)) for scene in scenes)
    return [scene for scene, there in shares if len(there) and there.mean() < SAME_SHARE]


def words(sound: Array) -> Array:
    """Numbers that a recording has wherever it is found, one per 10 ms, from (T, 4, bands) sound; none of silence.

    Signs of differences of levels between bands and over time, as in Haitsma & Kalker 2002; they survive another codec.
    """
    level = uniform_filter1d(sound[..., :MELS].reshape(-1, MELS), SMOOTH, axis=0, mode="nearest")
    change = np.diff(level, axis=1)
    signs = change[APART:] > change[:-APART]
    found: Array = signs @ (1 << np.arange(signs.shape[1], dtype=np.int64))
    return found[found > 0]
