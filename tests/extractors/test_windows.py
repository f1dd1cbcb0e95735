from __future__ import annotations

import itertools

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avlake.errors import Quarantined
from avlake.extractors.windows import bounds, trim

RULE = {"window": 48_000, "hop": 16_000, "shortest": 8_000, "shortest_partial": 16_000}  # 3 s, 1 s, 0.5 s, 1 s


@given(st.integers(0, 700_000))
def test_windows_of_any_recording(n):
    found = bounds(n, **RULE)
    assert bool(found) == (n >= 8_000)
    if found:
        assert found[0][0] == 0
        assert found[-1][1] == n  # the true end
        assert all(a[0] < b[0] and a[1] < b[1] and b[0] <= a[1] for a, b in itertools.pairwise(found))
        assert all(stop - start == 48_000 for start, stop in found[:-1])
        assert len(found) == 1 or found[-1][1] - found[-1][0] >= 16_000


@given(n=st.integers(0, 60_000), window=st.integers(1, 9_000), hop=st.integers(1, 9_000), partial=st.integers(1, 9_000))
@settings(max_examples=300)
def test_windows_of_any_rule(n, window, hop, partial):
    hop, partial = min(hop, window), min(partial, window)
    found = bounds(n, window=window, hop=hop, shortest=1, shortest_partial=partial)
    covered = np.zeros(n, bool)
    for start, stop in found:
        covered[start:stop] = True
        assert stop - start == window or stop == n
    if len(found) > 1:
        assert min(stop - start for start, stop in found) >= partial
        assert {b[0] - a[0] for a, b in itertools.pairwise(found)} == {hop}
    if n >= window:
        assert (~covered).sum() < partial  # only a rest too short for a window of its own is left out
    else:
        assert found == ([(0, n)] if n else [])


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.49, []),
        (0.5, [(0, 0.5)]),
        (2.9, [(0, 2.9)]),
        (3.0, [(0, 3)]),
        (3.2, [(0, 3), (1, 3.2)]),
        (5.0, [(0, 3), (1, 4), (2, 5)]),
        (5.5, [(0, 3), (1, 4), (2, 5), (3, 5.5)]),
    ],
)
def test_windows_by_example(seconds, expected):
    found = bounds(round(seconds * 16_000), **RULE)
    assert found == [(round(a * 16_000), round(b * 16_000)) for a, b in expected]


@pytest.mark.parametrize("top_db", [10, 20, 40])
def test_trim_equals_librosa(signals, clip_of, top_db):
    for name, samples in signals.items():
        quiet = np.random.default_rng(1).standard_normal(20_011) * 1e-4
        clip = clip_of(np.concatenate((quiet, samples, quiet[:7_777])))
        expected = librosa.effects.trim(clip.audio.samples, top_db=top_db)[1]
        assert trim(clip, top_db) == tuple(expected), name


@given(n=st.integers(1, 5_000), seed=st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_trim_of_short_clips_equals_librosa(clip_of, n, seed):
    rng = np.random.default_rng(seed)
    samples = np.where(rng.random(n) < 0.1, 0.9, 0.001) * rng.choice([-1, 1], n)
    clip = clip_of(np.append(samples, 0.5))
    assert trim(clip, 20) == tuple(librosa.effects.trim(clip.audio.samples, top_db=20)[1])


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_silence_is_quarantined(clip_of, level):
    with pytest.raises(Quarantined) as caught:
        trim(clip_of(np.full(32_000, level)), 20)
    assert caught.value.error_class == "silent"


def test_absurd_samples_are_quarantined(clip_of):
    with pytest.raises(Quarantined) as caught:
        trim(clip_of(np.linspace(0, 1e30, 32_000), subtype="FLOAT"), 20)
    assert caught.value.error_class == "out_of_range"


@pytest.mark.parametrize(("n", "expected"), [(5, [(0, 4)]), (6, [(0, 4), (4, 6)]), (8, [(0, 4), (4, 8)])])
def test_a_rest_is_a_window_from_its_shortest_length_on(n, expected):
    assert bounds(n, window=4, hop=4, shortest=1, shortest_partial=2) == expected
