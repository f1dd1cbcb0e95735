"""Rows of tags are the same however the sound arrives, and say which window is not to be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avlake.errors import RequestError
from avlake.extractors.tagging import COLUMNS, MUSICAL, VOICES, TagListener, family, packed, unpacked
from avlake.media.audio import SAMPLE_RATE

NAMES = (
    *("Speech", "Conversation", "Children shouting", "Screaming", "Whispering", "Laughter", "Singing", "Humming"),
    *("Dog", "Chatter", "Hubbub, speech noise, speech babble", "Music", "Harp", "Bell", "Harmonica", "Scary music"),
)


class Levels:
    """Tags by loudness: tag i has the mean magnitude of the window's i-th part."""

    names = NAMES
    window_samples = 1600

    def __init__(self) -> None:
        self.longest = 0

    def score(self, samples: np.ndarray) -> np.ndarray:
        self.longest = max(self.longest, len(samples))
        filled = np.zeros(-(-len(samples) // self.window_samples) * self.window_samples, np.float32)
        filled[: len(samples)] = samples
        return np.abs(filled).reshape(-1, len(self.names), self.window_samples // len(self.names)).mean(axis=2)


def rows(sound: np.ndarray, cuts: Sequence[int] = ()) -> dict[str, np.ndarray]:
    listener = TagListener(Levels())
    for block in np.split(sound, sorted(min(cut, len(sound)) for cut in cuts)):
        listener.hear(block)
    return listener.columns()


@settings(max_examples=50)
@given(n=st.integers(1, 9000), cuts=st.lists(st.integers(0, 9000), max_size=6))
def test_blocks_of_any_length_make_the_rows_of_the_whole(n: int, cuts: list[int]) -> None:
    sound = np.random.default_rng(n).uniform(-1, 1, n).astype(np.float32)
    found, whole = rows(sound, cuts), rows(sound)
    assert found.keys() == COLUMNS.keys()
    for name in ("window_index", "start_s", "trusted", "speech", "music", "speech_any", "music_any"):
        assert np.array_equal(found[name], whole[name]), name
    for name in ("top_tags", "top_scores", "scores"):
        assert list(map(list, found[name])) == list(map(list, whole[name])), name
    expected = Levels().score(sound)
    assert unpacked(list(found["scores"])) == pytest.approx(expected, abs=0.004)
    full, rest = divmod(n, 1600)
    assert found["trusted"].tolist() == [True] * full + [False] * (rest > 0)
    assert found["start_s"] == pytest.approx(np.arange(full + (rest > 0)) * 1600 / SAMPLE_RATE)


def test_a_row_names_what_is_heard_most() -> None:
    sound = np.zeros(1600, np.float32)
    for tag, level in (("Dog", 0.9), ("Conversation", 0.5), ("Harp", 0.3), ("Laughter", 0.8), ("Bell", 0.7)):
        sound[NAMES.index(tag) * 100 :][:100] = level
    found = rows(sound)
    assert found["top_tags"][0] == ["Dog", "Laughter", "Bell", "Conversation", "Harp"]
    assert found["top_scores"][0] == pytest.approx([0.9, 0.8, 0.7, 0.5, 0.3])
    assert found["speech_any"] == pytest.approx([0.5]) and found["music_any"] == pytest.approx([0.3])
    assert found["speech"] == found["music"] == pytest.approx([0.0])


def test_no_more_than_a_block_is_held() -> None:
    tagger = Levels()
    listener = TagListener(tagger)
    for _ in range(100):
        listener.hear(np.zeros(2000, np.float32))
    assert len(listener.columns()["scores"]) == 125 and tagger.longest <= 2000 + 1600


def test_no_sound_has_no_rows() -> None:
    assert [len(column) for column in TagListener(Levels()).columns().values()] == [0] * len(COLUMNS)
    assert unpacked([]).size == 0


def test_a_byte_holds_a_score_finest_where_scores_are_low() -> None:
    scores = np.linspace(0, 1, 10_001, dtype=np.float32)[None]
    error = np.abs(unpacked([packed(scores).tobytes()]) - scores)
    assert (error <= np.sqrt(scores) / 255 + 1e-5).all()
    assert unpacked([b"\x00\xff"]).tolist() == [[0.0, 1.0]]


def test_a_family_is_named_by_its_ends_and_must_be_there() -> None:
    assert [NAMES[i] for i in family(NAMES, VOICES)] == [*NAMES[:3], "Whispering", *NAMES[9:11]]
    assert [NAMES[i] for i in family(NAMES, MUSICAL)] == [
        "Singing",
        "Humming",
        "Music",
        "Harp",
        "Harmonica",
        "Scary music",
    ]
    for wrong in (NAMES[1:], tuple(reversed(NAMES))):
        with pytest.raises(RequestError, match="AudioSet"):
            family(wrong, VOICES)
