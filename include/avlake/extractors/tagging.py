"""Tagging: scores for what is heard, in windows of a fixed length, and the rows that are made of them.

A tagger is anything with a `Tagger`'s three members. Its extractor is a few lines: a table with these `COLUMNS`, and a
`TagListener`, which hands the tagger whole windows as the sound goes by. So a recording of hours is tagged in the
memory of a minute, and its scores are those of tagging it at once, for no window knows of another.

Families of tags are named by their ends in AudioSet's list of classes, in which an entry of its ontology is followed by
what lies below it (Gemmeke et al., 2017; https://github.com/audioset/ontology).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from avlake.errors import RequestError
from avlake.media.audio import SAMPLE_RATE, Samples
from avlake.tables import TEXT

SPEECH, MUSIC = "Speech", "Music"
# Who laughs, cries or screams says nothing: there, such a voice is an effect like others.
VOICES = (
    ("Speech", "Children shouting"),
    ("Whispering", "Whispering"),
    ("Chatter", "Chatter"),
    ("Hubbub, speech noise, speech babble", "Hubbub, speech noise, speech babble"),
)
# Bells and chimes are instruments to the ontology; in a recording they are as often a church's or a bicycle's.
MUSICAL = (("Singing", "Humming"), ("Music", "Harp"), ("Harmonica", "Scary music"))
N_TOP = 5

COLUMNS: dict[str, pa.DataType] = {
    "window_index": pa.int32(),
    "start_s": pa.float64(),
    "trusted": pa.bool_(),  # false for a last window that is filled up with silence
    "speech": pa.float32(),  # score of the tag Speech
    "music": pa.float32(),  # score of the tag Music
    "speech_any": pa.float32(),  # highest score of all tags of people who speak, see VOICES
    "music_any": pa.float32(),  # highest score of all tags of music, instruments and singing, see MUSICAL
    "top_tags": pa.list_(TEXT),  # names of the five highest, falling
    "top_scores": pa.list_(pa.float32()),
    "scores": pa.binary(),  # of all tags: byte i is round(255 sqrt(score i)); see `unpacked`
}

Scores = np.ndarray[Any, np.dtype[np.float32]]


class Tagger(Protocol):
    """Scores windows of sound that lie side by side."""

    names: tuple[str, ...]  # of its tags, in the order of the scores
    window_samples: int  # at 16 kHz

    def score(self, samples: Samples) -> Scores:
        """Scores from 0 to 1 of every window: (ceil(n / window_samples), n_tags).

        Args:
            samples: (n,) at 16 kHz, n > 0; the last window is filled up with silence.
        """
        ...


class TagListener:
    """Tags a clip's sound while it is heard; keeps numbers for each window, and the samples of one that is not full."""

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger
        self._voices, self._musical = (family(tagger.names, ranges) for ranges in (VOICES, MUSICAL))
        self._rest = np.zeros(0, np.float32)
        self._blocks = [self._block(np.zeros((0, len(tagger.names)), np.float32))]

    def hear(self, samples: Samples) -> None:
        """Take the next samples (n,)."""
        held = np.concatenate([self._rest, samples])
        whole = len(held) - len(held) % self._tagger.window_samples
        self._rest = held[whole:].copy()
        if whole:
            self._blocks.append(self._block(self._tagger.score(held[:whole])))

    def columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """The rows of all that was heard, as `COLUMNS`: a single, untrusted one where that is no full window."""
        blocks = [*self._blocks, self._block(self._tagger.score(self._rest))] if len(self._rest) else self._blocks
        found = {name: np.concatenate([block[name] for block in blocks]) for name in self._blocks[0]}
        index = np.arange(len(found["scores"]), dtype=np.int32)
        trusted = np.ones(len(index), bool)
        if len(self._rest):
            trusted[-1] = False
        times_s = index * (self._tagger.window_samples / SAMPLE_RATE)
        return {"window_index": index, "start_s": times_s, "trusted": trusted, **found}

    def _block(self, scores: Scores) -> dict[str, np.ndarray[Any, Any]]:
        """What is kept of the scores of some windows (n_windows, n_tags)."""
        names = self._tagger.names
        top = np.argsort(-scores, axis=1, kind="stable")[:, :N_TOP]
        return {
            "speech": scores[:, names.index(SPEECH)],
            "music": scores[:, names.index(MUSIC)],
            "speech_any": scores[:, self._voices].max(axis=1),
            "music_any": scores[:, self._musical].max(axis=1),
            "top_tags": _cells([[names[i] for i in row] for row in top]),
            "top_scores": _cells(list(np.take_along_axis(scores, top, axis=1))),
            "scores": _cells([row.tobytes() for row in packed(scores)]),
        }


def family(names: Sequence[str], ranges: Iterable[tuple[str, str]]) -> list[int]:
    """Where in a list of classes those of some ranges stand, each given by the names of its first and its last.

    Raises:
        RequestError: when the list has no such range: it is not AudioSet's.
    """
    found: list[int] = []
    for first, last in ranges:
        part = range(names.index(first), names.index(last) + 1) if {first, last} <= set(names) else range(0)
        if not part:
            raise RequestError(f"the tags are not those of AudioSet in its order: there is no {first!r} to {last!r}")
        found += part
    return found


def packed(scores: Scores) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Scores from 0 to 1 in a byte each, with the finer steps where scores are low: round(255 sqrt(score))."""
    return np.round(255 * np.sqrt(scores)).astype(np.uint8)


def unpacked(cells: Sequence[bytes]) -> Scores:
    """Scores (n_windows, n_tags) of a column `scores`; off by sqrt(score) / 255 at most."""
    rows = np.frombuffer(b"".join(cells), np.uint8).reshape(len(cells), -1) if len(cells) else np.zeros((0, 0))
    return np.square(rows.astype(np.float32) / 255)


def _cells(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """A column of objects, one for each row."""
    column = np.empty(len(values), object)
    for i, value in enumerate(values):
        column[i] = value
    return column
