"""What a segment of an episode is labelled, by whom, and whether it is kept."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from avlake.extractors.audio_tags import AudioTags
from avlake.extractors.segment_features import SegmentFeatures
from avlake.stages import relations
from avlake.stages.curate import GoldSql
from avlake.thresholds import PodcastOutrosThresholds

SPEECH, MUSIC, NEITHER = (0.95, 0.01), (0.0, 0.95), (0.1, 0.05)
HUMAN_LABELS = pa.schema(
    {
        **dict.fromkeys(("file_id", "name"), pa.string()),
        **dict.fromkeys(("start_s", "end_s"), pa.float64()),
        **dict.fromkeys(("value", "source"), pa.string()),
    }
)
ADDED = {"dataset": "podcasts", "drop_date": "2026-09-01"}


class World:
    """Episodes as silver has them, and what people say of them."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {"files": [], "segments": [], "tags": [], "labels": []}

    def episode(
        self, name: str, duration_s: float, sounds: list[tuple[float, tuple[float, float]]], silent: float = 0.0
    ) -> World:
        """`sounds`: until when it sounds like what, as scores of speech and music."""
        mine = {"file_id": name, **ADDED}
        uri = f"/landing/podcasts/2026-09-01/{name}.mp3"
        self.rows["files"].append({**mine, "path": f"{name}.mp3", "source_uri": uri, "licence": "its own"})
        edges = [*np.arange(duration_s, 0, -10)[::-1]]
        for k, (start, end) in enumerate(zip([0.0, *edges[:-1]], edges, strict=True)):
            times = {"segment_index": k, "start_s": start, "end_s": end, "is_short": end - start < 10}
            self.rows["segments"].append({**mine, **times, "silent_ratio": silent, "rms_mean": 0.1})
        for k, start in enumerate(np.arange(0, duration_s, 0.975)):
            speech, music = next(scores for until, scores in sounds if start + 0.4875 < until)
            scores = {"speech": speech, "music": music, "speech_any": speech, "music_any": music}
            last = start + 0.975 > duration_s
            self.rows["tags"].append({**mine, "window_index": k, "start_s": start, "trusted": not last, **scores})
        return self

    def say(
        self, name: str, value: str, of: str = "episode", start_s: float | None = None, end_s: float | None = None
    ) -> World:
        said = {"file_id": of, "name": name, "value": value, "start_s": start_s, "end_s": end_s, "source": "seed"}
        self.rows["labels"].append(said)
        return self

    def gold(self, **thresholds: float) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect()
        con.execute("CREATE SCHEMA silver")
        for name, schema, rows in (
            ("silver.segment_features", SegmentFeatures.table.schema, "segments"),
            ("silver.audio_tags", AudioTags.table.schema, "tags"),
            ("human_labels", HUMAN_LABELS, "labels"),
            ("files", pa.Table.from_pylist(self.rows["files"]).schema, "files"),
        ):
            arrow = pa.Table.from_pylist(self.rows[rows], schema=schema)  # noqa: F841
            con.execute(f"CREATE TABLE {name} AS FROM arrow")
        relations.show_thresholds(con, PodcastOutrosThresholds(**thresholds))
        relations.show_split(con, "podcast_outros")
        relations.show_current(con, "current_files", "files")
        GoldSql.load("podcast_segments").build(con, "podcasts", "memory")
        return con

    def labels(self) -> list[tuple[str | None, str | None]]:
        """Label and its source, in order of time."""
        return self.gold().execute("SELECT label, label_source FROM built ORDER BY segment_index").fetchall()


@pytest.fixture
def world() -> World:
    """An episode of 42 s: speech, in which music begins at second 30 and goes on alone from second 32."""
    return World().episode("episode", 42, [(30, SPEECH), (32, (0.9, 0.9)), (99, MUSIC)])


def test_without_people_the_tags_say_what_is_clear(world):
    assert world.labels() == [
        *[("dialogue", "machine")] * 3,
        ("both", "machine"),  # 22 to 32
        ("music", "machine"),
    ]


@pytest.mark.parametrize("scores", [NEITHER, (0.6, 0.3), (0.3, 0.6), (0.0, 0.0)])
def test_what_is_unclear_has_no_label(scores):
    assert World().episode("episode", 20, [(99, scores)]).labels() == [(None, None)] * 2


def test_without_tags_nothing_is_said(world):
    world.rows["tags"].clear()
    assert set(world.labels()) == {(None, None)}


def test_an_outro_labels_what_is_before_and_after_it(world):
    assert world.say("outro_start_s", "30.0").labels() == [
        *[("dialogue", "human_outro")] * 3,
        ("both", "human_outro"),  # it cuts it
        ("music", "human_outro"),
    ]


@pytest.mark.parametrize(("start_s", "cut"), [("21.8", "both"), ("22.3", "both"), ("32.2", "dialogue")])
def test_people_are_as_exact_as_half_a_second(world, start_s, cut):
    """Second 22 to 32 is music wholly, with speech over it, where it begins at most half a second late."""
    world.rows["tags"] = [
        row | ({"music": 0.0, "music_any": 0.0} if cut == "dialogue" else {}) for row in world.rows["tags"]
    ]
    assert world.say("outro_start_s", start_s).labels()[3] == (cut, "human_outro")


def test_music_under_speech_is_both():
    world = World().episode("episode", 40, [(10, SPEECH), (20, (0.95, 0.3)), (99, MUSIC)]).say("outro_start_s", "10")
    assert [label for label, _ in world.labels()] == ["dialogue", "both", "music", "music"]


def test_music_before_the_outro_is_unknown():
    """It may be a jingle: who says where the outro starts says nothing of that."""
    world = World().episode("episode", 40, [(10, (0.5, 0.5)), (30, SPEECH), (99, MUSIC)]).say("outro_start_s", "30")
    assert [label for label, _ in world.labels()] == [None, "dialogue", "dialogue", "music"]


def test_no_outro_is_all_dialogue_but_for_what_sounds_like_music():
    world = World().episode("episode", 30, [(10, (0.5, 0.5)), (99, SPEECH)]).say("outro_start_s", "none")
    assert world.labels() == [(None, None), ("dialogue", "human_outro"), ("dialogue", "human_outro")]


def test_an_intro_is_music_too():
    world = World().episode("episode", 40, [(15, MUSIC), (99, SPEECH)]).say("intro_end_s", "15")
    assert world.labels() == [
        ("music", "human_outro"),
        ("both", "human_outro"),
        *[("dialogue", "machine")] * 2,  # where the music ends says nothing of what follows
    ]
    world.say("outro_start_s", "none")
    assert world.labels()[2:] == [("dialogue", "human_outro")] * 2


def test_what_is_said_of_a_part_counts_first(world):
    world.say("outro_start_s", "30.0").say("content", "both", start_s=12, end_s=22)
    assert world.labels()[2] == ("both", "human")
    assert world.labels()[1] == ("dialogue", "human_outro")
    said = world.gold().execute("FROM built SELECT label_batch, label_outro_start_s ORDER BY segment_index").fetchall()
    assert said[1:3] == [(None, 30.0), ("seed", 30.0)]


@pytest.mark.parametrize(
    ("spans", "label"),
    [
        ([(12, 17, "music")], ("music", "human")),  # half of it
        ([(12, 16.9, "music")], ("dialogue", "machine")),
        ([(0, None, "both")], ("both", "human")),  # to the end
        ([(10, 16, "music"), (16, 30, "dialogue")], ("both", "human")),
        ([(10, 12.4, "music"), (12.4, 30, "dialogue")], ("dialogue", "human")),  # next to nothing of the one
        ([(12, 14, "music"), (20, 22, "music")], ("dialogue", "machine")),
        ([(12, 15, "music"), (19, 22, "music")], ("music", "human")),
        ([(12, 22, "applause")], ("dialogue", "machine")),  # no value of this label
    ],
)
def test_parts_need_not_be_the_segments(world, spans, label):
    """Of the segment from second 12 to 22."""
    for start_s, end_s, value in spans:
        world.say("content", value, start_s=start_s, end_s=end_s)
    assert world.labels()[2] == label


def test_words_that_are_no_time_say_nothing(world):
    for value in ("soon", "nan", "inf"):
        world.say("outro_start_s", value)
    assert {source for _, source in world.labels()} == {"machine"}


def test_why_a_segment_is_not_learned_from():
    world = World().episode("short", 12, [(99, SPEECH)]).episode("silent", 14, [(99, NEITHER)], silent=0.98)
    con = world.episode("empty", 11, [(99, NEITHER)], silent=1.0).gold()
    assert con.execute("SELECT path, segment_index, kept, reject_reason FROM built ORDER BY ALL").fetchall() == [
        ("empty.mp3", 0, False, "too_short,silent"),
        ("empty.mp3", 1, False, "silent"),
        ("short.mp3", 0, False, "too_short"),
        ("short.mp3", 1, True, None),
        ("silent.mp3", 0, False, "silent"),
        ("silent.mp3", 1, False, "silent"),
    ]
    kept = world.gold(min_segment_s=2).execute("SELECT segment_index FROM built WHERE kept AND path = 'short.mp3'")
    assert len(kept.fetchall()) == 2


def test_a_row_has_its_source_its_features_and_its_tags(world):
    row = world.gold().sql("FROM built WHERE segment_index = 4").to_arrow_table().to_pylist()[0]
    assert row["source"] == "podcasts/2026-09-01/episode.mp3"
    assert row["licence"] == "its own"
    assert row["rms_mean"] == pytest.approx(0.1)
    assert (row["tag_music_mean"], row["tag_speech_max"]) == pytest.approx((0.95, 0))
    assert set(SegmentFeatures.table.schema.names) <= set(row)


def test_a_window_counts_where_its_middle_is(world):
    """The ninth and tenth window reach into the segment at second 10."""
    world.rows["tags"][10]["music"] = 0.5  # middle at 10.24 s
    world.rows["tags"][12]["music"] = 0.6  # middle at 12.19 s
    found = world.gold().execute("SELECT tag_music_max FROM built ORDER BY segment_index").fetchall()
    assert [score for (score,) in found[:4]] == pytest.approx([0.01, 0.5, 0.6, 0.9])


def test_the_padded_window_says_nothing(world):
    world.rows["tags"][-1]["speech"] = 1.0
    assert not world.rows["tags"][-1]["trusted"]
    assert world.labels()[-1] == ("music", "machine")


def test_an_episode_is_in_one_split():
    world = World()
    for k in range(30):
        world.episode(f"episode{k}", 20, [(99, SPEECH)])
    found = world.gold().execute("SELECT path, count(DISTINCT split) FROM built GROUP BY ALL").fetchall()
    assert [splits for _, splits in found] == [1] * 30
