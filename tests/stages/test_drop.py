"""One drop through the lake, as its users meet it: exactly once, incrementally, whatever breaks on the way."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake.exceptions import DeltaError

from avlake import warehouse
from avlake.datasets import synthetic
from avlake.errors import FailureBudgetExceeded, RequestError, StaleRun, WorkError
from avlake.extractors import base
from avlake.lake import Lake
from avlake.runner import new_run_id, run
from avlake.settings import Settings
from avlake.stages import carry, quarantine
from avlake.stages.commit import CommitReport, commit
from avlake.stages.curate import curate
from avlake.stages.extract import PlanReport, measure_shard, plan
from avlake.stages.ingest import ingest
from avlake.tables import EXTRACTIONS, LABELS

PIPELINE, DATASET = "voxforge_gender", "voxforge"
DROP, LATER = "2026-09-01", "2026-09-02"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=2)


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A landing zone with two drops of synthesised voices: 4 speakers with 2 recordings each, twice."""
    landing = tmp_path_factory.mktemp("landing")
    for seed, drop in enumerate((DROP, LATER)):
        synthetic.write_drop(landing, drop, speakers=4, utterances=2, seed=seed)
    return landing


@pytest.fixture
def landing(voices: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(voices, tmp_path / "landing"))


def prepared(settings: Settings, landing: Path, drop: str = DROP, **options: Any) -> PlanReport:
    run_id = new_run_id("test")
    ingest(settings, dataset=DATASET, source=str(landing), drop=drop, run_id=run_id)
    return plan(settings, pipeline=PIPELINE, drop=drop, run_id=run_id, **options)


def finish(settings: Settings, made: PlanReport) -> CommitReport:
    for shard in range(made.shards):
        measure_shard(settings, plan=made.plan, shard=shard, run_id="test")
    return commit(settings, plan=made.plan, run_id="test")


def process(settings: Settings, landing: Path, drop: str = DROP, **options: Any) -> CommitReport:
    return finish(settings, prepared(settings, landing, drop, **options))


def gold_hash(settings: Settings) -> Any:
    curate(settings, pipeline=PIPELINE, run_id=new_run_id("test"))
    data = Lake.open(settings).scan("gold.gender_windows")
    with duckdb.connect(":memory:") as con:
        con.register("gold", data)
        return con.execute("SELECT count(*), sum(hash(gold)), bit_xor(hash(gold)) FROM gold").fetchone()


def ops(settings: Settings, drop: str = DROP) -> list[dict[str, Any]]:
    return Lake.open(settings).rows(EXTRACTIONS, DATASET, drop).to_pylist()


@pytest.fixture(scope="session")
def lakes(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By drop, a lake that has processed this one alone."""
    folder = tmp_path_factory.mktemp("lakes")
    for drop in (DROP, LATER):
        process(Settings(uri=str(folder / drop)), voices, drop)
    return folder


@pytest.fixture
def with_drop(lakes: Path, settings: Settings) -> None:
    """DROP is in the lake before the test begins."""
    shutil.copytree(lakes / DROP, settings.uri)


@pytest.fixture
def with_later(lakes: Path, settings: Settings) -> None:
    """LATER is."""
    shutil.copytree(lakes / LATER, settings.uri)


@pytest.fixture(scope="session")
def undisturbed(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The gold rows' hash of both drops, processed once and without trouble."""
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))
    for drop in (DROP, LATER):
        process(settings, voices, drop)
    return gold_hash(settings)


def test_every_file_is_measured_by_every_extractor(settings: Settings, landing: Path) -> None:
    report = process(settings, landing)
    assert (report.files, report.quarantined, report.changed, report.partial) == (8, 0, True, False)
    assert Counter(row["extractor"] for row in ops(settings)) == {"media": 8, "audio_quality": 8, "voice_features": 8}


@pytest.mark.usefixtures("with_drop")
def test_a_second_run_measures_and_commits_nothing(settings: Settings, landing: Path) -> None:
    lake = Lake.open(settings)
    before = {name: lake.log_version(name) for name in lake.tables() if name != "ops.runs"}
    made = prepared(settings, landing)
    assert (made.shards, made.to_measure, made.unchanged) == (0, 0, 8)
    assert not finish(settings, made).changed
    assert {name: lake.log_version(name) for name in before} == before


def test_order_repetition_and_shard_size_leave_the_same_gold(
    settings: Settings, landing: Path, undisturbed: Any
) -> None:
    process(settings, landing, LATER, files_per_task=3)
    process(settings, landing, DROP, files_per_task=1)
    process(settings, landing, LATER)
    assert gold_hash(settings) == undisturbed


@pytest.mark.usefixtures("with_later")
def test_a_run_killed_between_shards_goes_on_where_it_was(settings: Settings, landing: Path, undisturbed: Any) -> None:
    killed = prepared(settings, landing, files_per_task=2)
    measure_shard(settings, plan=killed.plan, shard=0, run_id="killed")
    assert ops(settings) == []  # nothing is there before the commit
    again = prepared(settings, landing, files_per_task=2)
    finish(settings, again)
    assert Counter(row["run_id"] for row in ops(settings)) == {"killed": 6, "test": 18}
    assert gold_hash(settings) == undisturbed


@pytest.mark.usefixtures("with_later")
def test_a_run_killed_between_two_tables_goes_on(
    settings: Settings, landing: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avlake.lake.COMMIT_ATTEMPTS", 2)
    made = prepared(settings, landing)
    for shard in range(made.shards):
        measure_shard(settings, plan=made.plan, shard=shard, run_id="killed")
    # With a file where the log of ops should be, silver is committed and ops, the last, fails.
    lake, log = Lake.open(settings), Path(settings.uri) / "ops" / "extractions" / "_delta_log"
    hidden = log.rename(log.with_name("hidden"))
    log.write_text("in the way")
    with pytest.raises((DeltaError, OSError)):
        commit(settings, plan=made.plan, run_id="killed")
    log.unlink()
    hidden.rename(log)
    assert lake.drop_version(LABELS, DATASET, DROP) == 1
    assert lake.drops() == [(DATASET, LATER)]  # a drop without its ops rows does not exist
    process(settings, landing)
    assert gold_hash(settings) == undisturbed


def test_a_commit_needs_every_shard(settings: Settings, landing: Path) -> None:
    made = prepared(settings, landing, files_per_task=4)
    measure_shard(settings, plan=made.plan, shard=0, run_id="test")
    with pytest.raises(WorkError, match="shard 1 of 2"):
        commit(settings, plan=made.plan, run_id="test")
    assert ops(settings) == []


@pytest.mark.usefixtures("with_later")
def test_a_zombie_changes_nothing(settings: Settings, landing: Path, undisturbed: Any) -> None:
    zombie = prepared(settings, landing, files_per_task=5)
    for shard in range(zombie.shards):
        measure_shard(settings, plan=zombie.plan, shard=shard, run_id="zombie")
    process(settings, landing)
    before = gold_hash(settings)
    with pytest.raises(StaleRun):
        commit(settings, plan=zombie.plan, run_id="zombie")
    assert gold_hash(settings) == before == undisturbed


def test_committing_twice_is_committing_once(settings: Settings, landing: Path) -> None:
    made = prepared(settings, landing)
    assert finish(settings, made).changed
    rows = ops(settings)
    assert commit(settings, plan=made.plan, run_id="test").files == 8
    assert ops(settings) == rows


@pytest.mark.usefixtures("with_later")
def test_a_limit_measures_few_and_removes_nothing(settings: Settings, landing: Path, undisturbed: Any) -> None:
    first = process(settings, landing, limit=3)
    assert (first.measured, first.partial) == (3, True)
    second = process(settings, landing, limit=3)
    assert (second.measured, second.partial) == (6, True)
    last = process(settings, landing)
    assert (last.measured, last.partial) == (8, False)
    assert gold_hash(settings) == undisturbed


@pytest.mark.usefixtures("with_drop")
def test_changed_bytes_are_measured_again_and_no_others(settings: Settings, landing: Path) -> None:
    archives = sorted((landing / DATASET / DROP).iterdir())
    fresh = synthetic.write_drop(landing.parent / "fresh", DROP, speakers=4, utterances=2, seed=9)
    replacement = sorted(p for p in fresh.rglob("*.tgz"))[0]
    shutil.copyfile(replacement, archives[0])
    made = prepared(settings, landing)
    assert (made.to_measure, made.unchanged) == (2, 6)
    assert finish(settings, made).files == 8


@pytest.mark.usefixtures("with_drop")
def test_a_removed_archive_leaves_every_table(settings: Settings, landing: Path) -> None:
    sorted((landing / DATASET / DROP).iterdir())[0].unlink()
    report = process(settings, landing)
    assert report.changed and report.files == 6
    lake = Lake.open(settings)
    for name in ("bronze.files", "silver.media", "silver.voice_features", "silver.labels"):
        paths = lake.scan(name)
        assert paths is not None
        assert len({r["file_id"] for r in paths.to_table().to_pylist()} & {r["file_id"] for r in ops(settings)}) == 6
    assert len(ops(settings)) == 18


@pytest.mark.usefixtures("with_drop")
def test_identical_bytes_in_another_drop_are_not_measured_again(settings: Settings, landing: Path) -> None:
    third = landing / DATASET / "2026-09-03"
    third.mkdir()
    source = sorted((landing / DATASET / DROP).iterdir())[0]
    shutil.copyfile(source, third / "renamed-20260903-abc.tgz")
    made = prepared(settings, landing, "2026-09-03")
    assert (made.to_measure, made.reused) == (0, 2)
    assert finish(settings, made).measured == 2
    lake = Lake.open(settings)
    rows = lake.scan("silver.voice_features")
    assert rows is not None
    windows = Counter(r["drop_date"] for r in rows.to_table(columns=["drop_date"]).to_pylist())
    assert windows["2026-09-03"] > 0


@pytest.mark.usefixtures("with_drop")
def test_a_changed_parameter_measures_one_extractor_again(settings: Settings, landing: Path) -> None:
    made = prepared(settings, landing, params={"voice_features": {"window_s": 2.0}})
    assert made.to_measure == 8
    finish(settings, made)
    seen = Counter((row["extractor"], row["run_id"]) for row in ops(settings))
    assert len(ops(settings)) == 24 and seen["voice_features", "test"] == 8


def test_an_unknown_parameter_is_refused_before_any_work(settings: Settings, landing: Path) -> None:
    ingest(settings, dataset=DATASET, source=str(landing), drop=DROP, run_id="test")
    with pytest.raises(RequestError, match="no_such"):
        plan(settings, pipeline=PIPELINE, drop=DROP, run_id="x", params={"voice_features": {"no_such": 1}})


def test_bad_files_are_rows_and_never_end_a_run(settings: Settings, landing: Path) -> None:
    folder = landing / DATASET / DROP
    whole = sorted(folder.iterdir())[0].read_bytes()
    (folder / "cut-20260901-aaa.tgz").write_bytes(whole[: len(whole) // 2])
    (folder / "nonsense-20260901-bbb.tgz").write_bytes(b"no archive at all")
    report = process(settings, landing)
    assert (report.files, report.quarantined) == (8, 2)
    listed = quarantine.listed(Lake.open(settings))
    assert {(row[0], row[1]) for row in listed} == {
        ("cut-20260901-aaa.tgz", "ingest"),
        ("nonsense-20260901-bbb.tgz", "ingest"),
    }
    assert len({row[2] for row in listed}) == 2 and all(row[3] for row in listed)


def test_over_the_budget_the_run_fails_and_keeps_what_was_good(settings: Settings, landing: Path) -> None:
    for i in range(6):
        (landing / DATASET / DROP / f"bad{i}-20260901-aaa.tgz").write_bytes(b"no archive at all")
    with pytest.raises(FailureBudgetExceeded, match=r"6 of 14 files.*bad0-20260901-aaa.tgz"):
        process(settings, landing)
    assert sum(row["status"] == "ok" for row in ops(settings)) == 24


def test_requeued_files_stay_listed_until_the_next_run(settings: Settings, landing: Path) -> None:
    (landing / DATASET / DROP / "bad-20260901-aaa.tgz").write_bytes(b"no archive at all")
    process(settings, landing)
    lake = Lake.open(settings)
    assert quarantine.requeue(lake) == 1
    assert len(quarantine.listed(lake)) == 1


@pytest.mark.usefixtures("with_drop")
def test_gold_changes_with_thresholds_and_silver_does_not(settings: Settings) -> None:
    curate(settings, pipeline=PIPELINE, run_id="one")
    lake = Lake.open(settings)
    silver = {name: lake.log_version(name) for name in lake.tables() if name.startswith("silver.")}
    strict = curate(settings, pipeline=PIPELINE, run_id="two", thresholds={"min_snr_db": 200.0})
    assert strict.changed and strict.kept["gold.gender_windows"] == 0
    assert {name: lake.log_version(name) for name in silver} == silver
    again = curate(settings, pipeline=PIPELINE, run_id="three")  # thresholds stay until they are changed
    assert not again.changed
    reasons = lake.scan("gold.gender_windows")
    assert reasons is not None and set(reasons.to_table()["reject_reason"].to_pylist()) == {"noisy"}


@pytest.mark.usefixtures("with_drop")
def test_an_unknown_threshold_is_refused(settings: Settings) -> None:
    with pytest.raises(RequestError, match="min_snr"):
        curate(settings, pipeline=PIPELINE, run_id="x", thresholds={"min_snr": 3})


def test_a_whole_run_without_airflow(settings: Settings, landing: Path) -> None:
    lines: list[str] = []
    report = run(settings, pipeline=PIPELINE, source=str(landing), train=False, say=lines.append)
    assert sorted(report.drops) == [DROP, LATER] and report.gold.changed
    with warehouse.connect(settings) as con:
        row = con.execute(
            "SELECT g.split, f.sha256, o.status FROM gold.gender_windows g "
            "JOIN bronze.files f USING (file_id, drop_date) "
            "JOIN ops.extractions o USING (file_id, drop_date) WHERE extractor = 'voice_features' LIMIT 1"
        ).fetchone()
    assert row is not None and row[0] in ("train", "validation", "test") and row[2] == "ok"
    again = run(settings, pipeline=PIPELINE, source=str(landing), train=False, say=lines.append)
    assert not again.gold.changed and any("nothing to do" in line for line in lines)


def test_an_unknown_drop_lists_those_that_exist(settings: Settings, landing: Path) -> None:
    with pytest.raises(RequestError, match=f"{DROP}, {LATER}"):
        run(settings, pipeline=PIPELINE, source=str(landing), drop="2020-01-01")


def test_the_parameters_behind_a_hash_are_kept(settings: Settings, landing: Path) -> None:
    prepared(settings, landing, params={"voice_features": {"window_s": 2.0}})
    names = Lake.open(settings).store.list("params/voice_features")
    assert [json.loads(Lake.open(settings).store.read(name))["window_s"] for name in names] == [2.0]


def windows(settings: Settings, drop: str = DROP) -> int:
    return int(Lake.open(settings).rows(base.load("voice_features").table, DATASET, drop).num_rows)


@pytest.mark.usefixtures("with_drop")
def test_ops_never_vouches_for_silver_of_a_run_that_was_killed(
    settings: Settings, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = windows(settings)
    other = prepared(settings, landing, params={"voice_features": {"hop_s": 0.5}})
    for shard in range(other.shards):
        measure_shard(settings, plan=other.plan, shard=shard, run_id="killed")
    real, seen = Lake.commit_drop, []

    def dies_before_the_last(lake: Lake, table: Any, *place: str, **rest: Any) -> bool:
        seen.append(table.name)
        if seen.count(EXTRACTIONS.name) == 2:
            raise KeyboardInterrupt
        return real(lake, table, *place, **rest)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Lake, "commit_drop", dies_before_the_last)
        commit(settings, plan=other.plan, run_id="killed")
    assert windows(settings) > before
    assert finish(settings, prepared(settings, landing)).changed
    assert windows(settings) == before


@pytest.mark.usefixtures("with_drop")
def test_a_late_run_with_other_extractors_touches_no_silver(settings: Settings, landing: Path) -> None:
    late = prepared(settings, landing, params={"voice_features": {"hop_s": 0.5}})
    for shard in range(late.shards):
        measure_shard(settings, plan=late.plan, shard=shard, run_id="late")
    process(settings, landing, params={"audio_quality": {"silence_db": 20.0}})
    before = windows(settings)
    with pytest.raises(StaleRun):
        commit(settings, plan=late.plan, run_id="late")
    assert windows(settings) == before


@pytest.mark.usefixtures("with_drop")
def test_rows_that_vanish_while_they_are_copied_are_measured_instead(
    settings: Settings, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive moves from one drop to another; the first drop's run commits while the second's is planned."""
    archive = min((landing / DATASET / DROP).iterdir())
    archive.rename(landing / DATASET / LATER / archive.name)
    plain = carry.carry

    def after_the_first_drop(*args: Any, **options: Any) -> carry.Takeover:
        monkeypatch.setattr(carry, "carry", plain)
        process(settings, landing)
        return plain(*args, **options)

    monkeypatch.setattr(carry, "carry", after_the_first_drop)
    with pytest.raises(StaleRun, match="run it again"):
        prepared(settings, landing, LATER)
    again = prepared(settings, landing, LATER)
    assert (again.to_measure, again.reused) == (10, 0)
    finish(settings, again)
    windows = Lake.open(settings).rows(base.load("voice_features").table, DATASET, LATER)
    assert set(windows["file_id"].to_pylist()) == {row["file_id"] for row in ops(settings, LATER)}


def test_requeued_recordings_are_really_measured_again(settings: Settings, landing: Path) -> None:
    hasty = settings.model_copy(update={"file_timeout_s": 0.001})
    with pytest.raises(FailureBudgetExceeded):
        process(hasty, landing)
    assert {row["error_class"] for row in ops(settings)} == {"timeout"}
    assert prepared(settings, landing).to_measure == 0
    assert quarantine.requeue(Lake.open(settings)) == 8
    assert process(settings, landing).measured == 8


def test_bytes_that_are_gone_are_not_counted_as_measured(settings: Settings, landing: Path) -> None:
    planned = prepared(settings, landing)
    for archive in (landing / DATASET / DROP).iterdir():
        archive.unlink()
    (landing / DATASET / DROP / "notes.txt").write_text("all gone")
    ingest(settings, dataset=DATASET, source=str(landing), drop=DROP, run_id="other")
    with pytest.raises(StaleRun, match="have changed"):
        measure_shard(settings, plan=planned.plan, shard=0, run_id="test")


@pytest.mark.usefixtures("with_drop")
def test_a_drop_whose_files_are_all_gone_leaves_every_table(settings: Settings, landing: Path) -> None:
    for archive in (landing / DATASET / DROP).iterdir():
        archive.unlink()
    assert process(settings, landing).changed
    assert ops(settings) == [] and windows(settings) == 0


def test_an_empty_drop_is_skipped_and_a_failed_one_says_why(settings: Settings, landing: Path) -> None:
    (landing / DATASET / "2026-09-04").mkdir()
    lines: list[str] = []
    report = run(settings, pipeline=PIPELINE, source=str(landing), train=False, say=lines.append)
    assert sorted(report.drops) == [DROP, LATER]
    assert any(line.startswith("2026-09-04  skipped") for line in lines)


def test_a_lake_that_moved_still_finds_its_large_files(settings: Settings, landing: Path, tmp_path: Path) -> None:
    by_reference = settings.model_copy(update={"inline_max_bytes": 1000})
    made = prepared(by_reference, landing)
    moved = Path(settings.uri).rename(tmp_path / "moved")
    assert finish(by_reference.model_copy(update={"uri": str(moved)}), made).measured == 8


def test_another_lake_is_not_taken_for_the_published_one(settings: Settings, landing: Path, tmp_path: Path) -> None:
    run(settings, pipeline=PIPELINE, source=str(landing), drop=DROP, train=False)
    other = settings.model_copy(update={"uri": str(tmp_path / "other")})
    run(other, pipeline=PIPELINE, source=str(landing), drop=LATER, train=False)
    with warehouse.connect(settings) as con:
        assert con.execute("SELECT DISTINCT drop_date FROM bronze.files").fetchall() == [(LATER,)]
