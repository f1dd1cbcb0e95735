"""Descriptions read as English, and are one harmless line whatever a label says."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avlake.learn.description import describe


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("dog barking", "Sound of a dog barking"),
        ("owl hooting", "Sound of an owl hooting"),
        ("people clapping", "Sound of people clapping"),
        ("lions roaring", "Sound of lions roaring"),
        ("sheep bleating", "Sound of sheep bleating"),
        ("thunder", "Sound of thunder"),
        ("wind noise", "Sound of wind noise"),
        ("fire crackling", "Sound of fire crackling"),
        ("playing acoustic guitar", "Sound of someone playing acoustic guitar"),
        ("skateboarding", "Sound of skateboarding"),
        ("lawn mowing", "Sound of lawn mowing"),
        ("airplane flyby", "Sound of an airplane flyby"),
        ("car engine idling", "Sound of a car engine idling"),
        ("female singing", "Sound of a female singing"),
        ("male speech, man speaking", "Sound of male speech"),
        ("vehicle horn, car horn, honking", "Sound of a vehicle horn"),
        ("donkey, ass braying", "Sound of a donkey braying"),
        ("people eating, noisily", "Sound of people eating"),
        ("police car (siren)", "Sound of a police car"),
        ("singing bowl", "Sound of a singing bowl"),
        ("sharpen knife", "Sound of sharpening a knife"),
        ("air conditioning noise", "Sound of air conditioning noise"),
        ("ukulele", "Sound of a ukulele"),
        ("hair_dryer/drying", "Sound of a hair dryer"),
        ("Sound Effect", "Sound effect"),
        (None, "Sound"),
        ("", "Sound"),
        (" \x00\n\u202e ", "Sound"),
        ("1234", "Sound"),
        ('"dog"\x1b[31m barking\r\n', "Sound of a dog 31m barking"),
    ],
)
def test_a_label_in_words(label: str | None, expected: str) -> None:
    assert describe(label) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"Rain": 0.8, "Thunder": 0.6, "Wind": 0.5}, "Sounds of rain and thunder"),
        ({"Animal": 0.9, "Frog": 0.6}, "Sound of a frog"),
        ({"Vehicle horn, car horn, honking": 0.9}, "Sound of a vehicle horn"),
        ({"Bird": 0.9, "Bird vocalization, bird call, bird song": 0.8}, "Sound of a bird"),
        ({"Roaring cats (lions, tigers)": 0.4}, "Sound of roaring cats"),
        ({"Frog": 0.29}, "Sound"),
        ({"Silence": 1.0, "Inside, small room": 0.7}, "Sound"),
    ],
)
def test_tags_where_the_label_says_nothing(tags: dict[str, float], expected: str) -> None:
    assert describe(None, list(tags), list(tags.values())) == expected
    assert describe("dog barking", list(tags), list(tags.values())) == "Sound of a dog barking"


@given(st.none() | st.text(max_size=3000), st.lists(st.tuples(st.text(), st.floats(0, 1)), max_size=5))
def test_any_text_makes_one_short_line(label: str | None, tags: list[tuple[str, float]]) -> None:
    said = describe(label, [tag for tag, _ in tags], [score for _, score in tags])
    assert said.startswith("Sound") and len(said) <= 200 and said == said.strip()
    assert not any(unicodedata.category(c)[0] == "C" or c in '"\n\r\u2028\u2029<>' for c in said)
