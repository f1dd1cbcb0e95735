"""What people are asked to label next and to check: which segments, what they get to hear, and what comes back."""

from __future__ import annotations

import csv
import json
import wave
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from episodes import (
    MUSIC_FROM,
    PATHS,
    PIPELINE,
    RUN,
    SEGMENT_S,
    SEGMENTS,
    TABLE,
    make_lake,
    put_gold,
    put_model,
    tone_hz,
)

from avlake.cli.labels import labels_next
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.learn.metrics import wilson
from avlake.settings import Settings
from avlake.stages.audits import audit_result
from avlake.stages.batch_files import Chosen
from avlake.stages.batches import audit_batch, choose_next, draw_audit, next_batch
from avlake.stages.export import export
from avlake.stages.labelling import import_file


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Nothing is labelled; a model has judged everything."""
    settings = make_lake(tmp_path_factory.mktemp("batches"))
    put_model(settings)
    return settings


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """The same, for a test that changes it."""
    settings = make_lake(tmp_path / "own")
    put_model(settings)
    return settings


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "batch.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fill(folder: Path, value: str | dict[str, str]) -> Path:
    """The batch as a person returns it: one value for all, or by the file to listen to (others stay empty)."""
    rows = rows_of(folder)
    with (folder / "filled.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"value": value if isinstance(value, str) else value.get(row["listen"], "")})
    return folder / "filled.csv"


def heard_hz(wav: Path) -> tuple[float, float]:
    """The strongest tone of a WAV, and its length in seconds."""
    with wave.open(str(wav)) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 16_000)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    strongest = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax()
    return float(strongest * 16_000 / len(samples)), len(samples) / 16_000


def test_a_batch_plays_what_its_rows_ask_about(shared, tmp_path):
    batch = next_batch(shared, pipeline=PIPELINE, to=str(tmp_path / "batch"), count=10)
    rows = rows_of(tmp_path / "batch")
    head, *lines = (tmp_path / "batch" / "batch.m3u8").read_text(encoding="utf-8").splitlines()
    assert head == "#EXTM3U" and [line for line in lines if line[0] != "#"] == [row["listen"] for row in rows]
    assert len(rows) == len(batch.chosen) == 10 == len(list((tmp_path / "batch" / "media").iterdir()))
    for row, one in zip(rows, batch.chosen, strict=True):
        assert row["item"].removeprefix("podcasts/") == one.path
        assert (float(row["start_s"]), float(row["end_s"])) == (one.start_s, one.end_s)
        assert (row["name"], row["value"], row["source"]) == ("content", "", batch.name)
        hz, length_s = heard_hz(tmp_path / "batch" / row["listen"])
        assert abs(hz - tone_hz(one.path, one.segment_index)) < 2 and abs(length_s - SEGMENT_S) < 0.01


def test_what_the_model_hesitates_over_comes_first_and_all_is_covered(shared, tmp_path):
    batch = next_batch(shared, pipeline=PIPELINE, to=str(tmp_path / "batch"), count=12)
    assert sum(one.margin is not None and one.margin < 0.2 for one in batch.chosen) >= 6
    assert {one.path for one in batch.chosen} == set(PATHS)
    assert {one.segment_index >= MUSIC_FROM for one in batch.chosen} == {True, False}
    again = next_batch(shared, pipeline=PIPELINE, to=str(tmp_path / "again"), count=12)
    assert again.chosen == batch.chosen and again.name == batch.name


def test_without_a_model_regions_and_episodes_are_covered(tmp_path):
    settings = make_lake(tmp_path / "own")
    batch = next_batch(settings, pipeline=PIPELINE, to=str(tmp_path / "batch"), count=8, form="json")
    assert batch.run_id is None and len({one.cluster for one in batch.chosen}) == 8
    assert {one.path for one in batch.chosen} == set(PATHS)
    rows = json.loads((tmp_path / "batch" / "batch.json").read_text(encoding="utf-8"))
    assert [row["item"].removeprefix("podcasts/") for row in rows] == [one.path for one in batch.chosen]
    assert all(row["value"] is None and row["predicted"] is None and row["machine_label"] for row in rows)
    filled = tmp_path / "filled.json"
    filled.write_text(json.dumps([row | {"value": "both"} if i % 2 else row for i, row in enumerate(rows)]))
    done = import_file(settings, file=str(filled), who="ann")
    assert (done.added, done.empty, done.no_file) == (4, 4, 0)


def test_a_filled_batch_is_imported_as_it_is_and_not_asked_again(own, tmp_path):
    first = next_batch(own, pipeline=PIPELINE, to=str(tmp_path / "first"), count=20)
    answers = {row["listen"]: "music" for row in rows_of(tmp_path / "first")[:15]}
    done = import_file(own, file=str(fill(tmp_path / "first", answers)), who="ann")
    assert (done.pipeline, done.added, done.empty, done.no_file) == (PIPELINE, 15, 5, 0)
    second = next_batch(own, pipeline=PIPELINE, to=str(tmp_path / "second"), count=99)
    asked = {one.key for one in first.chosen[:15]}
    assert len(second.chosen) == len(PATHS) * SEGMENTS - 15 and not asked & {one.key for one in second.chosen}


def test_segments_of_labelled_outros_and_rejected_ones_are_not_asked_about(own, tmp_path):
    put_gold(
        own,
        label_source=lambda path, index: "human_outro" if path == PATHS[0] else "machine",
        label=lambda path, index: "dialogue",
        kept=lambda path, index: path != PATHS[1],
    )
    batch = next_batch(own, pipeline=PIPELINE, to=str(tmp_path / "batch"), count=99)
    assert {one.path for one in batch.chosen} == set(PATHS[2:])
    put_gold(own, label_source="human", label="music")
    with pytest.raises(RequestError, match="nothing is left to label"):
        next_batch(own, pipeline=PIPELINE, to=str(tmp_path / "other"))


def test_an_exported_playlist_points_into_the_episodes(shared, tmp_path):
    export(shared, table=TABLE, to=str(tmp_path / "all"), form="m3u", where="segment_index = 3")
    text = (tmp_path / "all" / "podcast_segments.m3u8").read_text(encoding="utf-8")
    assert text.count("#EXTVLCOPT:start-time=12.000\n#EXTVLCOPT:stop-time=16.000\n") == len(PATHS)


def test_what_is_there_stays(shared, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="is there"):
        next_batch(shared, pipeline=PIPELINE, to=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    next_batch(shared, pipeline=PIPELINE, to=str(tmp_path / "batch"), count=2)
    with pytest.raises(RequestError, match="is there"):
        next_batch(shared, pipeline=PIPELINE, to=str(tmp_path / "batch"), count=2)


def test_what_is_there_is_told_before_any_work(own, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="is there"):
        next_batch(own, pipeline=PIPELINE, to=str(tmp_path))
    assert not Lake.open(own).store.list("explorations")
    next_batch(own, pipeline=PIPELINE, to=str(tmp_path / "batch"), count=2)
    assert Lake.open(own).store.list("explorations")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"pipeline": "sound_effects"}, "nobody labels parts of recordings in sound_effects; there is podcast_outros"),
        ({"pipeline": "podcast"}, "no pipeline"),
        ({"form": "xlsx"}, "csv, json"),
    ],
)
def test_a_wrong_request_is_told_of(shared, tmp_path, asked, said):
    with pytest.raises(RequestError, match=said):
        next_batch(shared, **({"pipeline": PIPELINE, "to": str(tmp_path / "batch")} | asked))
    assert not list(tmp_path.iterdir())


def test_an_audit_is_blind_drawn_once_and_counted_from_what_comes_back(own, tmp_path):
    audit = audit_batch(own, pipeline=PIPELINE, to=str(tmp_path / "audit"), per_class=5)
    assert audit.name == f"audit-{RUN}"
    assert Counter(one.predicted for one in audit.chosen) == {"music": 5, "dialogue": 5}
    text = (tmp_path / "audit" / "batch.csv").read_text() + (tmp_path / "audit" / "batch.m3u8").read_text()
    assert "predicted" not in text and "dialogue" not in text  # not even a machine's label
    assert [(one.answered, one.share) for one in audit_result(Lake.open(own), PIPELINE, RUN)] == [(0, None)] * 2

    wrong = next(one for one in audit.chosen if one.predicted == "music")
    answers = {
        row["listen"]: "both" if one.key == wrong.key else str(one.predicted)
        for row, one in zip(rows_of(tmp_path / "audit"), audit.chosen, strict=True)
        if one.predicted == "music"
    }
    import_file(own, file=str(fill(tmp_path / "audit", answers)), who="ann")
    dialogue, music = audit_result(Lake.open(own), PIPELINE, RUN)
    assert (dialogue.predicted, dialogue.drawn, dialogue.answered, dialogue.share) == ("dialogue", 5, 0, None)
    assert (music.predicted, music.answered, music.right, music.share) == ("music", 5, 4, 0.8)
    assert (music.ci_low, music.ci_high) == wilson(4, 5)

    again = audit_batch(own, pipeline=PIPELINE, to=str(tmp_path / "again"), per_class=5)
    assert again.chosen == audit.chosen  # though half of it is labelled now
    few = audit_batch(own, pipeline=PIPELINE, to=str(tmp_path / "few"), per_class=1)
    assert set(few.chosen) < set(audit.chosen)
    assert audit_result(Lake.open(own), PIPELINE, RUN) == [dialogue, music]  # a smaller sample takes nothing back
    put_gold(own, start_s=lambda path, index: 4.0 * index + 1, end_s=lambda path, index: 4.0 * index + 5)
    with pytest.raises(RequestError, match="nothing to audit"):  # nothing is where it was when the model heard it
        audit_batch(own, pipeline=PIPELINE, to=str(tmp_path / "moved"), per_class=5)
    put_model(own, run_id="train-2")
    assert audit_result(Lake.open(own), PIPELINE, "train-2") == []
    assert audit_result(Lake.open(own), PIPELINE, RUN)[1].right == 4


def test_the_command_says_what_to_fill_in_and_what_comes_next(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AVLAKE_URI", shared.uri)
    monkeypatch.setenv("AVLAKE_WAREHOUSE", shared.warehouse)
    to = tmp_path / "batch"
    labels_next(PIPELINE, to=f"{to}/", count=2, format_="csv")
    told = capsys.readouterr().err
    assert "2 parts" in told and "(what is heard in a part: music, dialogue, both)" in told
    assert f"`avlake labels import {to}/batch.csv --by NAME`" in told


def test_an_audit_needs_a_model(tmp_path):
    settings = make_lake(tmp_path / "own")
    with pytest.raises(RequestError, match="avlake train podcast_outros"):
        audit_batch(settings, pipeline=PIPELINE, to=str(tmp_path / "audit"))


@pytest.fixture
def candidates() -> list[Chosen]:
    return list(many())


def many() -> Iterator[Chosen]:
    """40 episodes with 5 segments in each of 4 regions; the model is certain of region 3, uncertain of region 0."""
    for episode in range(40):
        for region in range(4):
            for index in range(5):
                margin = 0.01 if region == 0 else 0.999 if region == 3 else 0.5
                number = region * 5 + index
                yield Chosen(
                    f"{episode:032x}", f"{episode}.mp3", number, number, number + 1, None, region, "music", 0.5, margin
                )


def test_every_region_has_its_quota_and_the_uncertain_one_gets_most(candidates):
    chosen = choose_next(candidates, 40)
    regions = Counter(one.cluster for one in chosen)
    assert regions[0] > regions[1] == regions[2] > regions[3] >= 5
    assert max(Counter(one.file_id for one in chosen).values()) == 1
    assert len({one.key for one in chosen}) == 40


def test_without_margins_regions_are_equal(candidates):
    chosen = choose_next([replace(one, margin=None) for one in candidates], 40)
    assert set(Counter(one.cluster for one in chosen).values()) == {10}


def test_more_than_there_is_gives_all_once(candidates):
    assert {one.key for one in choose_next(candidates[:7], 99)} == {one.key for one in candidates[:7]}
    assert choose_next([], 5) == choose_next(candidates, 0) == []


def test_an_audit_is_a_random_draw_that_only_grows(candidates):
    small, large = draw_audit(candidates, 20, "run"), draw_audit(candidates, 60, "run")
    assert {one.key for one in small} <= {one.key for one in large} and len(large) == 60
    assert small != draw_audit(candidates, 20, "other run")
    assert draw_audit(list(reversed(candidates)), 20, "run") == small
    shares = Counter(one.cluster for one in draw_audit(candidates, 400, "run"))
    assert all(70 < n < 130 for n in shares.values())  # no region is preferred: 100 each, 3 deviations are 24
