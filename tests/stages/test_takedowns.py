"""A takedown removes a file or a person from gold, the warehouse and training at the next build."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from avlake import warehouse
from avlake.datasets import synthetic
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages import takedowns
from avlake.stages.curate import CurateReport, curate
from avlake.stages.publish import publish
from avlake.stages.report import report
from avlake.stages.train import TrainReport, train
from avlake.tables import BRONZE_CONTENTS, BRONZE_FILES

PIPELINE, DROP, LATER = "voxforge_gender", "2026-09-01", "2026-09-02"
PERSON, OTHER = "synthetic01", "synthetic02"
ASKED = {"reason": "asked to be removed", "who": "ada"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with one drop: three people with two recordings each."""
    folder = tmp_path_factory.mktemp("takedowns")
    synthetic.write_drop(folder / "landing", DROP, speakers=3, utterances=2)
    settings = settings_in(folder)
    build(settings)
    return settings


@pytest.fixture
def settings(made: Settings, tmp_path: Path) -> Settings:
    """A copy of it that a test may change."""
    shutil.copytree(Path(made.uri).parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return settings_in(tmp_path)


def settings_in(folder: Path) -> Settings:
    return Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=2)


def landing(settings: Settings) -> Path:
    return Path(settings.uri).parent / "landing"


def build(settings: Settings) -> CurateReport:
    """Every drop through gold to the warehouse."""
    return run(settings, pipeline=PIPELINE, source=str(landing(settings)), train=False).gold


def rebuild(settings: Settings, run_id: str = "again") -> CurateReport:
    """Gold and the warehouse alone."""
    built = curate(settings, pipeline=PIPELINE, run_id=run_id)
    publish(settings, run_id=run_id)
    return built


def subjects(settings: Settings) -> set[str]:
    return {row[0] for row in warehouse.select(settings, "SELECT subject_id FROM gold.gender_windows")[1]}


def paths(settings: Settings, table: str = "gold.gender_windows") -> set[str]:
    return {row[0] for row in warehouse.select(settings, f"SELECT path FROM {table}")[1]}


def wav(number: int = 0, person: str = PERSON, drop: str = DROP) -> str:
    name = f"{person}-{drop.replace('-', '')}-syn"
    return f"{name}.tgz/{name}/wav/syn-{number:04d}.wav"


def mentions(settings: Settings, name: str) -> list[str]:
    """The warehouse's tables that say this anywhere."""
    with warehouse.connect(settings) as con:
        tables = warehouse.tables(con)
        said = f"SELECT count(*) FROM {{}} AS t WHERE contains(t::VARCHAR, '{name}')"
        return [table for table in tables if con.execute(said.format(table)).fetchall() != [(0,)]]


def avlake(settings: Settings, *words: str, file_size_kib: int | None = None) -> subprocess.CompletedProcess[str]:
    env = {"AVLAKE_URI": settings.uri, "AVLAKE_WAREHOUSE": settings.warehouse, "PATH": "/usr/bin:/bin"}
    env["HOME"] = str(Path(settings.uri).parent)
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # it would be cut off too
    limit = [] if file_size_kib is None else ["bash", "-c", f'ulimit -f {file_size_kib}; exec "$@"', "bash"]
    command = [*limit, sys.executable, "-m", "avlake.cli", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_a_person_is_gone_from_gold_and_the_whole_warehouse(settings: Settings) -> None:
    assert mentions(settings, PERSON) and mentions(settings, OTHER)
    before = warehouse.select(settings, f"FROM gold.gender_windows WHERE subject_id != '{PERSON}' ORDER BY ALL")
    takedowns.add(settings, subjects=[f"voxforge/{PERSON}"], **ASKED)
    built = rebuild(settings)
    assert (built.changed, built.taken_down) == (True, "2 recordings of 1 person taken down")
    assert mentions(settings, PERSON) == []
    assert warehouse.select(settings, "FROM gold.gender_windows ORDER BY ALL") == before
    gold = Lake.open(settings).scan("gold.gender_windows")
    assert gold is not None and PERSON not in gold.to_table()["subject_id"].to_pylist()
    assert not rebuild(settings, "once more").changed


def test_no_older_version_of_the_warehouse_keeps_them(settings: Settings) -> None:
    takedowns.add(settings, subjects=[f"voxforge/{PERSON}"], **ASKED)
    rebuild(settings)
    (version,) = Path(settings.warehouse).parent.glob("warehouse-*.duckdb")
    assert PERSON.encode() not in version.read_bytes()


def test_publishing_alone_takes_them_out_of_the_warehouse(settings: Settings) -> None:
    takedowns.add(settings, subjects=[f"voxforge/{PERSON}"], **ASKED)
    assert publish(settings, run_id="alone").changed
    assert mentions(settings, PERSON) == []
    assert not publish(settings, run_id="again").changed


def test_what_it_does_not_remove_is_the_bytes(settings: Settings) -> None:
    lake = Lake.open(settings)
    before = lake.rows(BRONZE_CONTENTS, "voxforge", DROP).num_rows
    takedowns.add(settings, subjects=[f"voxforge/{PERSON}"], **ASKED)
    build(settings)
    assert lake.rows(BRONZE_CONTENTS, "voxforge", DROP).num_rows == before
    assert any(PERSON in path for path in lake.rows(BRONZE_FILES, "voxforge", DROP)["path"].to_pylist())


def test_what_arrives_of_a_person_later_is_out_too(settings: Settings) -> None:
    takedowns.add(settings, subjects=[f"voxforge/{PERSON}"], **ASKED)
    synthetic.write_drop(landing(settings), LATER, speakers=2, utterances=1, seed=7)
    built = build(settings)
    assert built.taken_down == "3 recordings of 1 person taken down"
    assert mentions(settings, PERSON) == []
    assert wav(0, OTHER, LATER) in paths(settings)


def test_a_file_is_out_and_its_archive_stays(settings: Settings) -> None:
    takedowns.add(settings, files=[f"voxforge/{wav(0)}"], **ASKED)
    assert rebuild(settings).taken_down == "1 recording of 1 person taken down"
    assert {wav(0), wav(1)} & paths(settings) == {wav(1)}
    assert {wav(0), wav(1), wav(1).split("/")[0]} - paths(settings, "bronze.files") == {wav(0)}
    assert wav(0) not in paths(settings, "ops.extractions")


def test_an_archive_takes_its_members_with_it(settings: Settings) -> None:
    archive = wav(0).split("/")[0]
    takedowns.add(settings, files=[f"voxforge/{archive}"], **ASKED)
    rebuild(settings)
    assert mentions(settings, PERSON) == []
    assert any("LICENSE" in path for path in paths(settings, "bronze.files"))  # the same text in other archives


def test_the_same_bytes_elsewhere_are_out_too(settings: Settings) -> None:
    """In a later drop, inside another archive under another person's name."""
    copied = repacked(settings, wav(0), user="impostor")
    build(settings)
    assert "impostor" in subjects(settings)
    file_id = warehouse.select(settings, f"SELECT file_id FROM bronze.files WHERE path = '{wav(0)}'")[1][0][0]
    (added,) = takedowns.add(settings, files=[file_id], **ASKED)
    assert added.name == f"voxforge/{wav(0)}"
    rebuild(settings)
    assert {wav(0), wav(1)} & paths(settings) == {wav(1)}
    assert "impostor" not in subjects(settings)
    assert copied not in paths(settings, "bronze.files")


def test_bytes_stay_out_when_their_first_place_is_gone(settings: Settings) -> None:
    """The source replaces the archive that was named, and its recordings turn up under another name."""
    takedowns.add(settings, files=[f"voxforge/{wav(0).split('/')[0]}"], **ASKED)
    repacked(settings, wav(0), user="impostor")
    (landing(settings) / "voxforge" / DROP / wav(0).split("/")[0]).unlink()
    build(settings)
    bronze = Lake.open(settings).rows(BRONZE_FILES, "voxforge", DROP)["path"].to_pylist()
    assert not any(PERSON in path for path in bronze)
    assert "impostor" not in subjects(settings)


def repacked(settings: Settings, path: str, *, user: str, times: int = 1) -> str:
    """Deliver a recording again in the later drop, as if somebody else had read it; returns its path there."""
    archive, name = path.split("/", 1)
    with tarfile.open(landing(settings) / "voxforge" / DROP / archive) as tar:
        file = tar.extractfile(name)
        assert file is not None
        recording = file.read()
    top = f"{user}-20260902-abc"
    target = landing(settings) / "voxforge" / LATER / f"{top}.tgz"
    target.parent.mkdir(parents=True, exist_ok=True)
    readme = f"User Name:{user}\nGender: Female\nLanguage: EN\n".encode()
    copies = [(f"{top}/wav/copy{i or ''}.wav", recording) for i in range(times)]
    with gzip.open(target, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for member, data in ((f"{top}/etc/README", readme), *copies):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return f"{top}.tgz/{top}/wav/copy.wav"


def test_twice_is_said_and_not_doubled(settings: Settings) -> None:
    person = f"voxforge/{PERSON}"
    assert [one.new for one in takedowns.add(settings, subjects=[person, person], **ASKED)] == [True, False]
    assert [one.new for one in takedowns.add(settings, subjects=[person], reason="again", who="bob")] == [False]
    assert len(takedowns.listed(Lake.open(settings))) == 1


def test_recordings_are_counted_though_their_bytes_are_equal(settings: Settings) -> None:
    """An archive of a copy of somebody's recording twice is two recordings."""
    path = repacked(settings, wav(0), user="impostor", times=2)
    build(settings)
    named = {"files": [f"voxforge/{path.split('/')[0]}"], "subjects": ["voxforge/impostor"]}
    assert [one.recordings for one in takedowns.add(settings, **named, **ASKED)] == [2, 2]


def test_racing_requests_for_the_same_leave_one_row(settings: Settings) -> None:
    def ask(who: str) -> bool:
        (added,) = takedowns.add(settings, subjects=[f"voxforge/{PERSON}"], reason="race", who=who)
        return added.new

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(ask, ("ada", "bob", "eve"))) == [False, False, True]
    assert len(takedowns.listed(Lake.open(settings))) == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"subjects": ["voxforge/synthetic1"]}, f"like it: voxforge/{PERSON}"),
        ({"subjects": [PERSON]}, f"voxforge/{PERSON}"),
        ({"subjects": ["voxforge/"]}, "no person"),
        ({"files": [wav(0)[1:]]}, f"voxforge/{wav(0)}"),
        ({"files": ["voxforge/nothing.wav"]}, "like it: voxforge/"),
        ({"files": ["0" * 32]}, "no file"),
        ({}, "--file"),
        ({"subjects": [f"voxforge/{PERSON}"], "reason": " "}, "--reason"),
        ({"subjects": [f"voxforge/{PERSON}"], "who": ""}, "--by"),
    ],
)
def test_a_wrong_request_says_what_there_is(settings: Settings, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as error:
        takedowns.add(settings, **{**ASKED, **asked})
    assert said in str(error.value)
    assert takedowns.listed(Lake.open(settings)) == []


def test_a_path_alone_is_enough_where_one_file_has_it(settings: Settings) -> None:
    (added,) = takedowns.add(settings, files=[wav(0)], **ASKED)
    assert (added.name, added.recordings) == (f"voxforge/{wav(0)}", 1)
    rebuild(settings)
    assert wav(0) not in paths(settings) and wav(1) in paths(settings)


def test_one_unknown_name_takes_nothing_down(settings: Settings) -> None:
    with pytest.raises(RequestError, match="nobody"):
        takedowns.add(settings, subjects=[f"voxforge/{PERSON}", "voxforge/nobody"], **ASKED)
    assert takedowns.listed(Lake.open(settings)) == []


def test_an_empty_lake_says_so(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="the lake is empty"):
        takedowns.add(settings_in(tmp_path), subjects=["voxforge/x"], **ASKED)


def test_the_command_line_adds_applies_and_lists(settings: Settings) -> None:
    person = ("--subject", f"voxforge/{PERSON}", "--reason", ASKED["reason"], "--by", ASKED["who"])
    done = avlake(settings, "takedowns", "add", *person, "--file", f"voxforge/{wav(0, OTHER)}")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"voxforge/{PERSON}: 2 recordings" in done.stderr and "avlake takedowns apply" in done.stderr
    assert "already" in avlake(settings, "takedowns", "add", *person).stderr
    (file, subject) = csv.DictReader(io.StringIO(avlake(settings, "takedowns", "list", "--format", "csv").stdout))
    assert (file["path"], file["subject_id"], file["who"]) == (wav(0, OTHER), "", "ada")
    assert (subject["path"], subject["subject_id"]) == ("", PERSON)
    done = avlake(settings, "takedowns", "apply")
    assert done.returncode == 0
    assert "3 recordings of 2 people taken down" in done.stderr and f"avlake train {PIPELINE}" in done.stderr
    assert mentions(settings, PERSON) == [] and wav(0, OTHER) not in paths(settings)
    unknown = avlake(settings, "takedowns", "add", "--subject", "voxforge/x", "--reason", "r", "--by", "b")
    assert unknown.returncode == 2 and "like it" in unknown.stderr and "Traceback" not in unknown.stderr


def test_applying_publishes_though_gold_cannot_be_built(settings: Settings) -> None:
    takedowns.add(settings, subjects=[f"voxforge/{PERSON}"], **ASKED)
    shutil.rmtree(Path(settings.uri) / "silver" / "voice_features")
    done = avlake(settings, "takedowns", "apply")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "voice_features" in done.stderr.splitlines()[-1]
    assert mentions(settings, PERSON) == [] and OTHER in subjects(settings)


def test_applying_on_a_full_disk_is_one_line(settings: Settings) -> None:
    takedowns.add(settings, subjects=[f"voxforge/{PERSON}"], **ASKED)
    before = {path.name for path in Path(settings.warehouse).parent.iterdir()}
    done = avlake(settings, "takedowns", "apply", file_size_kib=300)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "AVLAKE_WAREHOUSE" in done.stderr.splitlines()[-1]
    assert {path.name for path in Path(settings.warehouse).parent.iterdir()} == before


@pytest.mark.usefixtures("fast")
def test_the_next_training_does_without_and_the_cards_say_so(copy: Settings) -> None:
    store = Lake.open(copy).store
    before = json.loads(store.read(f"models/{PIPELINE}/first/features.json"))["groups"]
    card = store.read(f"models/{PIPELINE}/first/data_card.md").decode()
    assert "Nothing was taken down" in card and "GPL-3.0-or-later" in card and f"voxforge/{DROP}/" in card
    takedowns.add(copy, subjects=[f"voxforge/{PERSON}"], **ASKED)
    rebuild(copy)
    trained: TrainReport = train(copy, pipeline=PIPELINE, run_id="without")
    assert trained.changed
    after = json.loads(store.read(f"models/{PIPELINE}/without/features.json"))["groups"]
    assert sum(before.values()) - sum(after.values()) == 1
    said = "2 recordings of 1 person taken down"
    assert said in store.read(f"models/{PIPELINE}/without/data_card.md").decode()
    assert said in Path(report(copy, pipeline=PIPELINE, run_id="without")).read_text()
    for file in store.list(f"models/{PIPELINE}/without"):
        assert PERSON.encode() not in store.read(file), file
