"""Gold says of each row where it came from and on what terms; what it decides by is recorded once it stands."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from heads import Head, shelve

from avlake import warehouse
from avlake.datasets import synthetic
from avlake.errors import RequestError, WorkError
from avlake.lake import Lake
from avlake.learn.frame import content_hash
from avlake.pipelines import get_pipeline
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages import duplicates, takedowns
from avlake.stages.curate import curate
from avlake.stages.forecast import list_source, make_pilot
from avlake.stages.preview import preview
from avlake.stages.thresholds import in_words

PIPELINE, DROP = "voxforge_gender", "2026-09-01"
ARCHIVES = {"synthetic01-20260901-syn.tgz", "synthetic02-20260901-syn.tgz"}


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    synthetic.write_drop(folder, DROP, speakers=2, utterances=1)
    loose = folder / "voxforge" / DROP / "etc" / "README"  # a delivered file that is no archive
    loose.parent.mkdir()
    loose.write_text("User Name:nobody\n")
    return folder


@pytest.fixture
def index(landing: Path) -> Iterator[str]:
    """The drop's archives behind an HTTP index."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    folder = landing / "voxforge" / DROP
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def gold(folder: Path, source: str) -> tuple[set[tuple[str, str, str]], str]:
    """(path, source, licence) of the gold made from a source, and the hash of what is learned from."""
    settings = Settings(
        uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), downloads=folder / "downloads", jobs=2
    )
    run(settings, pipeline=PIPELINE, source=source, train=False)
    rows = warehouse.select(settings, "SELECT path, source, licence FROM gold.gender_windows")[1]
    with warehouse.connect(settings) as con:
        return {(str(path), str(source), str(licence)) for path, source, licence in rows}, content_hash(
            con, "gold.gender_windows"
        )


def test_a_member_of_a_folders_archive_comes_from_that_archive(landing: Path, tmp_path: Path) -> None:
    rows, _ = gold(tmp_path, str(landing))
    for path, source, licence in rows:
        assert source == f"voxforge/{DROP}/{path.split('/')[0]}"
        assert licence == "GPL-3.0-or-later"
    assert {source.rpartition("/")[2] for _, source, _ in rows} == ARCHIVES


def test_where_the_landing_zone_is_mounted_changes_nothing(landing: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(landing, tmp_path / "elsewhere" / "landing")
    assert gold(tmp_path / "a", str(landing)) == gold(tmp_path / "b", str(moved))


def test_an_http_source_is_its_address_and_no_reason_to_train_again(landing: Path, index: str, tmp_path: Path) -> None:
    from_folder, hash_of_folder = gold(tmp_path / "folder", str(landing))
    from_index, hash_of_index = gold(tmp_path / "index", index)
    assert {(path, source) for path, source, _ in from_index} == {
        (path, f"{index}{path.split('/')[0]}") for path, _, _ in from_folder
    }
    assert hash_of_index == hash_of_folder


# --- thresholds: what was refused, or failed, changes nothing


HEADS = [Head(f"mp4/s{i}/v{j}/{j}.mp4", content=f"c{i % 2}{j}") for i in range(4) for j in range(3)]


@pytest.fixture
def shelved(tmp_path: Path) -> Settings:
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=2)
    shelve(settings, HEADS)
    return settings


def recorded(settings: Settings) -> list[dict[str, Any]]:
    data = Lake.open(settings).scan("governance.thresholds")
    return [] if data is None else [json.loads(row["values"]) for row in data.to_table().to_pylist()]


def test_thresholds_of_gold_that_breaks_its_checks_are_not_recorded(shelved: Settings) -> None:
    shelve(shelved, [Head("mp4/s0/v0/nan.mp4", "2026-09-02", metrics={"avg_blur_score": float("nan")})])
    with pytest.raises(WorkError, match="NaN"):
        curate(shelved, pipeline="talking_heads", run_id="a", thresholds={"min_speech_ratio": 0.5})
    assert recorded(shelved) == []


def test_a_part_of_gold_records_no_thresholds(shelved: Settings) -> None:
    manifest = ["talking_heads_manifest"]
    done = curate(shelved, pipeline="talking_heads", run_id="a", thresholds={"sampling": "random"}, only=manifest)
    assert done.changed and not done.other_thresholds and recorded(shelved) == []


def test_what_is_asked_of_one_run_is_not_remembered(shelved: Settings) -> None:
    asked = {"require_trainable": True, "min_speech_ratio": 0.5}
    assert curate(shelved, pipeline="talking_heads", run_id="a", thresholds=asked).other_thresholds
    (values,) = recorded(shelved)
    assert values["min_speech_ratio"] == 0.5 and "require_trainable" not in values
    again = curate(shelved, pipeline="talking_heads", run_id="b", thresholds={"min_speech_ratio": 0.5})
    assert not again.other_thresholds and len(recorded(shelved)) == 1


def test_what_decides_is_said_with_what_is_remembered_and_the_default_comes_back(shelved: Settings) -> None:
    lake, pipeline = Lake.open(shelved), get_pipeline("talking_heads")
    usual = "min_face_presence_ratio 0.99, min_blur_score 50, min_speech_ratio 0.9"
    assert in_words(lake, pipeline) == usual
    assert in_words(lake, pipeline, {"min_blur_score": 7}).count("(default 50)") == 1
    curate(shelved, pipeline="talking_heads", run_id="a", thresholds={"min_speech_ratio": 0.5, "sample_seed": 3})
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    said = in_words(lake, pipeline)
    assert f"min_speech_ratio 0.5 (remembered from {today}, default 0.9)" in said
    assert f"sample_seed 3 (remembered from {today}, default 0)" in said
    back = {"min_speech_ratio": "default", "sample_seed": "default"}
    curate(shelved, pipeline="talking_heads", run_id="b", thresholds=back)
    assert in_words(lake, pipeline) == usual


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sample_seed", 10**24, "sample_seed: "),
        ("min_blur_score", "inf", "min_blur_score: "),
        ("min_speach_ratio", 0.5, "write min_speech_ratio. There is .*min_face_presence_ratio"),
        ("stride", 2, r"write video_quality\.stride"),
        ("video_qualty.stride", 2, r"write video_quality\.stride"),
        ("no_such", "default", "no_such: there is none"),
    ],
)
def test_thresholds_that_cannot_be_are_refused_by_name(shelved: Settings, name: str, value: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        curate(shelved, pipeline="talking_heads", run_id="a", thresholds={name: value})
    with pytest.raises(RequestError, match=r"fitt: there is none of that name; write fit\. There is .*fit"):
        get_pipeline("talking_heads").configured({"standardised": {"fitt": "crop"}})
    assert recorded(shelved) == []


def test_a_warehouse_that_is_none_is_refused_before_anything_is_done(landing: Path, tmp_path: Path) -> None:
    other = tmp_path / "mine.duckdb"
    other.write_text("mine")
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(other))
    with pytest.raises(RequestError, match="is not a warehouse of avlake"):
        run(settings, pipeline=PIPELINE, source=str(landing))
    assert Lake.open(settings).tables() == [] and other.read_text() == "mine"


def test_a_run_says_what_decides_and_compares_no_forecast_where_nothing_was_measured(
    landing: Path, tmp_path: Path
) -> None:
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=1)
    pipeline = get_pipeline(PIPELINE)
    make_pilot(settings, pipeline, str(landing), list_source(settings, pipeline, str(landing)), size=2)
    for compared in (True, False):
        said: list[str] = []
        run(settings, pipeline=PIPELINE, source=str(landing), train=False, say=said.append)
        assert any(line.startswith("forecast, from") for line in said) == compared
        at = said.index("decides  min_snr_db none, max_clipping_ratio 0.05")
        assert said[at + 1].startswith("gold  ")


# --- near duplicates are found once


def clusters(settings: Settings) -> dict[str, str]:
    data = Lake.open(settings).scan("gold.talking_heads")
    assert data is not None
    return {row["file_id"]: row["cluster"] for row in data.to_table().to_pylist()}


def test_near_duplicates_are_sought_anew_only_where_a_drop_or_a_takedown_came(
    shelved: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[str] = []
    find = duplicates.near_duplicates

    def counted(con: Any, dataset: str) -> None:
        sought.append(dataset)
        find(con, dataset)

    monkeypatch.setattr(duplicates, "near_duplicates", counted)
    curate(shelved, pipeline="talking_heads", run_id="a")
    first = clusters(shelved)
    assert len(set(first.values())) == 6 and len(sought) == 1
    curate(shelved, pipeline="talking_heads", run_id="b", thresholds={"min_speech_ratio": 0.99})
    preview(shelved, pipeline="talking_heads", run_id="c")
    assert clusters(shelved) == first and len(sought) == 1
    takedowns.add(shelved, files=[next(iter(first.values()))], subjects=(), reason="asked", who="test")
    curate(shelved, pipeline="talking_heads", run_id="d")
    assert len(clusters(shelved)) < len(first) and len(sought) == 2
    shelve(shelved, [Head("mp4/s9/v/9.mp4", "2026-09-03", content="c01")])
    curate(shelved, pipeline="talking_heads", run_id="e")
    assert len(set(clusters(shelved).values())) < len(clusters(shelved)) and len(sought) == 3


def test_damaged_notes_of_clusters_are_made_anew(shelved: Settings) -> None:
    curate(shelved, pipeline="talking_heads", run_id="a")
    before, store = clusters(shelved), Lake.open(shelved).store
    store.write("clusters/voxceleb.parquet", b"PAR1 torn")
    assert not curate(shelved, pipeline="talking_heads", run_id="b").changed and clusters(shelved) == before
