"""The forecast through its public face: what a source will take, said before and compared after."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from avlake.datasets import synthetic
from avlake.datasets.base import Entry
from avlake.lake import Lake
from avlake.pipelines import get_pipeline
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages.actual import expect, run_rows
from avlake.stages.costs import Delivered, Pilot, UnitCost
from avlake.stages.forecast import Listing, StoredPilot, forecast, hashes_of, list_source, make_pilot, stored_pilot

PIPELINE = get_pipeline("voxforge_gender")
MEDIA = PIPELINE.dataset.is_media


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drops of archives with one to four recordings each, one of them torn."""
    folder = tmp_path_factory.mktemp("forecast")
    for number, drop in enumerate(("2026-09-01", "2026-09-02")):
        for utterances in (1, 4):
            synthetic.write_drop(folder / "parts", drop, speakers=3, utterances=utterances, seed=10 * number)
            for archive in sorted((folder / "parts" / "voxforge" / drop).iterdir()):
                target = folder / "landing" / "voxforge" / drop / archive.name.replace("-syn", f"-{utterances}")
                target.parent.mkdir(parents=True, exist_ok=True)
                archive.rename(target)
    (folder / "landing" / "voxforge" / "2026-09-02" / "torn-20260902-aaa.tgz").write_bytes(b"\x1f\x8b torn")
    return folder / "landing"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=2)


def avlake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        "AVLAKE_URI": str(folder / "lake"),
        "AVLAKE_WAREHOUSE": str(folder / "warehouse.duckdb"),
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }
    command = [sys.executable, "-m", "avlake.cli", *words]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


class Taken(NamedTuple):
    """A lake that took a source after a pilot had measured all of it, and what the run said."""

    settings: Settings
    listing: Listing
    made: StoredPilot
    said: list[str]


@pytest.fixture(scope="module")
def taken(landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Taken:
    folder, said = tmp_path_factory.mktemp("taken"), []
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=2)
    listing = list_source(settings, PIPELINE, str(landing))
    made = make_pilot(settings, PIPELINE, str(landing), listing, size=99)
    run(settings, pipeline=PIPELINE.name, source=str(landing), train=False, say=said.append)
    return Taken(settings, listing, made, said)


def test_a_source_measured_whole_is_known_and_a_run_takes_just_that(landing: Path, taken: Taken) -> None:
    settings, listing, made, said = taken
    assert (listing.drops, listing.files, len(listing.to_do)) == (2, 13, 13)
    told = forecast(made, listing.to_do, is_media=MEDIA, jobs=2, landing_is_remote=False)
    assert (told["files"].low, told["files"].value, told["files"].high) == (30, 30, 30)
    assert told["delivered_bytes"].value == listing.size_bytes
    rows = [row for row in run_rows(Lake.open(settings)) if row["stage"] == "extract"]
    assert sum(row["files"] for row in rows) == 30
    assert told["media_s"].value == pytest.approx(sum(row["media_s"] for row in rows))
    assert told["measure_cpu_s"].value > 0 and all(row["cpu_s"] > 0 for row in rows)
    assert any(line.startswith("forecast  about") and "30 media files" in line for line in said)
    compared = {line.split("  ")[1].strip(): line for line in said if line.startswith("  ")}
    assert compared["media files"].endswith("inside") and compared["media"].endswith("inside")
    assert {"CPU, measuring", "CPU, all", "time", "bronze", "silver", "gold"} <= compared.keys()
    # What is in the lake is not to be measured again.
    assert list_source(settings, PIPELINE, str(landing)).to_do == []


def test_a_pilot_leaves_nothing_but_its_measurements(landing: Path, settings: Settings, tmp_path: Path) -> None:
    listing, before = list_source(settings, PIPELINE, str(landing)), sorted(landing.rglob("*"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(scratch))
        made = make_pilot(settings, PIPELINE, str(landing), listing, size=4)
    assert list(scratch.iterdir()) == [] and sorted(landing.rglob("*")) == before
    lake = Lake.open(settings)
    assert lake.tables() == [] and lake.store.list("forecasts") == ["forecasts/voxforge_gender.json"]
    assert stored_pilot(lake, PIPELINE.name, listing.uri) == made
    assert stored_pilot(lake, PIPELINE.name, "/elsewhere") is None
    assert len(made.pilot.units) == 4 and {unit.drop for unit in made.pilot.units} == {"2026-09-01", "2026-09-02"}


def test_a_million_files_are_extrapolated(taken: Taken) -> None:
    few, many = (
        forecast(taken.made, taken.listing.to_do, is_media=MEDIA, jobs=2, files=n, landing_is_remote=False)
        for n in (13_000, 1_000_000)
    )
    assert many["delivered_files"].value == 1_000_000
    for name in ("files", "media_s", "delivered_bytes", "bronze_bytes"):
        assert many[name].value == pytest.approx(few[name].value * 1000 / 13, rel=0.01)
    assert many["media_s"].low < many["media_s"].value < many["media_s"].high


def made_up(paths: dict[str, int], **more: Any) -> tuple[StoredPilot, list[Delivered]]:
    """A pilot that measured the first two of these files (path -> recordings in it), and all of them to do."""
    to_do = [Delivered("2026-09-01", Entry(path, path, "1", 1000 * max(1, n))) for path, n in paths.items()]
    units = [
        UnitCost("2026-09-01", unit.entry.path, unit.entry.size_bytes or 0, files=n, media_s=8.0 * n, cpu_s=1.0 * n)
        for unit, n in zip(to_do[:2], paths.values(), strict=False)
    ]
    given = {"source": "/landing", "created_at": "2026-09-01", "drops": ["2026-09-01"], "hashes": {}} | more
    return StoredPilot(**given, pilot=Pilot(1, 1.0, units, {}, 0.0, 0.0, 0.0, [])), to_do


def test_recordings_outside_archives_are_counted_not_estimated() -> None:
    heads = get_pipeline("talking_heads").dataset.is_media
    clips = {f"mp4/ann/v{i}/{i}.mp4": 1 for i in range(48)}
    pilot, to_do = made_up(clips | {"README.txt": 0, "mp4/ann/outside.mp4": 0})
    told = forecast(pilot, to_do, is_media=heads, jobs=1, landing_is_remote=False)
    assert (told["files"].low, told["files"].value, told["files"].high) == (48, 48, 48)
    assert told["media_s"].value == pytest.approx(48 * 8.0) and told["delivered_files"].value == 50
    many = forecast(pilot, to_do, is_media=heads, jobs=1, files=5000, landing_is_remote=False)
    assert (many["files"].value, many["files"].half) == (4800, 0)


def test_recordings_inside_archives_are_estimated_beside_those_that_are_counted() -> None:
    paths = {"a.tgz": 3, "b.tgz": 5, "c.tgz": 4, "loose.wav": 1, "notes.txt": 0}
    pilot, to_do = made_up(paths)
    told = forecast(pilot, to_do, is_media=MEDIA, jobs=1, landing_is_remote=False)["files"]
    assert told.value == pytest.approx(3 + 5 + 4 + 1) and told.least == 3 + 5 + 1


def test_a_pilot_with_other_parameters_says_nothing_of_a_run(landing: Path, settings: Settings) -> None:
    store, listing = Lake.open(settings).store, list_source(settings, PIPELINE, str(landing))
    pilot, _ = made_up({"a.tgz": 3, "b.tgz": 5}, source=listing.uri, hashes=hashes_of(settings, PIPELINE, None))
    store.write("forecasts/voxforge_gender.json", json.dumps(asdict(pilot)).encode())
    assert expect(settings, PIPELINE, str(landing)) is not None
    assert expect(settings, PIPELINE, str(landing), params={"audio_quality": {"silence_db": "50"}}) is None


def test_plan_takes_parameters_and_no_thresholds(landing: Path, tmp_path: Path) -> None:
    done = avlake(tmp_path, "plan", "voxforge_gender", "--source", str(landing), "--set", "min_snr_db=3")
    assert done.returncode == 2 and "EXTRACTOR.PARAMETER" in done.stderr
    done = avlake(tmp_path, "plan", "voxforge_gender", "--source", str(landing), "--set", "audio_quality.no_such=3")
    assert done.returncode == 2 and "no_such" in done.stderr


def test_earlier_drops_make_a_forecast_where_no_pilot_was_made(landing: Path, settings: Settings) -> None:
    said: list[str] = []
    run(settings, pipeline=PIPELINE.name, source=str(landing), train=False, say=said.append)
    assert any("none; `avlake plan voxforge_gender --source" in line for line in said)
    third = Path(settings.uri).parent / "more" / "voxforge" / "2026-09-03"
    shutil.copytree(synthetic.write_drop(third.parents[1] / "made", "2026-09-03", speakers=4, seed=7), third)
    said.clear()
    run(settings, pipeline=PIPELINE.name, source=str(third), train=False, say=said.append)
    assert any("from 2 drops of earlier runs" in line for line in said)


def test_plan_prints_words_for_people_and_numbers_for_programs(landing: Path, tmp_path: Path) -> None:
    asked = ("plan", "voxforge_gender", "--source", str(landing), "--pilot", "50", "--jobs", "1")
    done = avlake(tmp_path, *asked, "--price-cpu-hour", "3600", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads(done.stdout)}
    assert rows["cost_cpu"]["value"] == pytest.approx(rows["cpu_s"]["value"])
    assert rows["files"]["low"] == rows["files"]["high"] == 30
    assert "--pilot 50 is more than there is: all 13 files" in done.stderr and "1 failed: torn" in done.stderr
    csv_rows = list(
        csv.DictReader(io.StringIO(avlake(tmp_path, *asked[:5], "4", *asked[6:], "--format", "csv").stdout))
    )
    assert [row["what"] for row in csv_rows] == list(rows)


def test_what_cannot_be_forecast_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "voxforge" / "2026-09-01"
    folder.mkdir(parents=True)
    empty = avlake(tmp_path, "plan", "voxforge_gender", "--source", str(tmp_path / "landing"))
    assert empty.returncode == 2 and "hold no files" in empty.stderr
    unknown = avlake(tmp_path, "plan", "no_such_pipeline", "--source", str(tmp_path / "landing"))
    assert unknown.returncode == 2 and "voxforge_gender" in unknown.stderr
    (folder / "torn-20260901-aaa.tgz").write_bytes(b"\x1f\x8b torn")
    torn = avlake(tmp_path, "plan", "voxforge_gender", "--source", str(tmp_path / "landing"))
    assert torn.returncode == 1 and "all 1 files of the pilot failed" in torn.stderr and "torn" in torn.stderr
    missing = avlake(tmp_path, "plan", "voxforge_gender", "--source", str(folder.parents[1]), "--drop", "2020-01-01")
    assert missing.returncode == 2 and "2026-09-01" in missing.stderr


@pytest.mark.parametrize("wrong", ["min_snr_db=abc", "no_such=1", "media.no_such=1", "audio_quality.silence_db=abc"])
def test_a_wrong_parameter_is_told_before_anything_is_done(landing: Path, tmp_path: Path, wrong: str) -> None:
    done = avlake(tmp_path, "run", "voxforge_gender", "--source", str(landing), "--set", wrong)
    assert done.returncode == 2 and wrong.partition("=")[0].rpartition(".")[2] in done.stderr
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"source": 1}', b"\xff", None])
def test_a_pilot_that_cannot_be_read_is_none(landing: Path, settings: Settings, damaged: bytes | None) -> None:
    listing, store = list_source(settings, PIPELINE, str(landing)), Lake.open(settings).store
    if damaged is None:  # of another version: a unit knows more than ours
        units = [{"drop": "2026-09-01", "path": "a.tgz", "size_bytes": 1, "colour": "blue"}]
        damaged = json.dumps({"source": listing.uri, "pilot": {"units": units, "steps": {}}}).encode()
    store.write("forecasts/voxforge_gender.json", damaged)
    assert stored_pilot(Lake.open(settings), PIPELINE.name, listing.uri) is None
    assert expect(settings, PIPELINE, str(landing)) is None


def test_nothing_to_do_is_an_empty_answer(landing: Path, taken: Taken) -> None:
    folder = Path(taken.settings.uri).parent
    asked = ("plan", "voxforge_gender", "--source", str(landing), "--format")
    assert json.loads(avlake(folder, *asked, "json").stdout) == []
    assert avlake(folder, *asked, "csv").stdout == "what,value,low,high\n"
    assert avlake(folder, *asked, "table").stdout.startswith("what  forecast  95 % interval\n")


def test_rows_of_a_parquet_file_are_estimated_where_the_dataset_opens_it() -> None:
    pilot, to_do = made_up({"a.parquet": 3, "b.parquet": 5, "vggsound.csv": 0})
    effects = get_pipeline("sound_effects").dataset
    told = forecast(pilot, to_do, is_media=effects.is_media, jobs=1, landing_is_remote=False, opens=effects.opens)
    assert told["files"].value == pytest.approx(8)
    assert told["media_s"].value > 0
