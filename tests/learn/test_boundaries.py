"""Where the last unbroken music begins, from the scores of a tagger that are written as letters."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avlake.learn.boundaries import NOTHING, STEP_S, SWITCH, Found, Heard, find, likeliest_path, music_spans
from avlake.learn.boundaries import tag_evidence as evidence

# Scores of all tags of music, and of voices.
SOUNDS = {"s": (0.0, 0.97), "m": (0.9, 0.0), "b": (0.04, 0.9), "t": (0.004, 0.98), "n": (0.03, 0.02), ".": (0.0, 0.0)}


def heard(sounds: str) -> Heard:
    """A letter is a window: s(peech), m(usic), b(ed under speech), t(race of music in it), n(oise), . (silence)."""
    music, speech = np.array([SOUNDS[sound] for sound in sounds]).reshape(-1, 2).T
    return Heard(np.arange(len(sounds)) * STEP_S, evidence(music, speech), speech)


def outro_window(sounds: str) -> int | None:
    """The window that the outro is found to start in."""
    start_s = find(heard(sounds)).outro_start_s
    return None if start_s is None else int(start_s / STEP_S)


@pytest.mark.parametrize(
    ("sounds", "window"),
    [
        ("s" * 40 + "m" * 10, 40),
        ("s" * 40 + "b" * 6 + "m" * 8, 40),  # it comes in under the last words
        ("s" * 40 + "b" * 8, 40),  # and words go on to the end
        ("m" * 6 + "s" * 40 + "m" * 8, 46),  # there is an intro, too
        ("s" * 20 + "m" * 4 + "s" * 20 + "m" * 8, 44),  # and a jingle
        ("s" * 40 + "mmm..mmmm", 40),  # a break in the music
        ("s" * 40 + "mmmssmmmmmm", 40),  # somebody speaks over it
        ("s" * 40 + "mmmm" + "s" * 8 + "mmmmmm", 52),  # for so long that it is other music
        ("s" * 40 + "m" * 8 + "....", 40),  # and then nothing
        ("s" * 40 + "m" * 8 + "ss", 40),  # and a last word
        ("sssts" * 8 + "m" * 8, 40),
        ("s" * 40 + ".." + "m" * 8, 42),
    ],
)
def test_an_outro_starts_where_the_last_unbroken_music_begins(sounds: str, window: int) -> None:
    assert outro_window(sounds) == window


@pytest.mark.parametrize(
    "sounds",
    [
        "s" * 40,
        "s" * 40 + "....",
        "sssts" * 10,
        "s" * 20 + "m" * 8 + "s" * 20,  # a jingle
        "m" * 8 + "s" * 40,  # an intro
        "s" * 40 + "m",  # too short
        "s" * 40 + "n" * 10,
        "s" * 40 + "nnnnmnnnnn",
        "s",
        "m",
        "mm",
        "." * 10,
        "m" * 30,  # nothing that it could be the end of
    ],
)
def test_no_outro_is_invented(sounds: str) -> None:
    assert find(heard(sounds)).outro_start_s is None


@pytest.mark.parametrize(
    ("sounds", "windows"),
    [
        ("m" * 6 + "s" * 40, 6),
        ("m" * 6 + "s" * 40 + "m" * 8, 6),
        ("ssmmmm" + "s" * 40, 6),  # a word before it
        ("m" * 4 + "b" * 4 + "s" * 40, 8),  # under the first words
        ("s" * 40 + "m" * 8, None),
        ("s" * 10 + "m" * 8 + "s" * 20, None),  # a jingle is no intro
        ("m" * 20, None),
        ("m" * 20 + "....", None),  # nobody says anything
    ],
)
def test_an_intro_ends_where_its_music_does(sounds: str, windows: int | None) -> None:
    end_s = find(heard(sounds)).intro_end_s
    assert end_s == (None if windows is None else pytest.approx(windows * STEP_S))


@pytest.mark.parametrize(
    ("sounds", "outro", "intro_end"),
    [
        ("b" * 40 + "m" * 10, 40, None),
        ("mmmmm" + "b" * 40 + "m" * 6, 45, 5),
        ("mmmmm" + "bbbsbbbmmbbbb" * 5 + "m" * 6, 70, 5),  # it is heard between sentences
        ("b" * 50, None, None),
        ("mmmmm" + "b" * 40, None, 5),
    ],
)
def test_where_music_is_under_everything_it_counts_where_nobody_speaks(
    sounds: str, outro: int | None, intro_end: int | None
) -> None:
    assert outro_window(sounds) == outro
    end_s = find(heard(sounds)).intro_end_s
    assert end_s == (None if intro_end is None else pytest.approx(intro_end * STEP_S))
    assert music_spans(heard(sounds)) == [pytest.approx((0, len(sounds) * STEP_S))]


def test_an_episode_without_windows_says_nothing() -> None:
    assert find(heard("")) == NOTHING


def test_the_less_is_heard_the_less_sure() -> None:
    clear, soft = find(heard("s" * 40 + "m" * 10)), find(heard("s" * 40 + "tbtbtbtbtbtb"))
    nothing, jingle = find(heard("s" * 50)), find(heard("s" * 40 + "mm"))
    assert clear.outro_start_s is not None and soft.outro_start_s is not None
    assert clear.confidence > 0.9 > soft.confidence
    assert nothing.confidence > 0.9 > jingle.confidence


def test_hours_are_judged_as_minutes_are() -> None:
    sounds = "s" * 11_000 + "m" * 60
    assert outro_window(sounds) == 11_000
    assert find(heard(sounds)).confidence > 0.9


def test_spans_are_seconds_of_all_music() -> None:
    spans = music_spans(heard("m" * 6 + "s" * 20 + "m" * 10))
    assert spans == [pytest.approx((0, 6 * STEP_S)), pytest.approx((26 * STEP_S, 36 * STEP_S))]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.floats(0.1, 8))
def test_no_path_is_likelier(values: list[float], switch: float) -> None:
    def worth(path: tuple[bool, ...]) -> float:
        changes = sum(a != b for a, b in zip((False, *path), path, strict=False))  # before the episode no music plays
        return sum(x for x, inside in zip(values, path, strict=True) if inside) - switch * changes

    found = likeliest_path(np.array(values), switch)
    best = max(worth(path) + switch * path[0] for path in product((False, True), repeat=len(values)))
    chosen = tuple(bool(state) for state in found)
    assert worth(chosen) + switch * chosen[0] == pytest.approx(best)


@given(st.text(alphabet="smbtn.", max_size=60))
def test_what_is_said_is_within_the_episode(sounds: str) -> None:
    found = find(heard(sounds))
    assert isinstance(found, Found) and 0 <= found.confidence <= 1
    for time_s in (found.outro_start_s, found.intro_end_s):
        assert time_s is None or 0 < time_s <= len(sounds) * STEP_S + 1e-9
    if found.outro_start_s is not None and found.intro_end_s is not None:
        assert found.intro_end_s <= found.outro_start_s


def test_evidence_grows_with_the_score_of_music() -> None:
    scores = np.array([0, 1 / 256, 4 / 256, 0.1, 0.5, 1])
    said = evidence(scores, np.ones(6))
    assert (np.diff(said[:4]) > 0).all() and said[0] < 0 < said[2]
    assert abs(float(evidence(np.zeros(1), np.zeros(1))[0])) < abs(float(said[0]))  # a pause has no music either
    assert said.max() < SWITCH  # a single window begins nothing
