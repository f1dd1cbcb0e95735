"""Where the last unbroken music of an episode begins, and where the music at its beginning ends.

Evidence comes window by window: the log likelihood ratio of `music is heard` to `none is`. The most likely path through
the two states (Viterbi 1967) says where music is heard; rules about gaps, and about speech afterwards, say which of it
is the outro. Nothing here is learned from a lake's labels, so that it works where there are none. The constants were
chosen once, on mixtures and on some labelled episodes: figures on those are optimistic, see docs/podcast_outros.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

STEP_S = 0.975  # from one window of tags to the next
# How music begins under speech decides these, on speech mixed with music at known times: bench/outros.py. The tagger
# gives its scores in steps of 1/256, so that most speech has exactly 0, and the least step says something.
SLOPE, OFFSET = 16.0, 3.2
MOST = 5.0  # one window says no more than that
SILENT = 0.15  # below this score of voices nobody speaks, and that no music is heard says little: a pause has none
SILENCE_WEIGHT = 0.3
CLEAR = 2.0  # a window says something from here on
SWITCH = 6.0  # what it costs to begin or to end music, in the evidence's unit
MAX_GAP_S = 3.0  # a pause or a break in the music, and it goes on
MIN_OUTRO_S = 2.9  # anything shorter is a jingle or a mistake of the tagger
SURE, MIN_SURE = 4.0, 2  # so many windows say so much where nobody speaks: noise is a little like music, for long
MAX_SPEECH_AFTER_S = 4.0  # music that more speech follows was no outro
MAX_BEFORE_INTRO_S = 3.0  # music that begins later is no intro
SPOKEN = 0.5
ONSET_S = 0.25  # how far into the first window that hears it music begins, in the median
NEAR_S = 2.0  # a start is right if it is no farther from the truth
TEMPERATURE = 3.0  # neighbouring windows say the same thing about three times


@dataclass(frozen=True)
class Heard:
    """An episode's evidence, in order of time."""

    start_s: Array  # (n,) of windows of STEP_S
    music: Array  # (n,) log likelihood ratio
    speech: Array  # (n,) score of the tags of human voices


@dataclass(frozen=True)
class Found:
    """What is said of an episode; None where there is no outro, or no intro."""

    outro_start_s: float | None
    intro_end_s: float | None
    confidence: float  # probability that there is no outro, or that there is one which starts within NEAR_S of there


NOTHING = Found(None, None, 0.5)  # of an episode without a single window


def tag_evidence(music_any: Array, speech_any: Array) -> Array:
    """(n,) log likelihood ratio of music from the highest scores, in [0, 1], of the tags of music and of voices."""
    raw = np.minimum(SLOPE * np.log2(1 + 256 * np.clip(music_any, 0, 1)) / 8 - OFFSET, MOST)
    weighed: Array = np.where((raw < 0) & (speech_any < SILENT), SILENCE_WEIGHT * raw, raw)
    return weighed


def likeliest_path(evidence: Array, switch: float = SWITCH) -> Array:
    """(n,) evidence -> (n,) bool, is music heard? Changing over costs `switch` each time."""
    came_from = np.zeros((len(evidence), 2), dtype=bool)
    without, within = 0.0, 0.0
    for i, x in enumerate(evidence.tolist()):
        came_from[i] = within - switch > without, within >= without - switch
        without, within = max(without, within - switch), max(within, without - switch) + x
    path = np.zeros(len(evidence), dtype=bool)
    state = within > without
    for i in range(len(evidence) - 1, -1, -1):
        path[i] = state
        state = bool(came_from[i, int(state)])
    return path


def runs(heard: Heard) -> list[tuple[int, int]]:
    """First window and the one after the last of each stretch of music; gaps up to MAX_GAP_S do not break it.

    Music may begin softly under speech, in windows that say little; such windows are no part of its end.
    """
    inside = np.flatnonzero(likeliest_path(heard.music))
    if not len(inside):
        return []
    breaks = np.flatnonzero(np.diff(heard.start_s[inside]) > MAX_GAP_S + STEP_S)
    firsts, lasts = np.r_[0, breaks + 1], np.r_[breaks, len(inside) - 1]
    clear = heard.music >= CLEAR
    found = []
    for begin, end in zip(inside[firsts].tolist(), inside[lasts].tolist(), strict=True):
        said = np.flatnonzero(clear[begin : end + 1])
        found.append((begin, begin + int(said[-1]) + 1 if len(said) else end + 1))
    return found


def find(heard: Heard) -> Found:
    """Say where the outro music starts and where the intro music ends.

    Where music is under everything, the outro is where it comes to the fore: from where nobody speaks over it any more.
    Music from the first window to the last is neither outro nor intro: nothing comes before it or after it.
    """
    if not len(heard.start_s):
        return NOTHING
    stretches = runs(heard)
    if stretches and stretches[-1][0] == 0 and _spoken_s(heard, stretches[-1][1]) <= MAX_SPEECH_AFTER_S:
        heard = replace(heard, music=np.where(heard.speech < SILENT, heard.music, -OFFSET))
        stretches = runs(heard)
    return _judge(heard, stretches)


def music_spans(heard: Heard) -> list[tuple[float, float]]:
    """Start and end, in seconds, of each stretch of music, also under speech."""
    return [(float(heard.start_s[a]), float(heard.start_s[b - 1]) + STEP_S) for a, b in runs(heard)]


def _judge(heard: Heard, stretches: list[tuple[int, int]]) -> Found:
    n = len(heard.start_s)
    if not stretches:
        return Found(None, None, _confidence(heard, 0, None, n))
    *others, (begin, end) = stretches
    before = others[-1][1] if others else 0
    if _spoken_s(heard, end) > MAX_SPEECH_AFTER_S:
        return Found(None, _intro_end(heard, stretches), _confidence(heard, end, None, n))
    sure = heard.music[begin:end] >= np.where(heard.speech[begin:end] < SILENT, SURE, CLEAR)
    if begin == 0 or sure.sum() < MIN_SURE or (end - begin) * STEP_S < MIN_OUTRO_S:
        return Found(None, _intro_end(heard, stretches), _confidence(heard, before, None, n))
    start_s = round(float(heard.start_s[begin] + ONSET_S), 3)
    return Found(start_s, _intro_end(heard, others), _confidence(heard, before, begin, end))


def _spoken_s(heard: Heard, after: int) -> float:
    """Seconds of speech from a window on."""
    return float((heard.speech[after:] > SPOKEN).sum()) * STEP_S


def _intro_end(heard: Heard, stretches: list[tuple[int, int]]) -> float | None:
    if not stretches:
        return None
    begin, end = stretches[0]
    if heard.start_s[begin] > MAX_BEFORE_INTRO_S or not _spoken_s(heard, end):
        return None
    return round(float(heard.start_s[end - 1] + STEP_S), 3)


def _confidence(heard: Heard, before: int, begin: int | None, end: int) -> float:
    """Bayes' rule over `no outro` and `it starts with window k, and lasts to `end``, whose evidence adds up.

    A start is as good as another within NEAR_S; those before window `before` belong to other music.
    """
    shortest = max(1, round(MIN_OUTRO_S / STEP_S))
    starts = np.arange(max(1, before), max(1, before, end - shortest + 1))
    lasting = np.cumsum(heard.music[:end][::-1])[::-1]
    weights = np.r_[0.0, lasting[starts] - SWITCH] / TEMPERATURE
    weights = np.exp(weights - weights.max())
    near = np.zeros(len(weights), dtype=bool)
    if begin is None:
        near[0] = True
    else:
        near[1:] = np.abs(heard.start_s[starts] - heard.start_s[begin]) <= NEAR_S
    return float(weights[near].sum() / weights.sum())
