"""The learner of talking_heads reads its task from the tables, compares, and says in words what it found or why not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pytest

from avlake.errors import WorkError
from avlake.learn import proxy
from avlake.learn.base import Measured, Trained, silent
from avlake.learn.curation import LEARNER
from avlake.learn.impact import HELPS, NOTHING, Clips, Design
from worlds import World, noise, tables

MEASURED = {"speaker_features": Measured("speaker_features", {}, "0")}
QUICK = replace(LEARNER, design=Design(seeds=3, draws=4, replicates=200))


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def fill(con: duckdb.DuckDBPyConnection, clips: Clips, **how: float) -> None:
    for name, table in tables(clips, **how).items():
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {name.split('.')[0]}")
        con.register("incoming", table)
        con.execute(f"CREATE OR REPLACE TABLE {name} AS FROM incoming")
        con.unregister("incoming")


def prove(con: duckdb.DuckDBPyConnection, learner: Any = QUICK) -> tuple[Trained, dict[str, Any]]:
    trained = learner.train(con, MEASURED, silent)
    return trained, json.loads(trained.files["verdict.json"])


def verdict(found: dict[str, Any], model: str, comparison: str) -> str:
    """In accuracy, on all held-out clips."""
    chosen = next(m for m in found["models"] if m["model"] == model)["verdicts"]
    wanted = ("test", comparison, "accuracy")
    return next(v["verdict"] for v in chosen if (v["split"], v["comparison"], v["metric"]) == wanted)


def test_a_gain_is_told_in_words_files_and_scores(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, World(videos=12).draw(0, noise), spread=0.01)
    trained, found = prove(con)
    assert trained.model == "mfcc_svc"
    for model in ("mfcc_svc", "embedding_svc"):
        for comparison in ("kept_minus_all", "kept_minus_random"):
            assert verdict(found, model, comparison) == HELPS
    assert found["trainable"] and not found["reason"]
    assert "learning from what was kept beats learning from all clips" in found["words"][0]
    assert found["words"][0] in trained.files["card.md"].decode()
    by_key = {(s.model, s.split, s.metric): s for s in trained.scores}
    assert len(by_key) == len(trained.scores)
    assert {(model, split) for model, split, _ in by_key} == {
        (model, split) for model in ("mfcc_svc", "embedding_svc") for split in ("test", "test_kept", "naive_random")
    }
    for score in trained.scores:
        if score.split == "naive_random":
            assert score.ci_low is None and score.ci_high is None
        else:
            assert score.ci_low is not None and score.ci_high is not None
            assert score.ci_low <= score.value <= score.ci_high
    gap = by_key["mfcc_svc", "test", "accuracy_kept_minus_all"]
    arms = [by_key["mfcc_svc", "test", f"accuracy_{arm}"].value for arm in ("kept", "all")]
    assert gap.value == pytest.approx(arms[0] - arms[1])
    assert by_key["mfcc_svc", "test_kept", "accuracy_kept"].n < gap.n


def test_counts_say_who_is_compared(con: duckdb.DuckDBPyConnection) -> None:
    clips = World().draw(1)
    lost = np.isin(clips.y, [0, 1])  # of two speakers nothing is kept
    fill(con, replace(clips, kept=clips.kept & ~lost))
    con.execute("UPDATE gold.talking_heads SET video_id = NULL WHERE subject_id = 's2'")
    _, found = prove(con)
    counts = found["counts"]
    assert (counts["clips"], counts["heard_clips"]) == (192, 168)
    assert (counts["lacking_speakers"], counts["compared_speakers"], counts["compared_videos"]) == (2, 5, 30)
    assert counts["compared_clips"] == 120
    assert any("Of 2 speakers too little was kept" in sentence for sentence in found["words"])
    for row in found["models"][0]["seeds"]:
        assert row["tested_clips"] + row["learned_clips"]["all"] == 120


def test_nobody_with_two_videos_is_said_and_not_failed(con: duckdb.DuckDBPyConnection) -> None:
    clips = World().draw(2)
    first = np.unique(clips.y, return_index=True)[1]
    kept = np.zeros(len(clips.y), dtype=bool)
    kept[first] = True
    fill(con, replace(clips, kept=kept))
    trained, found = prove(con)
    assert trained.model == "none"
    assert not found["trainable"] and found["models"] == []
    assert found["words"][0].startswith(
        "Of 192 clips 8 are kept, and speaker identification cannot be trained on what was kept: 8 speakers in 8 clips "
        "of 8 source videos: none has 2 source videos"
    )
    assert [(s.metric, s.value, s.n) for s in trained.scores] == [("trainable", 0.0, 8)]
    assert found["reason"] in trained.files["card.md"].decode()


@pytest.mark.parametrize("kept", [0.0, 1.1])
def test_nothing_kept_or_hardly_a_video_gives_no_verdict(con: duckdb.DuckDBPyConnection, kept: float) -> None:
    fill(con, World(speakers=2, videos=3, share=kept).draw(3))
    trained, found = prove(con)
    assert trained.model == "none"
    expected = "only 6 source videos" if kept else "0 speakers in 0 clips"
    assert expected in found["reason"]


def test_clips_measured_elsewhere_have_no_voice_to_learn_from(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, World().draw(4))
    con.execute("DROP TABLE silver.speaker_features")
    trained, found = prove(con)
    assert trained.model == "none"
    assert found["counts"]["heard_clips"] == 0
    assert "cannot be trained on what was kept: 0 speakers in 0 clips" in found["reason"]


def test_knowing_the_rooms_is_a_gain_in_the_naive_comparison_alone(con: duckdb.DuckDBPyConnection) -> None:
    # Of every speaker three videos of many clips are kept, and twenty of one clip are not: rooms can be learned by
    # heart from the former only.
    rooms = World(voice=0.0, room=6.0)
    single, many = replace(rooms, videos=20, clips=1, share=0.0).draw(5), replace(rooms, clips=10, videos=3).draw(6)
    voices = np.random.default_rng(7).normal(size=(8, 13))
    y = np.concatenate([single.y, many.y])
    X = np.concatenate([single.X, many.X]) + voices[y]
    kept = np.concatenate([single.kept, np.ones(len(many.y), dtype=bool)])
    fill(con, Clips(X, y, np.concatenate([single.video, many.video + 160]), kept))
    trained, found = prove(con)
    scores = {(s.model, s.split, s.metric): s for s in trained.scores}
    assert scores["mfcc_svc", "naive_random", "accuracy_kept_minus_all"].value > 0.3
    assert scores["mfcc_svc", "naive_random", "accuracy_kept"].value > 0.95
    assert scores["mfcc_svc", "test", "accuracy_kept"].value < 0.4
    assert verdict(found, "mfcc_svc", "kept_minus_all") != HELPS
    assert any(sentence.startswith("Not comparable") for sentence in found["words"])


def test_near_duplicates_in_two_videos_are_one_video(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, World(videos=4).draw(8))
    con.execute("UPDATE gold.talking_heads SET split_group = 's0/both' WHERE video_id IN ('v0', 'v1')")
    heard = proxy.heard(con)
    assert len(np.unique(heard.video)) == 31
    _, found = prove(con)
    assert found["counts"]["compared_videos"] == 31


def test_a_large_table_is_cut_to_whole_speakers_and_their_first_clips(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, World(speakers=10).draw(9))
    learner = replace(QUICK, max_clips=60, clips_per_speaker=12)
    trained, found = prove(con, learner)
    assert found["counts"]["compared_speakers"] == 5
    assert found["counts"]["compared_clips"] == 60
    assert any("5 speakers, chosen at random, are left out" in sentence for sentence in found["words"])
    again, _ = prove(con, learner)
    assert again == trained


def test_what_a_clip_lacks_is_filled_in_and_silent_clips_are_left_out(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, World().draw(10), spread=1.0)
    con.execute("UPDATE silver.speaker_features SET f0_hz_median = NULL WHERE mfcc_1_mean > 0")
    first = "(SELECT min(file_id) FROM gold.talking_heads)"
    con.execute(f"UPDATE silver.speaker_features SET mfcc_1_mean = NULL WHERE file_id = {first}")
    trained, found = prove(con)
    assert found["counts"]["heard_clips"] == 191
    assert all(np.isfinite(s.value) for s in trained.scores)


def test_features_belong_to_their_clips(con: duckdb.DuckDBPyConnection) -> None:
    clips = World().draw(11)
    fill(con, clips)
    task = proxy.task(con, proxy.heard(con), ["mfcc_2_mean", "mfcc_1_mean"])
    order = np.argsort(con.execute("SELECT file_id FROM gold.talking_heads").fetchnumpy()["file_id"].astype(str))
    assert np.allclose(task.X, clips.X[order][:, [1, 0]], atol=1e-6)
    assert np.array_equal(task.y, clips.y[order])
    assert np.array_equal(task.kept, clips.kept[order])


def test_a_random_choice_reads_as_no_effect(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, World(videos=12).draw(12))
    _, found = prove(con)
    assert verdict(found, "mfcc_svc", "kept_minus_random") == NOTHING
    assert "no effect shown of which clips were kept" in found["words"][0]


def test_there_is_no_model_to_load() -> None:
    with pytest.raises(WorkError, match=r"verdict\.json"):
        LEARNER.load({})
