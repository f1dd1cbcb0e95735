"""What a model says of every face: with annotated boxes and the detector's, in the layouts that others read."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import filmed
import pyarrow as pa
import pytest

from avlake import cli
from avlake.errors import Quarantined
from avlake.extractors.face_tracks import FaceTracks
from avlake.learn import speakers
from avlake.learn.average_precision import evaluate
from avlake.learn.speaker_checkpoints import dump
from avlake.learn.speaker_net import SpeakerNet

HEADER = "video_id,frame_timestamp,entity_id,x1,y1,x2,y2,score"
SHARED = Path(__file__).parents[2].parent / "shared"
REAL = SHARED / "data/landing/ava/2026-09-01/videos"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out)))


Avlake = Callable[..., Done]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two films, and a CSV of the faces of both."""
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(filmed.film(name))
    (tmp_path / "boxes.csv").write_text("".join(filmed.as_csv(filmed.annotated(name)) for name in "ab"))
    return tmp_path


@pytest.fixture
def avlake(films: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Avlake:
    """The command, in the films' folder, with a lake in which a model is in charge."""
    monkeypatch.chdir(films)
    monkeypatch.setenv("AVLAKE_URI", str(films / "lake"))
    monkeypatch.setenv("AVLAKE_MODELS", str(films / "no models"))
    monkeypatch.setattr(speakers, "LEARNER", filmed.BrightnessLearner())
    filmed.put_in_charge(str(films / "lake"), filmed.model())

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["avlake", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Done(code or 0, *capsys.readouterr())

    return run


def predict(avlake: Avlake, *words: str) -> Done:
    return avlake("predict", filmed.PIPELINE, *words)


def expected(names: str) -> list[filmed.Row]:
    return [row for name in names for row in sorted(filmed.annotated(name), key=lambda row: (row[1], row[7]))]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_row_for_every_face_as_the_files_were_named_then_by_time_and_entity(avlake: Avlake, jobs: str) -> None:
    done = predict(avlake, "b.mp4", "./a.mp4", "--annotations", "boxes.csv", "--format", "csv", "--jobs", jobs)
    assert done.code == 0 and done.out.splitlines()[0] == HEADER
    for said, row in zip(done.rows(), expected("ba"), strict=True):
        assert (said["video_id"], float(said["frame_timestamp"]), said["entity_id"]) == (row[0], row[1], row[7])
        assert [said[edge] for edge in ("x1", "y1", "x2", "y2")] == [str(edge) for edge in row[2:6]]
        assert (float(said["score"]) > 0.5) == (row[6] == "SPEAKING_AUDIBLE")


def test_the_official_layout_is_what_the_official_metric_takes(avlake: Avlake, films: Path) -> None:
    rows = filmed.annotated("a")
    exact = [
        (*row[:2], row[2] + 1.234567891e-6 * i, *row[3:]) for i, row in enumerate(rows)
    ]  # more digits than float32
    (films / "exact.csv").write_text(filmed.as_csv(exact))
    done = predict(avlake, "a.mp4", "--annotations", "exact.csv", "--format", "ava")
    found = evaluate(filmed.as_csv(exact).splitlines(), done.out.splitlines())  # refuses a face without a partner
    assert (done.code, found.faces, found.average_precision) == (0, len(rows), 1.0)


def test_annotations_may_be_a_folder_and_have_headers(avlake: Avlake, films: Path) -> None:
    columns = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,entity_id\n"
    for name in "ab":
        path = films / "csvs" / name / f"{name}-activespeaker.csv"
        path.parent.mkdir(parents=True)
        path.write_text(columns + filmed.as_csv(filmed.annotated(name)) + f"{name},nonsense\n")
    done = predict(avlake, "a.mp4", "b.mp4", "--annotations", "csvs", "--format", "json")
    found = [(r["video_id"], r["frame_timestamp"], r["x1"], r["y2"], r["entity_id"]) for r in json.loads(done.out)]
    assert found == [(row[0], row[1], row[2], row[5], row[7]) for row in expected("ab")]
    assert "2 malformed rows" in done.err


def test_what_cannot_be_judged_is_said_beside_the_data(avlake: Avlake, films: Path) -> None:
    (films / "c.mp4").write_bytes(filmed.film("c"))
    (films / "broken.mp4").write_bytes(b"no video")
    boxes = (films / "boxes.csv").read_text() + "broken,0.0,0.1,0.1,0.2,0.2,NOT_SPEAKING,broken:1\n"
    (films / "boxes.csv").write_text(boxes)
    names = ("c.mp4", "nowhere.mp4", "broken.mp4")
    some = predict(avlake, *names, "a.mp4", "--annotations", "boxes.csv", "--format", "csv")
    assert some.code == 0 and {row["video_id"] for row in some.rows()} == {"a"}
    none = predict(avlake, *names, "--annotations", "boxes.csv", "--format", "csv")
    assert none.code == 1 and none.out.splitlines() == [HEADER]
    for done in (some, none):
        for name, reason in zip(names, ("not_annotated", "not_found", "not_media"), strict=True):
            assert f"{name}: {reason}: " in done.err


def test_faces_that_are_not_to_be_seen_are_counted(avlake: Avlake, films: Path) -> None:
    wrong = {
        "outside_frame": ("a", 0.2, 1.5, 0.2, 1.9, 0.8, "NOT_SPEAKING", "a:outside"),
        "past_end": ("a", 99.0, *filmed.LEFT, "NOT_SPEAKING", "a:late"),
        "bad_box": ("a", 0.2, 0.4, 0.2, 0.1, 0.8, "NOT_SPEAKING", "a:inverted"),
    }
    rows = filmed.annotated("a")
    (films / "wrong.csv").write_text(filmed.as_csv([*rows, *wrong.values()]))
    done = predict(avlake, "a.mp4", "--annotations", "wrong.csv", "--format", "csv")
    assert done.code == 0 and len(done.rows()) == len(rows)
    assert "a.mp4: 3 faces cannot be judged: 1 bad_box, 1 outside_frame, 1 past_end" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.mp4", "videos/a.mkv"), "a.mp4 and videos/a.mkv have one name, a"),
        (("a.mp4", "a.mp4"), "one name"),
        (("a.mp4", "--annotations", "nowhere.csv"), "nowhere.csv: no such file or folder"),
        (("a.mp4", "--annotations", "lake/models"), "no CSV file there"),
        (("a.mp4", "--format", "xml"), "'xml': one of table, csv, json, ava"),
        (("a.mp4",), "avlake models pull"),  # faces are to be found, and the detector's file is not there
    ],
)
def test_a_wrong_request_says_so_and_prints_nothing(avlake: Avlake, words: tuple[str, ...], said: str) -> None:
    done = predict(avlake, *words)
    assert (done.code, done.out) == (2, "") and said in done.err


@pytest.mark.parametrize("words", [("--format", "ava"), ("--annotations", "boxes.csv"), ("--format", "xml")])
def test_only_faces_are_written_as_ava_has_them(avlake: Avlake, words: tuple[str, ...]) -> None:
    done = avlake("predict", "voxforge_gender", "a.mp4", *words)
    assert (done.code, done.out) == (2, "") and words[0] in done.err and "judges files" in done.err


def test_without_a_model_it_says_what_to_run(avlake: Avlake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLAKE_URI", str(tmp_path / "empty"))
    done = predict(avlake, "a.mp4", "--annotations", "boxes.csv")
    assert done.code == 2 and f"avlake train {filmed.PIPELINE}" in done.err


def test_a_video_in_which_no_face_was_found_is_said_to_have_none() -> None:
    about = {"measured": {}, "drops": [], "videos": []}
    network = speakers.SpeakersLearner().checkpoint(dump(SpeakerNet().state_dict(), about), "a checkpoint")
    with pytest.raises(Quarantined, match="no face was found") as error:
        network.boxes({"face_tracks": pa.RecordBatch.from_pylist([], schema=FaceTracks.table.schema)})
    assert error.value.error_class == "no_face"


@pytest.mark.train
@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not there: real faces")
def test_without_annotations_faces_are_found_and_followed(avlake: Avlake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLAKE_MODELS", str(SHARED / "models"))
    name = sorted(REAL.glob("*.mp4"))[0]
    found = predict(avlake, str(name), "--format", "csv").rows()
    assert {row["video_id"] for row in found} == {name.stem}
    sides = {row["entity_id"]: set() for row in found}
    for row in found:
        sides[row["entity_id"]].add((float(row["x1"]) + float(row["x2"])) / 2 < 0.5)
    assert len(sides) >= 2 and all(len(side) == 1 for side in sides.values())  # nobody jumps to the other half
    assert len(found) >= 0.8 * 2 * 222  # of two faces in 222 pictures
