"""Is a task hopeless before it runs? Speaker identification, judged from who speaks in which source video alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_SPEAKERS = 2  # to tell apart
MIN_VIDEOS = 2  # of a speaker: one is learned from, another tests; clips of one video share room, light and microphone
MIN_CLIPS = 3  # of a speaker: two to learn from, so that folds can be stratified, and one to test with
MIN_USABLE_CLIPS = 20  # of such speakers together ...
MIN_USABLE_SHARE = 0.2  # ... or this share of all clips, where that is fewer


@dataclass(frozen=True)
class Diagnosis:
    """What may be hoped for; `reason` says it in words, whichever way it is."""

    trainable: bool
    speakers: int
    clips: int
    videos: int
    usable_speakers: int  # with MIN_VIDEOS source videos and MIN_CLIPS clips
    usable_clips: int  # of those speakers
    reason: str


def diagnose(subjects: Sequence[str], videos: Sequence[str]) -> Diagnosis:
    """Can speakers be told apart and tested on source videos that nothing was learned from?

    Args:
        subjects: who speaks, one per clip, (n_clips,).
        videos: the source video of each clip, (n_clips,); names need be unique only within a speaker.
    """
    pairs = list(zip(subjects, videos, strict=True))
    names, owners = np.unique([subject for subject, _ in pairs], return_inverse=True)
    clips_of = np.bincount(owners, minlength=len(names))
    distinct = sorted(set(pairs))
    at = np.searchsorted(names, [subject for subject, _ in distinct])
    videos_of = np.bincount(at.astype(np.intp), minlength=len(names))
    usable = (videos_of >= MIN_VIDEOS) & (clips_of >= MIN_CLIPS)
    speakers, clips = int(usable.sum()), int(clips_of[usable].sum())
    enough = clips >= min(MIN_USABLE_CLIPS, MIN_USABLE_SHARE * len(pairs))
    found = f"{count(len(names), 'speaker')} in {count(len(pairs), 'clip')} of {count(len(distinct), 'source video')}"
    has = "has" if speakers <= 1 else "have"
    who = f"{speakers} of them, with {count(clips, 'clip')}," if speakers else "none"
    able = f"{who} {has} {MIN_VIDEOS} source videos and {MIN_CLIPS} clips or more"
    if speakers >= MIN_SPEAKERS and enough:
        return Diagnosis(True, len(names), len(pairs), len(distinct), speakers, clips, f"{found}: {able}")
    if speakers < MIN_SPEAKERS:
        lacking = f"{MIN_SPEAKERS} such speakers are needed to learn from one video and test on another"
    else:
        lacking = "that is too little of the whole to say anything about it"
    reason = f"{found}: {able}; {lacking}"
    return Diagnosis(False, len(names), len(pairs), len(distinct), speakers, clips, reason)


def count(number: int, thing: str) -> str:
    """`1 clip`, `2 clips`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
