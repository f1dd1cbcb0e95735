"""Who a face track shows: as files say it, through the lake and out again, and what goes when somebody asks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from avlake import output
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages import human, labelling, takedowns
from avlake.stages.human import Said
from avlake.stages.label_files import read
from avlake.tables import BRONZE_FILES, EXTRACTIONS

TRUTH = Path(__file__).parents[3] / "shared" / "data" / "truth" / "ava.csv"
FIRST, SECOND = "film-1_0.00_2.96:1", "film-1_0.00_2.96:2"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))


def written(folder: Path, text: str) -> str:
    path = folder / "talkers.csv"
    path.write_text(text)
    return str(path)


def deliver(settings: Settings, *paths: str) -> None:
    """Commit a drop of videos."""
    lake = Lake.open(settings)
    for table, extra in ((BRONZE_FILES, {"media_type": "video/mp4"}), (EXTRACTIONS, {"extractor": "media"})):
        rows = [
            {
                **{"file_id": hashlib.sha256(f"ava/{path}".encode()).hexdigest()[:32], "dataset": "ava"},
                **{"drop_date": "2026-09-01", "path": path, "sha256": hashlib.sha256(path.encode()).hexdigest()},
                **extra,
            }
            for path in paths
        ]
        fragment = lake.write_fragment(table, "ava", "2026-09-01", [pa.Table.from_pylist(rows, schema=table.schema)])
        version = lake.drop_version(table, "ava", "2026-09-01")
        lake.commit_drop(table, "ava", "2026-09-01", [fragment], expected_version=version)


@pytest.mark.parametrize(
    "text",
    [
        f"entity_id,talker\n{FIRST},s1\n",
        f"video_id,entity_id,talker\nfilm-1,{FIRST},s1\n",
        f"video_id,entity_id,talker\n,{FIRST},s1\n",
        f"entity_id,name,value\n{FIRST},talker,s1\n",
        f"entity_id,value\n{FIRST}, s1 \n",
        f"item,name,value\nfilm-1,talker:{FIRST},s1\n",
        f"item,entity_id,name,value\nfilm-1,{FIRST},talker:{FIRST},s1\n",
    ],
)
def test_shapes_that_are_understood(tmp_path: Path, text: str) -> None:
    found = read(written(tmp_path, text))
    assert found.pipeline.name == "active_speaker" and found.ignored == ()
    assert found.labels == (Said("film-1", f"talker:{FIRST}", "s1"),)


def test_a_video_id_may_have_lines_and_a_track_any_name_where_the_file_is_named(tmp_path: Path) -> None:
    text = "entity_id,talker\n_mA_1_2_0990_1020:12,s1\n_mA_1_2_0990_1020.5:3,unknown\n"
    assert read(written(tmp_path, text)).labels == (
        Said("_mA_1_2", "talker:_mA_1_2_0990_1020:12", "s1"),
        Said("_mA_1_2", "talker:_mA_1_2_0990_1020.5:3", None),
    )
    text = "path,entity_id,talker\nfilms/a.mp4,face_0001,Zo\u0065\u0308\n"
    assert read(written(tmp_path, text)).labels == (Said("films/a.mp4", "talker:face_0001", "Zo\u00eb"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entity_id,talker\nface_0001,s1\n", "line 2, column entity_id: 'face_0001' does not say of which video"),
        (f"entity_id,talker\n{FIRST},none\n", "line 2, column talker: 'none' is nobody: leave talker empty"),
        (f"entity_id,talker\n{FIRST},=s1\n", "column talker: '=s1' would be a formula"),
        (f"entity_id,talker\n{FIRST},{'x' * 300}\n", "longer than 200 characters"),
        (f"entity_id,talker\n{FIRST},a\u202eb\n", "has control characters"),
        (f"video_id,entity_id,talker\nv,{'x' * 2000},s1\n", "column entity_id: longer than"),
        ("video_id,talker\nv,s1\n", "talker is said of a face track: give entity_id"),
        ("video_id,entity_id,talker\nv,,s1\n", "talker is said of a face track: give entity_id"),
        (f"entity_id,talker\n{FIRST},s1\n{FIRST},s2\n", "line 3, column talker: 's2', but line 2 says 's1'"),
        (f"item,entity_id,name,value\nv,{FIRST},talker:{SECOND},s1\n", "but the name says"),
        (f"video_id,entity_id,start_s,end_s,talker\nv,{FIRST},0,1,s1\n", "said of a whole file: leave start_s"),
        (f"entity_id,talker,confidence\n{FIRST},s1,0.9\n", "what a model says"),
        (f"entity_id,who\n{FIRST},s1\n", "says nothing that is labelled.*talker .a name, of an entity_id"),
        (f"entity_id,talker\n{FIRST},s1,x\n", "line 2: 3 fields under 2 columns"),
        ("item,name,value\nv,sound:x,sfx\nv,talker:x,s1\n", "line 2, column name: 'sound:x' is nothing"),
    ],
)
def test_what_cannot_be_believed_is_refused_and_told_of(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read(written(tmp_path, text))


def test_labels_go_in_and_come_out_the_same(settings: Settings, tmp_path: Path) -> None:
    deliver(settings, "videos/film-1.mp4")
    file = written(tmp_path, f"entity_id,talker,audible\n{FIRST},s1,True\n{SECOND},,False\n")
    done = labelling.import_file(settings, file=file, who="ann")
    assert (done.pipeline, done.added, done.empty, done.ignored) == ("active_speaker", 1, 1, ("audible",))
    assert (done.no_file, done.several_files) == (0, 0)
    assert labelling.import_file(settings, file=file, who="ann").added == 0
    rows = labelling.exported(settings, pipeline="active_speaker")
    assert [row[:6] for row in rows] == [("ava", "film-1", None, None, f"talker:{FIRST}", "s1")]
    elsewhere = Settings(uri=str(tmp_path / "elsewhere"), warehouse=settings.warehouse)
    for form, added in (("csv", 1), ("json", 0)):
        out = tmp_path / f"out.{form}"
        with out.open("w") as opened:
            output.show(labelling.COLUMNS, rows, form, opened)
        assert labelling.import_file(elsewhere, file=str(out), who="ann").added == added
    assert [row[:7] for row in labelling.exported(elsewhere)] == [row[:7] for row in rows]


def test_the_latest_counts_of_each_track(settings: Settings, tmp_path: Path) -> None:
    said = [{FIRST: "s1", SECOND: "s2"}, {FIRST: "s3"}, {SECOND: "unknown"}]
    for number, talkers in enumerate(said):
        rows = "".join(f"{track},{talker}\n" for track, talker in talkers.items())
        labelling.import_file(settings, file=written(tmp_path, f"entity_id,talker\n{rows}"), who=f"person {number}")
    assert [row[4:6] for row in labelling.exported(settings)] == [(f"talker:{FIRST}", "s3")]


def test_a_film_goes_with_any_who_is_seen_in_it(settings: Settings, tmp_path: Path) -> None:
    deliver(settings, "videos/film-1.mp4", "videos/film-2.mp4", "film-3.mp4")
    rows = [f"{FIRST},s1", f"{SECOND},s2", "film-2_0_9:1,s2", "film-3_0_9:1,s3"]
    lake = Lake.open(settings)
    labelling.import_file(settings, file=written(tmp_path, "\n".join(["entity_id,talker", *rows, ""])), who="ann")
    with pytest.raises(RequestError, match="no person 'ava/s2'"):
        takedowns.add(settings, subjects=["ava/s2"], reason="asked", who="ann")  # not folded: nobody has seen it
    human.fold(lake, "ava")
    corrected = written(tmp_path, "entity_id,talker\nfilm-2_0_9:1,s4\n")
    labelling.import_file(settings, file=corrected, who="ben")
    human.fold(lake, "ava")
    (added,) = takedowns.add(settings, subjects=["ava/s2"], reason="asked", who="ann")
    assert (added.new, added.recordings) == (True, 1)
    out = takedowns.excluded(lake)
    assert out.file_ids == (hashlib.sha256(b"ava/videos/film-1.mp4").hexdigest()[:32],)
    assert str(out) == "1 recording of 2 people taken down"
    assert {row[1] for row in labelling.exported(settings, history=True)} == {"film-2", "film-3"}


def test_a_film_in_which_nobody_is_known_is_of_no_people(settings: Settings) -> None:
    deliver(settings, "videos/film-1.mp4")
    takedowns.add(settings, files=["ava/videos/film-1.mp4"], reason="asked", who="ann")
    assert str(takedowns.excluded(Lake.open(settings))) == "1 recording taken down"


@pytest.mark.skipif(not TRUTH.exists(), reason="no ../shared/data")
def test_the_truth_file_is_imported_as_it_is(settings: Settings) -> None:
    done = labelling.import_file(settings, file=str(TRUTH), who="ann")
    assert (done.pipeline, done.added, done.empty, done.ignored) == ("active_speaker", 120, 0, ("audible",))
