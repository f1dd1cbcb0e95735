"""The learner of podcast outros: what it learns from, what it is judged on, what it leaves and says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from outro_world import FEATURES, episode, world

from avlake.errors import Quarantined, WorkError
from avlake.extractors.audio_tags import AudioTags
from avlake.learn.base import Measured, Trained, silent
from avlake.learn.boundaries import find
from avlake.learn.metrics import wilson
from avlake.learn.outro_model import said
from avlake.learn.outros import LEARNER
from avlake.learn.segments import TAGS, read_all, read_segments, segment_tags
from avlake.learn.trial import hold_out, learnable
from avlake.tables import PODCAST_OUTROS

QUICK = replace(LEARNER, candidates=1)
MEASURED = {name: Measured(name, {}, "0") for name in LEARNER.extractors}


def having(*numbers: int, **more: str) -> list[dict[str, object]]:
    return [episode(n, outro_s=40 + n / 2, **more) for n in numbers]


def without(*numbers: int, **more: str) -> list[dict[str, object]]:
    return [episode(n, outro_s=None, **more) for n in numbers]


@pytest.fixture(scope="module")
def labelled() -> Iterator[duckdb.DuckDBPyConnection]:
    """Eight episodes that people labelled, one with an outro that nobody did, one with an outro of machines alone."""
    machine = [episode(11, outro_s=41.0, source="machine")]
    with world(*having(0, 1, 2, 3, 4, 5), *without(6, 7), episode(10, outro_s=33.0, source=None), *machine) as con:
        yield con


@pytest.fixture(scope="module")
def trained(labelled: duckdb.DuckDBPyConnection) -> Trained:
    return QUICK.train(labelled, MEASURED, silent)


def test_figures_are_of_episodes_that_people_labelled(trained: Trained) -> None:
    at = {(s.model, s.metric): s for s in trained.scores}
    f1 = at["vote", "segment_macro_f1"]
    assert f1.n == 8 * 7 and f1.value > 0.9
    assert f1.ci_low is not None and f1.ci_low <= f1.value
    assert at["vote", "outro_within_2_s"].value == 1 and at["vote", "outro_within_2_s"].n == 6
    assert at["vote", "outro_invented"].value == 0 and at["vote", "outro_invented"].n == 2
    assert at["always_the_majority", "segment_macro_f1"].value < 0.5
    for part in ("random_forest", "gradient_boosting"):
        gap = at[f"vote_minus_{part}", "segment_macro_f1"]
        assert gap.value == pytest.approx(f1.value - at[part, "segment_macro_f1"].value)
        assert gap.ci_low is not None and gap.ci_high is not None and gap.ci_low <= gap.value <= gap.ci_high


def test_every_episode_has_a_row_in_gold(trained: Trained) -> None:
    assert trained.found is not None and trained.found.schema == PODCAST_OUTROS.schema
    rows = {row["path"]: row for row in trained.found.to_pylist()}
    assert len(rows) == 10
    assert abs(rows["10.mp3"]["outro_start_s"] - 33.0) < 1 and rows["10.mp3"]["label_has_outro"] is None
    assert rows["06.mp3"]["outro_start_s"] is None and rows["06.mp3"]["label_has_outro"] is False
    assert rows["06.mp3"]["reject_reason"] == "no_outro" and not rows["06.mp3"]["kept"]
    assert rows["00.mp3"]["kept"] and rows["00.mp3"]["duration_s"] == 63


def test_what_is_left_agrees_with_itself(trained: Trained) -> None:
    table = pq.read_table(io.BytesIO(trained.files["predictions.parquet"]))
    rows = table.to_pylist()
    assert len(rows) == 10 * 7
    assert {row["path"] for row in rows if row["held_out"]} == {f"0{n}.mp3" for n in range(8)}
    for row in rows:
        shares = {kind: row[f"p_{kind}"] for kind in ("music", "dialogue", "both")}
        assert sum(shares.values()) == pytest.approx(1)
        assert row["vote"] == pytest.approx((row["random_forest"] + 2 * row["gradient_boosting"]) / 3)
        assert row["vote"] == pytest.approx(shares["music"] + shares["both"])
        assert row["probability"] == pytest.approx(shares[row["predicted"]])
        assert (row["predicted"] == "dialogue") == (row["vote"] < 0.5)
        assert (row["y"] is None) == (row["label"] is None)
    outros = {one["path"]: one for one in json.loads(trained.files["outros.json"])}
    assert outros["10.mp3"]["result"] == "unlabelled" and outros["00.mp3"]["result"] == "right"
    found = {row["path"]: row["outro_start_s"] for row in (trained.found.to_pylist() if trained.found else [])}
    assert {path: one["outro_start_s"] for path, one in outros.items()} == found
    verdict = json.loads(trained.files["verdict.json"])
    assert verdict["verified"] and verdict["words"][0].startswith("macro-F1 ")
    assert "6 of 6" in verdict["words"][1] and "none invented in 2" in verdict["words"][1]
    assert json.loads(trained.files["features.json"])["counts"]["seeded"] is False


def test_a_model_that_was_saved_says_the_same(labelled: duckdb.DuckDBPyConnection, trained: Trained) -> None:
    model = QUICK.load(trained.files)
    segments, _ = read_all(labelled, QUICK.table)
    music = model.judge(segments).music["vote"]
    table = pq.read_table(io.BytesIO(trained.files["predictions.parquet"])).to_pylist()
    not_held_out = [i for i, row in enumerate(table) if not row["held_out"]]
    assert music[not_held_out] == pytest.approx([table[i]["vote"] for i in not_held_out])
    measured = labelled.execute("SELECT * FROM silver.audio_tags WHERE file_id = 'id10'").to_arrow_table()
    rows = labelled.execute("SELECT * FROM gold.podcast_segments WHERE file_id = 'id10'").to_arrow_table()
    answer = model.answer(
        {
            "audio_tags": measured.combine_chunks().to_batches()[0],
            "segment_features": rows.select(["segment_index", "start_s", "end_s", *FEATURES]).to_batches()[0],
        }
    )
    (row,) = [row for row in (trained.found.to_pylist() if trained.found else []) if row["path"] == "10.mp3"]
    assert answer == {name: row[name] for name in QUICK.answers}


def test_a_file_without_a_window_is_not_judged(labelled: duckdb.DuckDBPyConnection, trained: Trained) -> None:
    rows = labelled.execute("SELECT * FROM gold.podcast_segments LIMIT 1").to_arrow_table().to_batches()[0]
    empty = AudioTags.table.schema.empty_table().to_batches() or [
        labelled.execute("SELECT * FROM silver.audio_tags LIMIT 1").to_arrow_table().to_batches()[0].slice(0, 0)
    ]
    with pytest.raises(Quarantined, match="no window"):
        QUICK.load(trained.files).answer({"audio_tags": empty[0], "segment_features": rows})


def test_evaluate_tells_episodes_it_knows_from_others(labelled: duckdb.DuckDBPyConnection, trained: Trained) -> None:
    model = QUICK.load(trained.files)
    assert {s.split for s in model.score(labelled, "podcasts", None)} == {"podcasts/all drops, seen episodes"}
    with world(*having(20, 21, drop="2026-09-02"), *without(22, drop="2026-09-02")) as con:
        scores = {s.metric: s for s in model.score(con, "podcasts", "2026-09-02")}
        assert {s.split for s in scores.values()} == {"podcasts/2026-09-02, unseen episodes"}
        assert scores["outro_within_2_s"].n == 2 and scores["segment_macro_f1"].n == 3 * 7
        (drift,) = model.drift(con)
        assert drift.new_groups == 3 and "speakers" not in drift.why
    with world(*having(30, source="machine")) as con, pytest.raises(WorkError, match="labels import"):
        model.score(con, "podcasts", None)


def test_without_people_there_is_a_model_and_no_figure() -> None:
    with world(*having(0, 1, 2, source="machine"), *without(3, source="machine")) as con:
        found = QUICK.train(con, MEASURED, silent)
    assert [(s.metric, s.value) for s in found.scores] == [("unverified", 1.0)]
    words = json.loads(found.files["verdict.json"])["words"]
    assert words[0].startswith("unverified") and "3 of 4 episodes" in words[1]
    assert "random_forest.skops" in found.files


@pytest.mark.parametrize("outro", [False, True])
def test_with_one_class_or_one_episode_outros_are_found_all_the_same(outro: bool) -> None:
    episodes = having(0, source="machine") if outro else without(0, 1, source="machine")
    with world(*episodes) as con:
        found = QUICK.train(con, MEASURED, silent)
        model = QUICK.load(found.files)
        segments, _ = read_all(con, QUICK.table)
    assert found.found is not None and [row["kept"] for row in found.found.to_pylist()] == [outro] * len(episodes)
    assert np.isfinite(model.judge(segments).kinds).all()


def test_machine_labels_seed_only_until_people_have_labelled_enough() -> None:
    few = world(*having(0, 1, 2, 3, 4), episode(9, outro_s=30.0, source="machine"))
    segments = read_segments(few, QUICK.table)
    rows, seeded = learnable(segments)
    assert not seeded and not rows[segments.source == "machine"].any()  # five episodes have dialogue, five have music
    fewer = read_segments(world(*having(0, 1), episode(9, outro_s=30.0, source="machine")), QUICK.table)
    rows, seeded = learnable(fewer)
    assert seeded and rows.all()
    assert hold_out(fewer, rows, silent, candidates=1, seed=0).judged is None


def test_no_machine_label_and_no_episode_seen_is_in_a_test_set() -> None:
    with world(*having(0, 1, 2), without(3)[0], episode(9, outro_s=30.0, source="machine")) as con:
        segments = read_segments(con, QUICK.table)
    trial = hold_out(segments, learnable(segments)[0], silent, candidates=1, seed=0)
    assert set(segments.source[trial.rows]) == {"human_outro"}
    paths = segments.path[trial.rows]
    assert len(paths) == 4 * 7
    for path in np.unique(paths):
        assert len(set(trial.fold[paths == path].tolist())) == 1


def test_tags_of_segments_are_those_of_gold(labelled: duckdb.DuckDBPyConnection) -> None:
    segments, tags = read_all(labelled, QUICK.table)
    for file_id, one in tags.items():
        rows = segments.file_id == file_id
        assert one is not None
        found = segment_tags(one, segments.start_s[rows])
        for name in TAGS:
            assert found[name] == pytest.approx(segments.columns([name])[rows, 0])


@pytest.mark.parametrize("outro_s", [40.0, None])
def test_the_confidence_is_less_where_the_vote_hears_otherwise(outro_s: float | None) -> None:
    with world(episode(0, outro_s=outro_s)) as con:
        segments, tags = read_all(con, QUICK.table)
    (heard,) = tags.values()
    assert heard is not None
    hears_music = (segments.y == 1).astype(float)
    agreed, doubted = (said(heard, segments, music) for music in (hears_music, 1 - hears_music))
    assert doubted.outro_start_s == agreed.outro_start_s
    assert doubted.confidence < agreed.confidence == find(heard.heard).confidence


@pytest.mark.parametrize("lost", ["features.json", "reference.npz", "random_forest.skops"])
def test_a_folder_that_lacks_a_file_says_so(trained: Trained, lost: str) -> None:
    with pytest.raises(WorkError, match="train again"):
        QUICK.load({name: data for name, data in trained.files.items() if name != lost})


def test_wilson_is_the_interval_of_the_literature() -> None:
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=2e-3)  # Newcombe 1998
    assert wilson(0, 4)[0] == 0 and wilson(16, 16)[1] == 1
