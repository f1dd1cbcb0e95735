"""Scores measured elsewhere: read as they are, refused with line and column, decided over exactly."""

from __future__ import annotations

import csv
import random
import time
from pathlib import Path
from typing import Any

import pytest
from heads import Head, shelve

from avlake import warehouse
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.runner import RunReport, run
from avlake.settings import Settings
from avlake.stages import scores, takedowns
from avlake.stages.export import export
from avlake.stages.maintain import maintain
from avlake.stages.pages.outdated import remove_outdated
from avlake.stages.preview import preview
from avlake.stages.report import report
from avlake.tables import SCORES

HEADER = "filepath_video,speaker_id,face_presence_ratio,avg_blur_score,speech_ratio\n"
GOOD = "mp4/ann/v1/1.mp4,ann,1,80,0.95\n"
WORK_S = 2.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    # Nothing is measured, so no model is needed.
    models = tmp_path / "no-models"
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), models=models, jobs=1)


def held(settings: Settings) -> list[dict[str, Any]]:
    data = Lake.open(settings).scan(SCORES.name)
    return [] if data is None else data.to_table().to_pylist()


def write(tmp_path: Path, text: str | bytes, name: str = "scores.csv") -> str:
    file = tmp_path / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(file)


def decide(settings: Settings, file: str, **thresholds: Any) -> RunReport:
    return run(settings, pipeline="talking_heads", scores=file, thresholds=thresholds or None)


def kept(settings: Settings) -> set[str]:
    rows = warehouse.select(settings, "SELECT path FROM gold.talking_heads WHERE kept AND dataset = 'scores'")[1]
    return {str(path) for (path,) in rows}


def many(rows: int, seed: int) -> list[dict[str, Any]]:
    """Random rows, many of them exactly at a threshold or the next number below it; some not measured."""
    rng = random.Random(seed)

    def one_of(limit: float, below: float, most: float) -> Any:
        return rng.choice([limit, limit, below, most, "", round(rng.random() * most, 4), rng.random() * most])

    return [
        {
            "filepath_video": f"dev/mp4/id{i % 90:05}/v{i // 7}/{i:05}.mp4",
            "speaker_id": f"id{i % 90:05}",
            "face_presence_ratio": one_of(0.99, 0.9899999999999999, 1.0),
            "avg_blur_score": one_of(50, 49.99999999999999, 400.0),
            "speech_ratio": one_of(0.9, 0.8999999999999999, 1.0),
        }
        for i in range(rows)
    ]


def write_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> str:
    file = tmp_path / "many.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return str(file)


@pytest.mark.parametrize(
    ("face", "blur", "speech"),
    [(0.99, 50, 0.9), (0.5, 0, 0.25), (0, 120.5, 0), (1, 0, 1), (0.07, 49.99999999999999, 0)],
)
def test_exactly_those_that_meet_every_threshold_are_kept(
    settings: Settings, tmp_path: Path, face: float, blur: float, speech: float
) -> None:
    rows = many(10_000, seed=int(blur))
    least = {"face_presence_ratio": face, "avg_blur_score": blur, "speech_ratio": speech}
    wanted = {
        row["filepath_video"]
        for row in rows
        if all(limit == 0 or (row[name] != "" and row[name] >= limit) for name, limit in least.items())
    }
    file = write_rows(tmp_path, rows)
    began = time.process_time()
    decide(settings, file, min_face_presence_ratio=face, min_blur_score=blur, min_speech_ratio=speech)
    took_s = time.process_time() - began  # of all threads; the clock on the wall depends on other tests
    assert kept(settings) == wanted
    assert 0 < len(wanted) < len(rows)
    (count,) = warehouse.select(settings, "SELECT count(*) FROM gold.talking_heads")[1]
    assert count == (10_000,)
    assert took_s < WORK_S


def test_thresholds_as_the_command_line_gives_them(settings: Settings, tmp_path: Path) -> None:
    file = write(tmp_path, HEADER + "a.mp4,ann,0.5,60,0.5\nb.mp4,ann,0.4,60,0.5\nc.mp4,ann,0.5,,0.5\n")
    decide(settings, file, min_face_presence_ratio="0.5", min_speech_ratio="0.5")
    assert kept(settings) == {"a.mp4"}
    decide(settings, file, min_blur_score="0")  # the others hold until they are changed
    assert kept(settings) == {"a.mp4", "c.mp4"}


def test_the_same_file_changes_nothing_and_another_replaces_it(settings: Settings, tmp_path: Path) -> None:
    file = write(tmp_path, HEADER + GOOD)
    assert decide(settings, file).gold.changed
    before = warehouse.select(settings, "SELECT * FROM gold.talking_heads")
    assert not scores.read(settings, file=file, run_id="again").changed
    assert not decide(settings, file).gold.changed
    assert warehouse.select(settings, "SELECT * FROM gold.talking_heads") == before
    decide(settings, write(tmp_path, HEADER + GOOD.replace("ann", "bob")))
    assert kept(settings) == {"mp4/bob/v1/1.mp4"}
    decide(settings, "")  # out again
    assert kept(settings) == set() and held(settings) == []


def test_the_day_of_reading_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    decide(settings, write(tmp_path, HEADER + GOOD))
    assert {row["drop_date"] for row in held(settings)} == {"1970-01-01"}
    assert warehouse.select(settings, "SELECT DISTINCT drop_date FROM gold.talking_heads")[1] == [("1970-01-01",)]


def decisions(settings: Settings) -> dict[str, tuple[bool, str | None, str | None]]:
    """Kept or not, reason, and what a row is a duplicate of, by file_id."""
    query = "SELECT file_id, kept, reject_reason, duplicate_of FROM gold.talking_heads"
    return {row[0]: row[1:] for row in warehouse.select(settings, query)[1]}


def test_clips_measured_here_stay_beside_those_scored_elsewhere(settings: Settings, tmp_path: Path) -> None:
    here = Head("mp4/ann/v1/2.mp4")
    shelve(settings, [here])
    decide(settings, write(tmp_path, HEADER + GOOD))
    rows = warehouse.select(settings, "SELECT dataset, file_id, kept FROM gold.talking_heads ORDER BY dataset")[1]
    assert [row[0] for row in rows] == ["scores", "voxceleb"]
    assert rows[1][1] == here.file_id and rows[0][1] != here.file_id
    assert all(row[2] for row in rows)


@pytest.mark.parametrize("blur", [80.0, 1.0])
def test_what_was_measured_here_wins_over_its_scores(settings: Settings, tmp_path: Path, blur: float) -> None:
    here = Head("mp4/ann/v1/1.mp4", metrics={"avg_blur_score": blur})
    shelve(settings, [here])
    decide(settings, write(tmp_path, HEADER + GOOD))
    found = decisions(settings)
    assert found.pop(here.file_id) == ((True, None, None) if blur == 80.0 else (False, "blurry", None))
    assert list(found.values()) == [(False, "duplicate", here.file_id)]


def test_clips_without_sound_and_those_scored_elsewhere_are_left_out_of_manifests_of_sound(
    settings: Settings, tmp_path: Path
) -> None:
    shelve(settings, [Head(streams=("video",))])
    decide(settings, write(tmp_path, HEADER + GOOD))
    report = export(settings, table="gold.talking_heads", to=str(tmp_path / "x"), form="lhotse")
    assert (report.rows, report.files, report.left_out, report.elsewhere) == (0, 0, 2, 1)


# --- takedowns

OTHER = "mp4/bob/v1/1.mp4,bob,1,80,0.95\n"
ASKED = {"reason": "asked to be removed", "who": "ada"}


@pytest.mark.parametrize(
    "asked",
    [
        {"subjects": ["scores/ann"]},
        {"subjects": ["voxceleb/ann"]},
        {"files": ["scores/mp4/ann/v1/1.mp4"]},
        {"files": ["mp4/ann/v1/1.mp4"]},
    ],
    ids=str,
)
def test_who_is_known_from_scores_alone_can_be_taken_down(
    settings: Settings, tmp_path: Path, asked: dict[str, Any]
) -> None:
    file = write(tmp_path, HEADER + GOOD + OTHER)
    decide(settings, file)
    (added,) = takedowns.add(settings, **asked, **ASKED)
    assert added.recordings == 1
    assert decide(settings, file).gold.taken_down == "1 recording of 1 person taken down"
    assert kept(settings) == {"mp4/bob/v1/1.mp4"}
    assert warehouse.select(settings, "SELECT DISTINCT subject_id FROM silver.scores")[1] == [("bob",)]


@pytest.mark.parametrize("asked", [{"subjects": ["voxceleb/ann"]}, {"files": ["voxceleb/mp4/ann/v1/1.mp4"]}], ids=str)
@pytest.mark.parametrize("row", [GOOD, GOOD.replace(",ann,", ",,")])
def test_scores_bring_nobody_back(settings: Settings, tmp_path: Path, asked: dict[str, Any], row: str) -> None:
    shelve(settings, [Head("mp4/ann/v1/1.mp4"), Head("mp4/bob/v2/1.mp4")])
    takedowns.add(settings, **asked, **ASKED)
    decide(settings, write(tmp_path, HEADER + row + OTHER))
    assert warehouse.select(settings, "SELECT path FROM gold.talking_heads ORDER BY 1")[1] == [
        ("mp4/bob/v1/1.mp4",),
        ("mp4/bob/v2/1.mp4",),
    ]


def pages(settings: Settings) -> set[str]:
    return set(Lake.open(settings).store.list("reports"))


def test_pages_from_before_a_takedown_go_and_later_ones_show_nobody_of_it(settings: Settings, tmp_path: Path) -> None:
    decide(settings, write(tmp_path, HEADER + GOOD + OTHER))
    report(settings, pipeline="talking_heads", run_id="first")
    preview(settings, pipeline="talking_heads", run_id="looked")
    lake, before = Lake.open(settings), pages(settings)
    assert len(before) == 3
    assert remove_outdated(lake) == (3, []) and pages(settings) == before
    takedowns.add(settings, subjects=["voxceleb/ann"], **ASKED)
    assert sum(kept.files_before - kept.files_after for kept in maintain(settings) if kept.what == "reports") == 3
    assert pages(settings) == set()
    page = Path(report(settings, pipeline="talking_heads", run_id="second")).read_text()  # of the warehouse from before
    assert "mp4/bob/v1" in page and "mp4/ann/v1" not in page
    assert remove_outdated(lake)[1] == [] and len(pages(settings)) == 2


def test_previews_go_with_time(settings: Settings, tmp_path: Path) -> None:
    decide(settings, write(tmp_path, HEADER + GOOD))
    report(settings, pipeline="talking_heads", run_id="first")
    preview(settings, pipeline="talking_heads", run_id="looked")
    (gone,) = remove_outdated(Lake.open(settings), retention_h=0)[1]
    assert "preview-looked" in gone.name and len(pages(settings)) == 2


def test_nobody_of_that_name_is_refused_with_those_that_scores_know(settings: Settings, tmp_path: Path) -> None:
    decide(settings, write(tmp_path, HEADER + GOOD))
    with pytest.raises(RequestError, match=r"like it: .*voxceleb/ann"):
        takedowns.add(settings, subjects=["voxceleb/anne"], **ASKED)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + GOOD,
        (HEADER + GOOD).replace("\n", "\r\n"),
        HEADER + "\n" + GOOD.rstrip("\n"),
        'n,speech_ratio,"avg_blur_score",note,face_presence_ratio,speaker_id,filepath_video\n'
        '1, 0.95 ,80.0,"a, ""b""\nc",1.0,ann,mp4/ann/v1/1.mp4\n',
    ],
    ids=["byte order mark", "CRLF", "blank line", "other columns"],
)
def test_a_csv_file_as_programs_write_it(settings: Settings, tmp_path: Path, text: str) -> None:
    scores.read(settings, file=write(tmp_path, text), run_id="test")
    (row,) = held(settings)
    assert (row["path"], row["subject_id"], row["source"]) == ("mp4/ann/v1/1.mp4", "ann", "scores.csv")
    assert [row[name] for name in scores.METRICS] == [1.0, 80.0, 0.95]


def test_a_path_with_commas_and_what_is_not_measured(settings: Settings, tmp_path: Path) -> None:
    text = HEADER + '"dir/a, b/Zoë.mp4",,,"",\n'
    scores.read(settings, file=write(tmp_path, text), run_id="test")
    (row,) = held(settings)
    assert row["path"] == "dir/a, b/Zoë.mp4" and row["subject_id"] is None
    assert [row[name] for name in scores.METRICS] == [None] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        (HEADER, "no rows"),
        (HEADER.replace("speech_ratio", "speech") + GOOD, "lacks the column speech_ratio"),
        (HEADER.replace(",", ";") + GOOD, "its fields are separated by semicolons: save it with commas"),
        (HEADER.replace(",", "\t") + GOOD, "its fields are separated by tabs"),
        ("a,b\n1,2\n", "lacks the columns filepath_video, speaker_id,"),
        (HEADER.replace("speaker_id", "speech_ratio") + GOOD, "lacks the column speaker_id"),
        (HEADER.replace("\n", ",speech_ratio\n") + GOOD.replace("\n", ",1\n"), "speech_ratio twice"),
        (HEADER + GOOD + "b.mp4,ann,x,80,0.95\n", "line 3: face_presence_ratio is 'x'"),
        (HEADER + "b.mp4,ann,1,-1,0.95\n", "line 2: avg_blur_score is '-1'"),
        (HEADER + "b.mp4,ann,1,inf,0.95\n", "line 2: avg_blur_score is 'inf'"),
        (HEADER + "b.mp4,ann,1,1_0,0.95\n", "line 2: avg_blur_score is '1_0'"),
        (HEADER + "b.mp4,ann,1,80,nan\n", "line 2: speech_ratio is 'nan'"),
        (HEADER + "b.mp4,ann,1.01,80,0.95\n", "line 2: face_presence_ratio is '1.01'"),
        (HEADER + GOOD + "\n" + GOOD, "line 4: filepath_video mp4/ann/v1/1.mp4 is on line 2 already"),
        (HEADER + ",ann,1,80,0.95\n", "line 2: filepath_video is empty"),
        (HEADER + "a, b.mp4,ann,1,80,0.95\n", "line 2: 6 fields under 5 columns"),
        (HEADER + "b.mp4,ann,1\n", "line 2: 3 fields"),
        (HEADER + '"b.mp4,ann,1,80,0.95\n', "line 2: unexpected end of data"),
        ("é".encode("latin-1"), "UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_and_changes_nothing(
    settings: Settings, tmp_path: Path, text: str | bytes, said: str
) -> None:
    scores.read(settings, file=write(tmp_path, HEADER + GOOD, "good.csv"), run_id="good")
    before = held(settings)
    file = write(tmp_path, text, "bad.csv")
    with pytest.raises(RequestError, match=r"bad\.csv") as caught:
        scores.read(settings, file=file, run_id="bad")
    assert said in str(caught.value)
    assert held(settings) == before


@pytest.mark.parametrize("place", ["missing.csv", "file://{}/missing.csv", "."])
def test_a_file_that_is_not_there(settings: Settings, tmp_path: Path, place: str) -> None:
    with pytest.raises(RequestError, match="no file"):
        scores.read(settings, file=place.format(tmp_path), run_id="test")


def test_a_uri_is_a_file_too(settings: Settings, tmp_path: Path) -> None:
    file = write(tmp_path, HEADER + GOOD)
    assert scores.read(settings, file=f"file://{file}", run_id="test").rows == 1


@pytest.mark.parametrize("more", [{"source": "landing"}, {"drop": "2026-09-01"}, {"params": {"speech": {}}}])
def test_scores_come_without_a_source(settings: Settings, tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="measured elsewhere"):
        run(settings, pipeline="talking_heads", scores=write(tmp_path, HEADER + GOOD), **more)
    assert held(settings) == []


def test_a_pipeline_that_measures_takes_none(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="takes no scores"):
        run(settings, pipeline="voxforge_gender", scores=write(tmp_path, HEADER + GOOD))


def test_a_threshold_that_cannot_be_is_refused_before_the_file_is_read(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="min_blur"):
        decide(settings, write(tmp_path, HEADER + GOOD), min_blur=3)
    assert held(settings) == []


def test_what_is_scored_of_one_folder_is_in_one_split(settings: Settings, tmp_path: Path) -> None:
    decide(settings, write_rows(tmp_path, many(300, seed=1)))
    groups = "SELECT count(DISTINCT split) FROM gold.talking_heads GROUP BY subject_id, video_id"
    assert {count for (count,) in warehouse.select(settings, groups)[1]} == {1}
