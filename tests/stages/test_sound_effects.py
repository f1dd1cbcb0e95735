"""Gold of sound effects: every clip has a row with the decision and its reasons; what is kept is listed in words."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from effects import Sound, shelve

from avlake.cli.governance import takedowns_apply
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.learn import calibration
from avlake.runner import new_run_id, run
from avlake.settings import Settings
from avlake.stages import calibrated
from avlake.stages import curate as curate_stage
from avlake.stages.curate import curate
from avlake.stages.human import Said, submit
from avlake.stages.listing import write_list
from avlake.stages.publish import publish
from avlake.stages.takedowns import add
from avlake.stages.train import train

PIPELINE = "sound_effects"
LIST = "exports/sound_effects/sfx_filtered.jsonl"
SHARED = Path(__file__).parents[2].parent / "shared"
LOUD = (0.9, 0.8, 0.7, 0.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=1)


@pytest.fixture(autouse=True)
def fold_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in a fifth of the time."""
    monkeypatch.setattr(calibration, "REPEATS", 1)


def decide(settings: Settings, **thresholds: Any) -> dict[str, dict[str, Any]]:
    """Gold's rows by video_id."""
    curate(settings, pipeline=PIPELINE, run_id=new_run_id("test"), thresholds=thresholds or None)
    data = Lake.open(settings).scan("gold.sound_effects")
    assert data is not None
    return {row["video_id"]: row for row in data.to_table().to_pylist()}


def labelled() -> list[Sound]:
    """Clips that people labelled: half of them effects, the others with speech, music or both, easy to tell apart."""
    kinds = [("sfx", {})] * 24 + [("sfx+speech", {"speech": LOUD})] * 8
    kinds += [("music", {"music": LOUD, "label": "orchestra"})] * 8 + [("sfx+music", {"music": LOUD})] * 8
    return [Sound(f"video{i:06}_000000", human=human, **more) for i, (human, more) in enumerate(kinds)]


def test_every_clip_has_a_row_and_every_reason(settings: Settings) -> None:
    expected = {
        "below_000000": (Sound("below_000000", speech=(0.0999,) * 4), None),
        "limit_000000": (Sound("limit_000000", speech=(0.1,) * 4), "speech"),
        "three_000000": (Sound("three_000000", speech=(0.25, 0.04, 0.0, 0.0)), None),
        "four0_000000": (Sound("four0_000000", speech=(0.25, 0.05, 0.01, 0.0), music=(0.4, 0, 0, 0.9)), "speech,music"),
        "last0_000000": (Sound("last0_000000", speech=(0.0, 0.0, 1.0), music=(0.0, 0.0, 1.0)), None),
        "short_000000": (Sound("short_000000", speech=(0.6,), music=(0.0,)), "speech"),
        "voice_000000": (Sound("voice_000000", speech_ratio=0.25), "speech"),
        "quiet_000000": (Sound("quiet_000000", speech_ratio=0.2), None),
        "long0_000000": (Sound("long0_000000", speech_ratio=0.1, duration_s=10.0), "speech"),
        "nobod_000000": (Sound("nobod_000000", speech_ratio=None), "speech_not_measured"),
        "tiny0_000000": (Sound("tiny0_000000", speech=(), music=()), "too_short"),
        "mute0_000000": (Sound("mute0_000000", has_audio=False), "no_audio"),
        "unnamed": (Sound("unnamed", label=None), None),
    }
    shelve(settings, [sound for sound, _ in expected.values()])
    rows = decide(settings)
    assert {name: row["reject_reason"] for name, row in rows.items()} == {n: why for n, (_, why) in expected.items()}
    assert all(row["kept"] == (row["reject_reason"] is None) for row in rows.values())
    assert rows["three_000000"]["speech_score"] == pytest.approx(0.29 / 3, rel=1e-6)
    assert (rows["unnamed"]["sound"], rows["unnamed"]["start_s"]) == (None, None)
    assert rows["unnamed"]["audio_text_description"] == "Sounds of a bark and a dog"
    assert rows["below_000000"]["audio_text_description"] == "Sound of a dog barking"
    assert all(row["p_sfx"] is None and row["calibrated_threshold"] is None for row in rows.values())


def test_a_video_is_in_one_split_and_its_start_is_known(settings: Settings) -> None:
    shelve(settings, [Sound(f"-aB_{i}def{i // 3:02}_{i:06}") for i in range(12)])
    rows = decide(settings)
    assert {row["start_s"] for row in rows.values()} == set(range(12))
    assert all(row["youtube_id"] == name[:-7] for name, row in rows.items())


def test_other_limits_decide_otherwise(settings: Settings) -> None:
    shelve(settings, [Sound(speech=(0.3,) * 4, music=(0.3,) * 4, speech_ratio=0.5)])
    limits = {"max_speech_score": 0.31, "max_music_score": 0.31, "max_speech_ratio": 0.6, "max_speech_s": 3}
    assert [row["kept"] for row in decide(settings, **limits).values()] == [True]


def test_a_clip_is_listed_once_by_its_own_name(settings: Settings) -> None:
    twice = [Sound("twice_000010", shard=shard) for shard in ("vggsound_00.tar.gz", "vggsound_01.tar.gz")]
    rows = [Sound("000000", shard=f"{name}.parquet") for name in ("a", "b")]
    shelve(settings, [*twice, *rows, Sound("000001", shard="a.parquet", clip="known_000030")])
    curate(settings, pipeline=PIPELINE, run_id=new_run_id("test"))
    write_list(settings, pipeline=PIPELINE)
    lines = [json.loads(line) for line in (Path(settings.uri) / LIST).read_text().splitlines()]
    assert [(line["video_id"], line["youtube_id"], line["start_s"]) for line in lines] == [
        ("000000", "000000", None), ("known_000030", "known", 30),
        ("000000", "000000", None), ("twice_000010", "twice", 10),
    ]  # fmt: skip


def test_memory_does_not_grow_with_the_clips(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = [(f"tag {n:02}", 0.9 - n / 30) for n in range(20)]
    shelve(settings, [Sound(f"video{i:06}_000000", tags=tags) for i in range(1500)])
    monkeypatch.setattr(curate_stage, "MEMORY", "64MB")  # lists of all tags took 140 MB
    monkeypatch.setattr(calibrated, "AT_ONCE", 400)
    rows = decide(settings)
    assert len(rows) == 1500 and all(row["top_tags"] == [tag for tag, _ in tags[:5]] for row in rows.values())


def test_the_calibrated_decision_asks_for_labels(settings: Settings) -> None:
    shelve(settings, [Sound("one_000000", human="sfx"), Sound("two_000000", human="music")])
    with pytest.raises(RequestError, match=r"at least 20 of each.*avlake labels import"):
        decide(settings, decision="calibrated")
    rows = decide(settings)  # the refused decision is not remembered
    assert {name: row["human_sound"] for name, row in rows.items()} == {"one_000000": "sfx", "two_000000": "music"}


def test_a_precision_that_so_few_labels_cannot_show_is_refused(settings: Settings) -> None:
    shelve(settings, labelled())
    with pytest.raises(RequestError, match=r"no threshold reaches min_precision 0\.99 on 48 labelled clips"):
        decide(settings, decision="calibrated", min_precision=0.99)
    assert all(row["kept"] == (row["human_sound"] == "sfx") for row in decide(settings, min_precision=0.99).values())


def test_the_calibrated_decision_keeps_effects_and_never_speech(settings: Settings) -> None:
    unknown = [
        Sound("good0_000000"),
        Sound("music_000000", music=LOUD),
        Sound("crowd_000000", speech_ratio=0.3),
        Sound("talks_000000", speech=LOUD),
        Sound("baby0_000000", speech=(0.12,) * 4, label="baby crying"),
        Sound("tiny0_000000", speech=(), music=()),
        Sound("mute0_000000", has_audio=False),
    ]
    shelve(settings, [*labelled(), *unknown])
    rows = decide(settings, decision="calibrated", min_precision=0.9)
    assert {name: rows[name]["reject_reason"] for name in (s.video_id for s in unknown)} == {
        "good0_000000": None,
        "music_000000": "not_convincing",
        "crowd_000000": "speech",
        "talks_000000": "speech",
        "baby0_000000": rows["baby0_000000"]["reject_reason"],
        "tiny0_000000": "too_short",
        "mute0_000000": "no_audio",
    }
    assert 0 < rows["baby0_000000"]["p_sfx"] < rows["good0_000000"]["p_sfx"]
    kept = {row["human_sound"] for row in rows.values() if row["kept"] and row["human_sound"]}
    assert kept == {"sfx"}
    assert rows["tiny0_000000"]["p_sfx"] is None
    again = curate(settings, pipeline=PIPELINE, run_id=new_run_id("test"))
    assert not again.changed


def test_what_is_kept_is_listed_once_and_without_what_is_taken_down(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = 'x"\n\u202e' + "y" * 500
    sounds = [Sound("two_000020"), Sound("one_000010", label=bad), Sound("talks_000000", speech=LOUD)]
    shelve(settings, sounds)
    assert write_list(settings, pipeline=PIPELINE) is None  # no gold yet
    decide(settings)
    listed = write_list(settings, pipeline=PIPELINE)
    file = Path(settings.uri) / LIST
    assert listed is not None and listed.changed and listed.rows == 2
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["video_id"] for line in lines] == ["one_000010", "two_000020"]
    assert lines[1]["audio_text_description"] == "Sound of a dog barking"
    assert lines[1]["top_tags"] == ["Bark", "Dog"] and lines[1]["p_sfx"] is None and lines[1]["start_s"] == 20
    written = file.stat().st_mtime_ns
    again = write_list(settings, pipeline=PIPELINE)
    assert again is not None and not again.changed and file.stat().st_mtime_ns == written
    add(settings, files=[f"vggsound/{sounds[0].path}"], reason="asked", who="tester")
    left = write_list(settings, pipeline=PIPELINE)  # gold still has it
    assert left is not None and left.changed and left.rows == 1
    assert write_list(settings, pipeline="voxforge_gender") is None
    add(settings, files=[f"vggsound/{sounds[1].path}"], reason="asked", who="tester")
    monkeypatch.setenv("AVLAKE_URI", settings.uri)
    monkeypatch.setenv("AVLAKE_WAREHOUSE", settings.warehouse)
    takedowns_apply()
    assert file.read_text() == ""


def test_the_verdict_says_nothing_of_precision_without_labels(settings: Settings) -> None:
    shelve(settings, [Sound(), Sound("talks_000000", speech=LOUD)])
    assert "uncalibrated" in judged(settings)["words"][0]
    found = judged(settings)
    assert [one["precision"] for one in found["decisions"]] == [None, None]
    assert {(s["model"], s["metric"]) for s in scores(settings)} == {("plain", "kept_share")}
    submit(Lake.open(settings), "vggsound", [Said("talks_000000", "sound", "speech")], who="tester")
    assert judged(settings)["calibrated"]


def test_the_verdict_counts_mistakes_and_compares_taggers(settings: Settings) -> None:
    wrong = Sound("wrong_000000", human="sfx+music", panns=(0.0, 0.9))
    missed = Sound("missed_000000", human="sfx", speech=LOUD, panns=(0.0, 0.0))
    mute = Sound("mute0_000000", human="sfx", has_audio=False)
    shelve(settings, [*labelled(), wrong, missed, mute])
    found = judged(settings, min_precision=0.9)
    plain, told, panns = found["decisions"]
    assert [plain[n] for n in ("true_positive", "false_positive", "false_negative", "true_negative")] == [24, 1, 2, 24]
    assert plain["precision"]["value"] == 24 / 25
    assert plain["precision"]["ci_low"] < 24 / 25 < plain["precision"]["ci_high"] < 1
    assert plain["errors"] == [{"sound": "sfx", "wrong": 2, "of": 26}, {"sound": "sfx+music", "wrong": 1, "of": 9}]
    assert told["n"] == 51 and 0 < told["threshold"] <= 1
    assert (panns["n"], panns["true_positive"], panns["true_negative"]) == (2, 1, 1)
    assert found["taggers"] == {
        "clips": 2, "agreement": 0.0, "both": 0, "only_yamnet": 1, "only_panns": 1, "neither": 0
    }  # fmt: skip
    assert [m["path"] for m in found["mistakes"]] == [wrong.path, missed.path, mute.path]
    took = {row["extractor"]: row for row in found["throughput"]}
    assert took["speech"]["clips_per_s_per_core"] == 2.0
    assert took["speech"]["one_million_core_hours"] == pytest.approx(1e6 / 2 / 3600)
    assert {(s["model"], s["split"]) for s in scores(settings) if s["metric"] == "precision"} == {
        ("plain", "labelled"), ("calibrated", "cv"), ("panns", "labelled")
    }  # fmt: skip


@pytest.mark.train
@pytest.mark.skipif(not (SHARED / "data/truth/vggsound.csv").exists(), reason="needs ../shared/data")
@pytest.mark.skipif(not (SHARED / "models/yamnet.tflite").exists(), reason="needs ../shared/models")
def test_real_clips_are_told_apart(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLAKE_MODELS", str(SHARED / "models"))  # for the processes that measure
    settings = settings.model_copy(update={"models": SHARED / "models"})
    monkeypatch.setattr(calibration, "REPEATS", 5)
    run(settings, pipeline=PIPELINE, source=str(SHARED / "data/landing"), train=False)
    with (SHARED / "data/truth/vggsound.csv").open() as file:
        truth = [Said(row["video_id"], "sound", row["class"]) for row in csv.DictReader(file)]
    submit(Lake.open(settings), "vggsound", truth, who="tester")
    plain, told = judged(settings)["decisions"]
    assert plain["precision"]["value"] >= 0.93 and plain["recall"]["value"] >= 0.84
    assert told["precision"]["value"] >= 0.96 and told["recall"]["value"] >= 0.85
    for one in (plain, told):
        assert not {"sfx+speech", "speech"} & {error["sound"] for error in one["errors"]}


def judged(settings: Settings, **thresholds: Any) -> dict[str, Any]:
    """The verdict of a training of gold as it is decided now."""
    decide(settings, **thresholds)
    publish(settings, run_id=new_run_id("test"))
    report = train(settings, pipeline=PIPELINE, run_id=new_run_id("test"))
    found: dict[str, Any] = json.loads((Path(report.model_uri) / "verdict.json").read_text())
    return found


def scores(settings: Settings) -> list[dict[str, Any]]:
    """The rows of gold.model_runs."""
    data = Lake.open(settings).scan("gold.model_runs")
    assert data is not None
    return data.to_table().to_pylist()
