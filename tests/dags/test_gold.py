"""A gold run of talking heads without a scheduler (`dag.test`): over scores, unasked, and asked but not answered."""

import csv
import json
from pathlib import Path

import pytest
from test_run import run, states

from avlake.orchestration.approval import in_words, silver_mark
from avlake.settings import load_settings
from avlake.tables import THRESHOLDS

GOLD = "talking_heads_gold"


@pytest.fixture
def scores(tmp_path) -> str:
    """Five clips, two of them good."""
    path = tmp_path / "scores.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filepath_video", "speaker_id", "face_presence_ratio", "avg_blur_score", "speech_ratio"])
        for i, (face, blur, speech) in enumerate([(1, 80, 1), (1, 60, 0.95), (0.5, 80, 1), (1, "", 1), (1, 80, 0.6)]):
            rows.writerow([f"mp4/ann/v{i}/00001.mp4", "ann", face, blur, speech])
    return str(path)


def kept(lake) -> list[str] | None:
    gold = lake.scan("gold.talking_heads")
    return None if gold is None else sorted(r["path"][8:10] for r in gold.to_table().to_pylist() if r["kept"])


@pytest.mark.usefixtures("database")
def test_unasked_gold_is_decided_over_scores_at_once(lake, dags, scores):
    done = run(dags[GOLD], scores=scores)
    assert done.state == "success"
    assert states(done) == {
        "scores": "success",
        "preview": "skipped",
        "approve": "skipped",
        "curate": "success",
        "publish": "success",
    }
    assert kept(lake) == ["v0", "v1"]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("how", ["the run", "the deployment"])
def test_asked_gold_waits_for_an_answer_and_success_by_hand_is_none(lake, dags, scores, monkeypatch, how):
    asked = {"approval": True} if how == "the run" else {}
    if how == "the deployment":
        monkeypatch.setenv("AVLAKE_APPROVAL", "talking_heads")
    done = dags[GOLD].test(
        logical_date=None, run_conf={"scores": scores, "min_speech_ratio": 0.5} | asked, mark_success_pattern="approve"
    )
    assert states(done) == {
        "scores": "success",
        "preview": "success",
        "approve": "success",
        "curate": "skipped",
        "publish": "skipped",
    }
    assert kept(lake) is None and lake.scan(THRESHOLDS.name) is None
    (preview,) = [ti for ti in done.get_task_instances() if ti.task_id == "preview"]
    shown = preview.xcom_pull(task_ids="preview")
    assert (shown["rows"], shown["kept"], shown["thresholds"]["min_speech_ratio"]) == (5, 3, 0.5)
    assert shown["mark"] == silver_mark(load_settings(), "talking_heads")
    assert "| rejected: low_face_presence | 1 |" in shown["body"]
    sheet = shown["body"].split("`")[1]
    assert Path(sheet).is_file()


@pytest.mark.usefixtures("database")
def test_a_deployment_that_asks_for_what_cannot_be_asked_builds_no_gold(lake, dags, scores, monkeypatch):
    monkeypatch.setenv("AVLAKE_APPROVAL", "talking_head")
    done = run(dags[GOLD], scores=scores)
    assert done.state == "failed" and states(done)["preview"] == "failed"
    assert kept(lake) is None


@pytest.mark.parametrize("uri", ["https://store/sheet.html", "s3://lake/sheet.html", "/lake/sheet.html"])
def test_where_the_sheet_is_can_be_followed_or_copied(uri):
    body = in_words({"rows": 2, "kept": 1, "reasons": {"blurry": 1}, "sheet_uri": uri})
    assert (f"[{uri}]({uri})" if uri.startswith("http") else f"`{uri}`") in body


def test_what_is_measured_later_was_not_approved(lake, tmp_path):
    from avlake.stages.scores import read

    settings, before = load_settings(), silver_mark(load_settings(), "talking_heads")
    file = tmp_path / "one.csv"
    file.write_text("filepath_video,speaker_id,face_presence_ratio,avg_blur_score,speech_ratio\na.mp4,ann,1,80,1\n")
    read(settings, file=str(file), run_id="test")
    after = silver_mark(settings, "talking_heads")
    assert after != before
    read(settings, file=str(file), run_id="again")
    assert silver_mark(settings, "talking_heads") == after


@pytest.mark.usefixtures("database")
def test_another_way_to_train_wakes_training_though_gold_stays(lake, dags):
    import pyarrow as pa

    from avlake.extractors.face_tracks import FaceTracks
    from avlake.stages.curate import curate
    from avlake.stages.publish import publish
    from avlake.tables import BRONZE_FILES, EXTRACTIONS

    film = {"file_id": "f" * 32, "dataset": "ava", "drop_date": "2026-09-01", "path": "one.mp4"}
    times = [0.0, 0.1, 0.2, 0.3]
    track = {"track_id": "one:1", "part": 0, "source": "annotation", "start_s": 0.0, "end_s": 0.3, "faces": 4}
    edges = {"x1": [0.1] * 4, "y1": [0.1] * 4, "x2": [0.5] * 4, "y2": [0.9] * 4, "width_px": 160, "height_px": 90}
    faces = {"frame_timestamp": times, "label": ["NOT_SPEAKING"] * 4, "problem": [None] * 4, "crop_bytes": [0] * 4}
    for table, row in (
        (BRONZE_FILES, {"media_type": "video/mp4", "sha256": "a" * 64}),
        (FaceTracks.table, track | edges | faces | {"crops": b"", "log_mel": b"", "mfcc": b""}),
        (EXTRACTIONS, {"extractor": "face_tracks", "status": "ok", "sha256": "a" * 64}),
    ):
        made = pa.Table.from_pylist([film | row], schema=table.schema)
        fragment = lake.write_fragment(table, "ava", "2026-09-01", [made])
        lake.commit_drop(table, "ava", "2026-09-01", [fragment], expected_version=0)
    assert curate(load_settings(), pipeline="active_speaker", run_id="before").kept == {"gold.active_speaker_frames": 4}
    publish(load_settings(), run_id="before")
    before = lake.log_version("gold.active_speaker_frames")

    first, again = (states(run(dags["active_speaker_gold"], epochs=3)) for _ in range(2))
    assert first == {"curate": "success", "publish": "success"}
    assert again == {"curate": "success", "publish": "skipped"}
    assert lake.log_version("gold.active_speaker_frames") == before
    (recorded,) = lake.scan(THRESHOLDS.name).to_table().to_pylist()
    assert json.loads(recorded["values"])["epochs"] == 3


def test_a_gold_run_of_sound_effects_writes_its_list(lake, dags):
    import pyarrow as pa

    from avlake.stages.listing import COLUMNS
    from avlake.tables import Table

    rows = [
        dict.fromkeys(COLUMNS) | {"file_id": path, "path": path, "kept": kept}
        for path, kept in (("b.mp4", True), ("a.mp4", True), ("c.mp4", False))
    ]
    made = pa.Table.from_pylist(
        rows, schema=pa.schema([(n, pa.bool_() if n == "kept" else pa.string()) for n in rows[0]])
    )
    gold = Table("gold.sound_effects", "clips", ("file_id",), made.schema, per_drop=False)
    lake.replace_table(gold, [made], expected_version=lake.table_version(gold))
    listed = dags["sound_effects_gold"].get_task("list").python_callable()
    assert listed["rows"] == 2 and listed["changed"]
    lines = Path(listed["uri"]).read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["a.mp4", "b.mp4"]
    assert not dags["sound_effects_gold"].get_task("list").python_callable()["changed"]
