"""Exploration finds what was put there, says so in figures, and looks at no more than it may."""

from __future__ import annotations

import io
import re
from typing import Any

import duckdb
import numpy as np
import pytest
from PIL import Image

from avlake.learn import explore, explore_plots
from avlake.learn.exploration import Exploration

SIZES = (48, 30, 18)  # of three kinds of sound
EPISODES = 8


def segments(seed: int = 0, apart: float = 12.0, **columns: Any) -> duckdb.DuckDBPyConnection:
    """gold.segments: three kinds of sound in every episode, 8 features of which 4 repeat the others; tags tell all."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.arange(3), SIZES)
    n = len(kind)
    own = rng.normal(size=(n, 4)) + apart * np.eye(4)[kind]
    values = {f"f_{i}": column for i, column in enumerate(np.column_stack([own, own]).T.astype("f4"))}
    values |= {
        "f_still": np.full(n, 3, "f4"),
        "tag_music_mean": kind.astype("f4"),
        "file_id": np.array([f"{i % EPISODES:032x}" for i in range(n)]),
        "segment_index": np.arange(n) // EPISODES,
        "start_s": np.arange(n) * 10.0,
        "kept": np.ones(n, bool),
        "label": np.array(["dialogue", "music", "both"])[kind],
        "label_source": np.array(["human"] * n),
    }
    con = duckdb.connect()
    made = duckdb.from_arrow(_arrow(values | columns), connection=con)
    con.execute("CREATE SCHEMA gold")
    made.create("gold.segments")
    return con


def _arrow(values: dict[str, Any]) -> Any:
    import pyarrow as pa

    return pa.table({name: pa.array(value) for name, value in values.items()})


@pytest.fixture(scope="module")
def found() -> Exploration:
    made = explore.explore(segments(), "gold.segments")
    assert made is not None
    return made


def test_it_finds_the_kinds_that_are_there(found):
    assert found.k == 3 and dict(found.silhouettes)[3] > 0.5
    assert np.bincount(found.cluster)[1:].tolist() == list(SIZES)  # the largest is the first
    assert found.agreement(by_people=True) == (1.0, sum(SIZES))
    assert found.agreement(by_people=False) is None
    assert abs(found.agreement_with_episodes()) < 0.1
    ward, median = found.trees
    assert ward.sizes == SIZES and ward.agreement == 1.0
    assert sum(median.sizes) == sum(SIZES) and median.cophenetic > 0.5
    assert any(one.clusters == 3 and one.noise < 0.2 for one in found.swept)
    assert found.alike_nearby(np.array(found.cluster)) > 0.95


def test_features_that_repeat_each_other_need_few_components(found):
    assert explore_plots.components(found, 1.0) == 4 and len(found.explained) == 8
    assert found.constant == ("f_still",)
    assert not any(name.startswith("tag_") for name in found.clusters.features)


def test_the_same_table_gives_the_same_and_keeps(found):
    again = explore.explore(segments(), "gold.segments")
    assert again == found == Exploration.from_json(found.to_json())


def test_a_cluster_can_be_told_of_any_segment(found):
    con = segments(seed=1)
    con.execute("UPDATE gold.segments SET f_1 = NULL WHERE segment_index = 0")
    told = explore.assign(con, "gold.segments", found.clusters).to_pandas()
    assert told["cluster"].isna().sum() == told["distance"].isna().sum() == EPISODES
    label = con.sql("SELECT label FROM gold.segments ORDER BY file_id, segment_index").fetchall()
    assert len({(one, cluster) for (one,), cluster in zip(label, told["cluster"], strict=True) if cluster > 0}) == 3
    again = explore.explore(con, "gold.segments")
    assert again is not None and (again.incomplete, len(again.cluster)) == (EPISODES, sum(SIZES) - EPISODES)


def test_no_more_than_so_many_in_whole_episodes(monkeypatch):
    monkeypatch.setattr(explore, "MOST_SEGMENTS", 40)
    some = explore.explore(segments(), "gold.segments", without=[f"{0:032x}"])
    assert some is not None and len(some.cluster) == 36  # three episodes of twelve
    assert (some.episodes_seen, some.episodes, some.segments) == (3, EPISODES - 1, sum(SIZES) - 12)


def test_too_little_is_not_explored():
    con = segments()
    con.execute("UPDATE gold.segments SET kept = segment_index = 0")
    assert explore.explore(con, "gold.segments") is None
    n = sum(SIZES)
    same = segments(**{f"f_{i}": np.zeros(n, "f4") for i in range(8)})
    assert explore.explore(same, "gold.segments") is None


def test_pictures_say_in_words_what_they_show(found):
    drawn = explore_plots.shown(found)
    for _, name, png, _ in drawn:
        picture = Image.open(io.BytesIO(png))
        assert picture.width == 1080 and picture.convert("L").getextrema() != (255, 255), name
    words = {title: " ".join(said) for title, _, _, said in drawn}
    text = " ".join(words.values())
    assert "of 8 components explain 90 % of the variance" in text
    assert f"highest at k = 3 ({dict(found.silhouettes)[3]:.2f}): reasonable structure" in text
    assert "1.00 with people's labels (96 segments)" in text and "they are not episodes" in text
    assert "The same everywhere, and so left out: f_still." in text
    assert "Ward, cut into 3: 48, 30 and 18 segments" in text
    shares = [float(share) for share in re.findall(r"(\d+)% \(by chance", words["The map"])]
    assert len(shares) == 3 and shares[0] > 95 > shares[1]


def test_words_do_not_claim_structure_where_there_is_none():
    none = explore.explore(segments(apart=0.0, label_source=np.array(["machine"] * sum(SIZES))), "gold.segments")
    assert none is not None
    text = " ".join(explore_plots.silhouette_in_words(none) + explore_plots.dbscan_in_words(none))
    assert (
        "strong" not in text
        and "reasonable" not in text
        and "with people's labels" not in text
        and "with labels by the tags" in text
    )
