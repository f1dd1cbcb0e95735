"""Made-up worlds of clips, in which it is known what choosing among them does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from avlake.extractors.speaker_features import BASELINE, SpeakerFeatures
from avlake.learn.impact import Clips, Design, Interval, figures, try_all

Array = np.ndarray[Any, Any]
FAST = Design(seeds=5, draws=10, replicates=500)
FEATURES = len(BASELINE)


@dataclass(frozen=True)
class World:
    """`speakers` in `videos` source videos each, of `clips` clips; a voice, a room and chance make the features."""

    speakers: int = 8
    videos: int = 6
    clips: int = 4
    voice: float = 0.8  # deviation between speakers; that within a video is 1
    room: float = 0.6  # deviation between the videos of a speaker
    share: float = 0.5  # of the clips that are kept

    def draw(self, seed: int, spoil: Callable[[Array, np.random.Generator], Array] | None = None) -> Clips:
        """A random share of the clips is kept; `spoil` changes the features of the others."""
        rng = np.random.default_rng(seed)
        y = np.repeat(np.arange(self.speakers), self.videos * self.clips)
        video = np.repeat(np.arange(self.speakers * self.videos), self.clips)
        voices = rng.normal(size=(self.speakers, FEATURES)) * self.voice
        rooms = rng.normal(size=(self.speakers * self.videos, FEATURES)) * self.room
        X = voices[y] + rooms[video] + rng.normal(size=(len(y), FEATURES))
        kept = rng.random(len(y)) < self.share
        if spoil is not None:
            X[~kept] = spoil(X, rng)[~kept]
        return Clips(X, y, video, kept)


def noise(X: Array, rng: np.random.Generator) -> Array:
    """Nobody is heard, but something loud, each time something else."""
    return rng.normal(scale=12.0, size=X.shape)


def hum(X: Array, rng: np.random.Generator) -> Array:
    """Nobody is heard, but everywhere the same."""
    return rng.normal(scale=4.0, size=X.shape[1]) + rng.normal(size=X.shape)


def reversed_choice(clips: Clips) -> Clips:
    """The same world, with a rule that keeps what it should reject."""
    return Clips(clips.X, clips.y, clips.video, ~clips.kept)


def nearest_mean(X: Array, y: Array, unseen: Array) -> Array:
    """A classifier that takes no time."""
    speakers = np.unique(y)
    means = np.stack([X[y == speaker].mean(axis=0) for speaker in speakers])
    found: Array = speakers[((unseen[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)]
    return found


def compared(
    clips: Clips, classify: Callable[[Array, Array, Array], Array] = nearest_mean, design: Design = FAST
) -> dict[str, Interval]:
    """The figures on all held-out clips."""
    return figures(clips, try_all(clips, classify, design), np.ones(len(clips.y), dtype=bool), design)


def tables(clips: Clips, *, spread: float = 0.0) -> dict[str, pa.Table]:
    """The clips as the warehouse has them: gold.talking_heads and silver.speaker_features.

    The embedding's features beyond the baseline's are `spread` times chance.
    """
    rng = np.random.default_rng(99)
    n = len(clips.y)
    names = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(n)]
    columns = [field.name for field in SpeakerFeatures.table.schema if field.type == pa.float32()]
    measured = {name: spread * rng.normal(size=n) for name in columns} | dict(zip(BASELINE, clips.X.T, strict=True))
    same = {
        "file_id": names,
        "dataset": ["voxceleb"] * n,
        "drop_date": [f"2026-09-0{1 + i % 2}" for i in range(n)],
    }
    who = list(zip(clips.y, clips.video, strict=True))
    gold = {
        **same,
        "path": [f"dev/mp4/s{y}/v{video}/{i}.mp4" for i, (y, video) in enumerate(who)],
        "subject_id": [f"s{y}" for y, _ in who],
        "video_id": [f"v{video}" for _, video in who],
        "split_group": [f"s{y}/v{video}" for y, video in who],
        "split": ["train"] * n,
        "kept": clips.kept.tolist(),
        "reject_reason": [None if kept else "low_speech" for kept in clips.kept],
        "licence": ["CC BY 4.0"] * n,
        "source": ["voxceleb/2026-09-01/dev"] * n,
    }
    silver = {**same, **{name: pa.array(values, pa.float32()) for name, values in measured.items()}}
    return {"gold.talking_heads": pa.table(gold), "silver.speaker_features": pa.table(silver)}
