"""The calibrated decision: how probable is it that a clip has nothing but sound effects, as people hear it?

Two small logistic regressions, one of speech and one of music: a clip has neither with the product of what each leaves.
Each sees only what bears on its question, five numbers in all, for people label hundreds of clips and not thousands:
the tagger's score (log-odds), the square root of the share of speech that the voice detector hears, and whether the
dataset's own label names speech, or music.

Nothing that is told of a labelled clip was learned from it, or from another part of its source video: its probability
and the threshold that it has to reach come from folds without it, the threshold from folds within those (Varma and
Simon 2006, https://doi.org/10.1186/1471-2105-7-91). So precision and recall on labelled clips are those to expect of
others. Both are means over several ways to fold, that it may not matter which.

Some things are no matter of probability, for speech is to be in no clip that is kept: where the voice detector hears
speech for too long, where it hears any and the tagger agrees, and where the tagger alone hears some, unless the
dataset's label is of a voice, for a baby's cry sounds like speech to a tagger. There the probability is 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avlake.learn.splits import group_folds, groups_per_class

Array = np.ndarray[Any, Any]

MIN_LABELLED = 20  # clips, of either answer: fewer say nothing of a precision above 0.9
MIN_VIDEOS = 5  # they come from, of either answer
REPEATS = 5
INNER_FOLDS = 5
STRENGTH = 1.0  # of the penalty on squared coefficients, of features of unit variance
ALONE, AGREED = 0.1, 0.05  # speech scores that rule a clip out; the second one where the voice detector hears any
LOWEST = 1e-3  # of a score: below it scores say nothing
CERTAIN = 1 - 1e-6
NEVER = 1.0  # a threshold that nothing reaches
EFFECTS = "sfx"

SAYS_SPEECH = re.compile(r"\b(speech|speaking|talking|whispering|narration|conversation|chattering|chatter|shouting)\b")
SAYS_MUSIC = re.compile(
    r"\b(music\w*|orchestra\w*|singing|choir|rapping|beat ?boxing|yodelling|song|guitar|piano|drum\w*|band"
    r"|playing (?!badminton|volleyball|table tennis|tennis|squash|basketball|darts|lacrosse|hockey)\w+)\b"
)
SAYS_VOICE = re.compile(
    r"\b(baby|babies|infant|child|children|people|crying|laughing|laughter|giggling|screaming|shouting|sobbing|wailing"
    r"|whimpering|babbling|cheering|booing|crowd|coughing|sneezing|burping|hiccup|snoring|breathing|female|male)\b"
)


@dataclass(frozen=True)
class Clips:
    """What the decision is made of, (n,) each; NaN where a clip was not measured."""

    speech_score: Array
    music_score: Array
    speech_ratio: Array
    speaks: Array  # does the voice detector hear speech for too long?
    sound: Array  # the dataset's label; None where there is none
    youtube_id: Array

    def rows(self, which: Array) -> Clips:
        return Clips(
            self.speech_score[which],
            self.music_score[which],
            self.speech_ratio[which],
            self.speaks[which],
            self.sound[which],
            self.youtube_id[which],
        )


@dataclass(frozen=True)
class Calibration:
    """The decision on each of the clips it was made with, and on any other."""

    p: Array  # (n,) of labelled clips, from folds without them; NaN where one was not measured
    threshold: Array  # (n,) what they have to reach
    features: tuple[Any, Any]  # of speech and of music: fitted on all labelled clips
    others_threshold: float

    def probability(self, clips: Clips) -> Array:
        """(n,): of clips that nobody has labelled; NaN where one was not measured."""
        return _ruled(_product(self.features, clips), clips)


def lacking(human: Sequence[str], groups: Array) -> str:
    """Why these labels are too few to calibrate by, in words; empty where they suffice."""
    y = _only_effects(human)
    videos = groups_per_class(y, groups)
    have = {True: int(y.sum()), False: int((1 - y).sum())}
    if min(have.values()) >= MIN_LABELLED and min(videos.get(i, 0) for i in (0, 1)) >= MIN_VIDEOS:
        return ""
    return (
        f"of measured clips {have[True]} are labelled as nothing but effects and {have[False]} as something else; "
        f"at least {MIN_LABELLED} of each, of {MIN_VIDEOS} source videos, are needed"
    )


def calibrate(clips: Clips, human: Sequence[str], *, min_precision: float) -> Calibration:
    """Learn the decision from labelled clips that were measured.

    Args:
        human: what people hear in each, such as `sfx+music`.
        min_precision: the least share of what is kept that has nothing but effects, to expect of other clips.

    Raises:
        WorkError: where the labels do not suffice, see `lacking`.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # a task has one core; and sums in one order give the same figures anywhere
        return _calibrate(clips, human, min_precision)


def choose_threshold(p: Array, y: Array, min_precision: float) -> float:
    """The lowest probability that keeps the precision, even were there one more mistake than was made.

    Args:
        p, y: (n,) probabilities of clips that did not take part in the fit, and the truth, 0 or 1.
    """
    order = np.argsort(-p, kind="stable")
    hits, n = np.cumsum(y[order]), np.arange(1, len(p) + 1)
    ends = np.append(np.diff(p[order]) < 0, True)  # clips of one probability are kept together
    fine = np.flatnonzero((hits >= min_precision * (n + 1)) & ends & (p[order] > 0))
    return float(p[order][fine[-1]]) if len(fine) else NEVER


def _calibrate(clips: Clips, human: Sequence[str], min_precision: float) -> Calibration:
    y, heard = _only_effects(human), _heard(human)
    p, threshold = np.zeros(len(y)), np.zeros(len(y))
    for repeat in range(REPEATS):
        for learn, held_out in group_folds(y, clips.youtube_id, seed=repeat):
            inside = _mask(len(y), learn)
            inner = _out_of_fold(clips.rows(inside), heard[inside], y[inside], seed=repeat)
            there = _mask(len(y), held_out)
            fitted = _fit(clips.rows(inside), heard[inside])
            p[there] += _ruled(_product(fitted, clips.rows(there)), clips.rows(there)) / REPEATS
            threshold[there] += choose_threshold(inner, y[inside], min_precision) / REPEATS
    everywhere = np.mean([_out_of_fold(clips, heard, y, seed=repeat) for repeat in range(REPEATS)], axis=0)
    others = choose_threshold(everywhere, y, min_precision)
    return Calibration(p, threshold, _fit(clips, heard), others)


def _out_of_fold(clips: Clips, heard: Array, y: Array, *, seed: int) -> Array:
    p = np.zeros(len(y))
    for learn, held_out in group_folds(y, clips.youtube_id, n_folds=INNER_FOLDS, seed=seed):
        there = clips.rows(_mask(len(y), held_out))
        inside = _mask(len(y), learn)
        p[np.sort(held_out)] = _ruled(_product(_fit(clips.rows(inside), heard[inside]), there), there)
    return p


def _fit(clips: Clips, heard: Array) -> tuple[Any, Any]:
    """Models of speech and of music; a bare probability where all clips have it, or none has."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models = []
    for column, x in enumerate(_features(clips)):
        target = heard[:, column]
        if target.min() == target.max():
            models.append(float(target[0]))
        else:
            models.append(make_pipeline(StandardScaler(), LogisticRegression(C=1 / STRENGTH)).fit(x, target))
    return models[0], models[1]


def _product(models: tuple[Any, Any], clips: Clips) -> Array:
    left = np.ones(len(clips.sound))
    for model, x in zip(models, _features(clips), strict=True):
        known = np.isfinite(x).all(axis=1)
        left[~known] = np.nan
        if known.any():
            left[known] *= 1 - (model if isinstance(model, float) else model.predict_proba(x[known])[:, 1])
    return np.minimum(left, CERTAIN)


def _ruled(p: Array, clips: Clips) -> Array:
    voice = np.array([_says(SAYS_VOICE, sound) for sound in clips.sound], bool)
    agreed = (clips.speech_ratio > 0) & (clips.speech_score >= AGREED)
    speaks = clips.speaks | agreed | ((clips.speech_score >= ALONE) & ~voice)
    return np.where(speaks & np.isfinite(p), 0.0, p)


def _features(clips: Clips) -> tuple[Array, Array]:
    """(n, 3) of speech, (n, 2) of music."""
    speech, music = (
        np.array([_says(words, sound) for sound in clips.sound], float) for words in (SAYS_SPEECH, SAYS_MUSIC)
    )
    return (
        np.column_stack([_log_odds(clips.speech_score), np.sqrt(clips.speech_ratio), speech]),
        np.column_stack([_log_odds(clips.music_score), music]),
    )


def _says(words: re.Pattern[str], sound: str | None) -> bool:
    return bool(words.search((sound or "").lower()))


def _log_odds(score: Array) -> Array:
    clipped = np.clip(score, LOWEST, 1 - LOWEST)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _only_effects(human: Sequence[str]) -> Array:
    return np.array([sound == EFFECTS for sound in human], int)


def _heard(human: Sequence[str]) -> Array:
    """(n, 2): do people hear speech, and music?"""
    return np.array([["speech" in sound.split("+"), "music" in sound.split("+")] for sound in human], int)


def _mask(n: int, rows: Array) -> Array:
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask
