"""Which faces are learned from, who is on screen with whom, and how training is balanced."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avlake.extractors.face_tracks import FaceTracks
from avlake.stages import relations
from avlake.stages.curate import GoldSql
from avlake.thresholds import ActiveSpeakerThresholds

AUDIBLE, QUIET, STILL = "SPEAKING_AUDIBLE", "SPEAKING_NOT_AUDIBLE", "NOT_SPEAKING"
DROP = {"dataset": "ava", "drop_date": "2026-09-01"}


class World:
    """Videos and their tracks as silver has them, and who people say that they show."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, Any]] = {}
        self.parts: list[dict[str, Any]] = []
        self.said: list[tuple[str, str, str]] = []

    def track(
        self,
        name: str,
        times: list[float],
        labels: list[str | None] | str | None = STILL,
        video: str = "v",
        **more: Any,
    ) -> World:
        """`more`: `box`, `problems`, `source`, `part`, `path`."""
        n = len(times)
        path = more.get("path", f"videos/{video}.mp4")
        self.files[video] = {"file_id": video, **DROP, "path": path, "source_uri": f"/l/{path}", "licence": "its own"}
        row = {"file_id": video, **DROP, "track_id": name, "part": more.get("part", 0), "faces": n}
        row |= {"source": more.get("source", "annotation"), "start_s": min(times), "end_s": max(times)}
        row |= {"frame_timestamp": times, "width_px": 160, "height_px": 90, "crops": b"", "crop_bytes": [0] * n}
        row |= {"label": labels if isinstance(labels, list) else [labels] * n}
        row |= {"problem": more.get("problems", [None] * n), "log_mel": b"", "mfcc": b""}
        row |= {
            edge: [at] * n
            for edge, at in zip(("x1", "y1", "x2", "y2"), more.get("box", (0.1, 0.1, 0.5, 0.9)), strict=True)
        }
        self.parts.append(row)
        return self

    def gold(self, **thresholds: float) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect()
        con.execute("CREATE SCHEMA silver")
        silver = pa.Table.from_pylist(self.parts, schema=FaceTracks.table.schema)  # noqa: F841
        con.execute("CREATE TABLE silver.face_tracks AS FROM silver")
        files = pa.Table.from_pylist(list(self.files.values()))  # noqa: F841
        con.execute("CREATE TABLE delivered AS FROM files")
        con.execute("CREATE TABLE human_labels (file_id VARCHAR, name VARCHAR, value VARCHAR)")
        for row in self.said:
            con.execute("INSERT INTO human_labels VALUES (?, ?, ?)", row)
        relations.show_thresholds(con, ActiveSpeakerThresholds(**thresholds))
        relations.show_split(con, "active_speaker")
        relations.show_current(con, "current_files", "delivered")
        GoldSql.load("active_speaker_frames").build(con, "ava", "memory")
        return con

    def read(self, columns: str, **thresholds: float) -> list[tuple[Any, ...]]:
        query = f"SELECT {columns} FROM built ORDER BY file_id, track_id, frame_timestamp"
        return self.gold(**thresholds).execute(query).fetchall()


def every(n: int, start: float = 0.0) -> list[float]:
    return [round(start + 0.04 * k, 2) for k in range(n)]


def test_a_row_says_where_its_face_is_and_whose() -> None:
    world = World().track("v_0:1", every(2), [AUDIBLE, STILL]).track("v_0:1", every(9, 0.08), QUIET, part=1)
    world.said = [("v", "talker:v_0:1", "s1"), ("v", "talker:other", "s2"), ("w", "talker:v_0:1", "s3")]
    first, second, third, *_ = world.gold().sql("FROM built ORDER BY frame_timestamp").to_arrow_table().to_pylist()
    assert first | {"x1": 0.1, "x2": 0.5, "y1": 0.1, "y2": 0.9, "split": "its own"} == {
        **{"file_id": "v", **DROP, "path": "videos/v.mp4", "video_id": "v", "track_id": "v_0:1", "part": 0},
        **{"face_index": 0, "frame_timestamp": 0.0, "x1": 0.1, "y1": 0.1, "x2": 0.5, "y2": 0.9, "label": AUDIBLE},
        **{"label_source": "annotation", "audible": True, "subject_id": "s1", "scene": 0, "faces_on_screen": 1},
        **{"face_px": 64.0, "track_s": 0.4, "split": "its own", "kept": True, "reject_reason": None, "trains": True},
        **{"left_out_reason": None, "licence": "its own", "source": "ava/2026-09-01/videos/v.mp4"},
    }
    assert [row["x1"] for row in (first, second)] == pytest.approx([0.1, 0.1])
    assert [(r["part"], r["face_index"], r["audible"]) for r in (second, third)] == [(0, 1, False), (1, 0, False)]


@pytest.mark.parametrize("problem", ["bad_box", "outside_frame", "past_end", "no_frame"])
def test_a_face_that_cannot_be_seen_is_rejected_for_that(problem: str) -> None:
    world = World().track("a", every(10), problems=[None] * 9 + [problem])
    found = world.read("kept, reject_reason, trains, faces_on_screen")
    assert found == [(True, None, True, 1)] * 9 + [(False, problem, False, 0)]


def test_every_reason_is_told() -> None:
    world = World().track("a", [0.0, 0.16], [None, AUDIBLE], box=(0.1, 0.1, 0.15, 0.9), problems=["no_frame", None])
    assert world.read("reject_reason") == [
        ("no_frame,unknown_label,small_face,short_track",),
        ("small_face,short_track",),
    ]


def test_limits_are_inclusive() -> None:
    """0.1 of 160 px are 16 px, and from 5.08 to 5.28 s are 0.2 s, whatever floating point says."""
    world = World().track("a", [5.08, 5.28], box=(0.1, 0.1, 0.2, 0.9)).track("b", [3.0, 3.2], box=(0.3, 0.1, 0.4, 0.9))
    assert {kept for (kept,) in world.read("kept", min_face_px=16, min_track_s=0.2)} == {True}
    assert {why for (why,) in world.read("reject_reason", min_face_px=16.1, min_track_s=0.21)} == {
        "small_face,short_track"
    }


def test_a_track_is_as_long_as_its_faces_that_can_be_seen() -> None:
    world = World().track("a", [0.0, 0.04, 9e9], problems=[None, None, "past_end"]).track("b", every(9, 5.0))
    assert set(world.read("track_id, track_s, scene")) == {("a", 0.04, 0), ("b", 0.32, 1)}


def test_faces_nobody_labelled_are_measured_and_not_learned_from() -> None:
    world = World().track("face_0001", every(9), None, source="detector")
    assert set(world.read("label, label_source, audible, kept, reject_reason")) == {
        (None, None, None, False, "unlabelled")
    }


def test_numbers_too_large_for_a_box_cost_no_more_than_it() -> None:
    world = World().track("a", every(9), box=(float("-inf"), 0.1, float("inf"), 0.9), problems=["outside_frame"] * 9)
    assert set(world.read("x1, y2 > 0, face_px, reject_reason")) == {(None, True, None, "outside_frame")}


def test_tracks_of_a_video_that_meet_in_time_are_one_scene() -> None:
    world = World().track("a", every(10)).track("b", every(10, 0.2)).track("c", every(10, 0.56))  # a and c by way of b
    world.track("d", every(10, 0.96)).track("e", every(10, 1.32))  # e begins as d ends
    world.track("a", every(10), video="w")
    assert set(world.read("file_id, track_id, scene")) == {
        *(("v", name, 0) for name in "abc"),
        *(("v", name, 1) for name in "de"),
        ("w", "a", 0),
    }


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), min_size=1, max_size=14))
def test_scenes_are_the_connected_components(spans: list[tuple[int, int]]) -> None:
    world = World()
    for k, (start, length) in enumerate(spans):
        world.track(f"t{k:02}", sorted({start / 10, (start + length) / 10}))
    scene = {int(name[1:]): number for name, number in world.read("track_id, scene")}
    component = list(range(len(spans)))
    for _ in spans:
        for i, (a, n) in enumerate(spans):
            for j, (b, m) in enumerate(spans):
                if a <= b + m and b <= a + n:
                    component[i] = component[j] = min(component[i], component[j])
    pairs = [(i, j) for i in range(len(spans)) for j in range(len(spans))]
    assert all((scene[i] == scene[j]) == (component[i] == component[j]) for i, j in pairs)
    assert all(scene[i] <= scene[j] for i, j in pairs if spans[i][0] < spans[j][0])
    assert set(scene.values()) == set(range(len(set(component))))


def test_faces_on_screen_are_those_of_the_same_moment_in_the_video() -> None:
    world = (
        World().track("a", [0.0, 1.0]).track("b", [0.0, 0.5], problems=[None, "bad_box"]).track("a", [0.0], video="w")
    )
    assert world.read("faces_on_screen") == [(2,), (1,), (2,), (0,), (1,)]


@pytest.fixture
def unbalanced() -> World:
    """In every video 20 faces that are heard, 20 of them that are not, and ten silent tracks of 10 faces."""
    world = World()
    for v in range(12):
        world.track("voice", every(40), [AUDIBLE] * 20 + [QUIET] * 20, video=f"v{v}")
        for k in range(10):
            world.track(f"still{k}", every(10, 10.0 * k), video=f"v{v}")
    return world


def test_without_a_limit_everything_trains(unbalanced: World) -> None:
    assert set(unbalanced.read("kept, trains, left_out_reason")) == {(True, True, None)}


@pytest.mark.parametrize("most", [0.5, 1.0, 2.25, 6.0])
def test_whole_silent_tracks_are_left_out_until_the_split_is_balanced(unbalanced: World, most: float) -> None:
    con = unbalanced.gold(max_negatives=most)
    rows = con.execute("""SELECT split, count(*) FILTER (audible), count(*) FILTER (NOT audible),
        count(*) FILTER (audible AND trains), count(*) FILTER (NOT audible AND trains)
        FROM built GROUP BY 1""").fetchall()
    assert len(rows) > 1
    for _, audible, others, training_audible, training_others in rows:
        assert training_audible == audible
        unavoidable = audible  # as many, in tracks that are heard
        assert max(most * audible, unavoidable) - 10 < training_others or training_others == others
        assert training_others <= max(most * audible, unavoidable)
    assert con.execute("SELECT DISTINCT kept, reject_reason FROM built").fetchall() == [(True, None)]
    assert set(con.execute("SELECT trains, left_out_reason FROM built").fetchall()) <= {
        (True, None),
        (False, "class_balance"),
    }
    halves = "SELECT 1 FROM built GROUP BY file_id, track_id HAVING count(DISTINCT trains) > 1"
    assert not con.execute(halves).fetchall()
    assert set(con.execute("SELECT track_id LIKE 'still%' FROM built WHERE NOT trains").fetchall()) <= {(True,)}


def test_what_is_left_out_does_not_depend_on_the_order_of_arrival(unbalanced: World) -> None:
    found = unbalanced.read("file_id, track_id, trains", max_negatives=2)
    unbalanced.parts.reverse()
    assert unbalanced.read("file_id, track_id, trains", max_negatives=2) == found


def test_rejected_faces_neither_count_nor_train() -> None:
    """The voice is too short a track to be learned from: nothing balances the silence."""
    world = World().track("voice", [0.0, 0.04], AUDIBLE).track("still", every(10))
    assert set(world.read("track_id, kept, trains, left_out_reason", max_negatives=3)) == {
        ("voice", False, False, None),
        ("still", True, False, "class_balance"),
    }


def test_copies_of_a_video_are_in_one_split_and_both_there() -> None:
    world = World()
    for k in range(12):
        world.track("a", every(9), video=f"one{k}", path=f"videos/film.{k}.mp4")
        world.track("a", every(9), video=f"two{k}", path=f"more/film.{k}.mkv")
    found = world.read("video_id, file_id, split")
    splits: dict[str, set[str]] = {}
    for video_id, _, split in found:
        splits.setdefault(video_id, set()).add(split)
    assert len(splits) == 12 and {len(s) for s in splits.values()} == {1}
    assert len({file_id for _, file_id, _ in found}) == 24


def test_an_older_delivery_of_a_video_does_not_count() -> None:
    world = World().track("a", every(9))
    world.parts.append({**world.parts[0], "drop_date": "2026-08-01"})
    assert len(world.read("track_id")) == 9


def test_another_dataset_is_not_looked_at() -> None:
    world = World().track("a", every(9)).track("a", every(9), video="w")
    world.files["w"]["dataset"] = world.parts[1]["dataset"] = "voxceleb"
    assert set(world.read("file_id")) == {("v",)}
