"""Checkpoints scored on the faces of gold, one or a folder of them; and what each predicts, for others to read."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import av
import filmed
import pytest
import torch
from safetensors.torch import save

from avlake import cli
from avlake.learn import speakers
from avlake.learn.average_precision import average_precision, evaluate
from avlake.learn.speaker_checkpoints import dump
from avlake.learn.speaker_net import SpeakerNet
from avlake.runner import run
from avlake.settings import Settings

DROPS = {"2026-09-01": "ab", "2026-09-02": "c"}


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out)))


Avlake = Callable[..., Done]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drops in gold: two films, and a third."""
    folder = tmp_path_factory.mktemp("films")
    for drop, names in DROPS.items():
        filmed.write_drop(folder / "landing", drop, names)
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "w.duckdb"), models=str(folder), jobs=1)
    run(settings, pipeline=filmed.PIPELINE, source=str(folder / "landing"), train=False)
    filmed.put_in_charge(settings.uri, filmed.model(videos="ab"))
    checkpoints = folder / "checkpoints"
    (checkpoints / "folds").mkdir(parents=True)
    (checkpoints / "good.safetensors").write_bytes(filmed.model(videos="a").dump())
    (checkpoints / "folds" / "backwards.safetensors").write_bytes(filmed.model(sign=-1, videos="abc").dump())
    (checkpoints / "notes.txt").write_text("no checkpoint")
    return folder


@pytest.fixture
def avlake(lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Avlake:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVLAKE_URI", str(lake / "lake"))
    monkeypatch.setenv("AVLAKE_WAREHOUSE", str(lake / "w.duckdb"))
    monkeypatch.setattr(speakers, "LEARNER", filmed.BrightnessLearner())

    def call(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["avlake", "evaluate", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Done(code or 0, *capsys.readouterr())

    return call


def test_the_model_in_charge_is_scored_on_videos_it_saw_and_apart_on_others(avlake: Avlake) -> None:
    done = avlake(filmed.PIPELINE, "--format", "csv")
    faces = {name: filmed.annotated(name) for name in "abc"}
    assert done.code == 0, done.err
    assert [(r["checkpoint"], r["videos"], r["faces"], r["speaking"]) for r in done.rows()] == [
        ("first", kind, str(len(rows)), str(sum(row[6] == "SPEAKING_AUDIBLE" for row in rows)))
        for kind, rows in (("unseen", faces["c"]), ("seen", faces["a"] + faces["b"]))
    ]
    for row in done.rows():
        assert (row["average_precision"], row["missing"]) == ("1.0", "0")
        # Faces are 64 px wide, and there are always two: no others are scored.
        assert (row["middle"], row["2_faces"]) == ("1.0", "1.0")
        assert {row[part] for part in ("small", "large", "1_faces", "3_faces")} == {""}
    assert avlake(filmed.PIPELINE, "--drop", "2026-09-02", "--format", "csv").rows() == done.rows()[:1]


def test_a_folder_of_checkpoints_makes_one_table_and_a_csv(avlake: Avlake, lake: Path) -> None:
    done = avlake(filmed.PIPELINE, "--checkpoint", str(lake / "checkpoints"), "--to", "all.csv", "--format", "csv")
    assert done.code == 0 and Path("all.csv").read_text() == done.out
    rows = filmed.annotated("a") + filmed.annotated("b") + filmed.annotated("c")
    y = [row[6] == "SPEAKING_AUDIBLE" for row in rows]
    backwards = average_precision(sorted(y), range(len(y), 0, -1))  # every voice behind all who are silent
    found = {(row["checkpoint"], row["videos"]): row for row in done.rows()}
    assert list(found) == [("folds/backwards", "seen"), ("good", "unseen"), ("good", "seen")]
    assert float(found["folds/backwards", "seen"]["average_precision"]) == pytest.approx(backwards)
    assert found["good", "unseen"]["average_precision"] == "1.0"
    low, high = (float(found["folds/backwards", "seen"][name]) for name in ("ci_low", "ci_high"))
    assert low <= backwards <= high
    assert found["good", "seen"]["ci_low"] == ""  # one scene says nothing of others


def test_one_checkpoint_by_path_or_uri(avlake: Avlake, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lake / "checkpoints" / "good.safetensors"
    by_path = avlake(filmed.PIPELINE, "--checkpoint", str(path), "--format", "csv")
    assert [row["checkpoint"] for row in by_path.rows()] == ["good", "good"]
    assert avlake(filmed.PIPELINE, "--checkpoint", path.as_uri(), "--format", "csv").out == by_path.out
    monkeypatch.chdir(path.parent)
    assert avlake(filmed.PIPELINE, "--checkpoint", path.name, "--format", "csv").out == by_path.out


def test_what_is_predicted_goes_into_files_that_the_official_metric_takes(avlake: Avlake, lake: Path) -> None:
    words = ("--checkpoint", str(lake / "checkpoints"), "--predictions", "said", "--overlay", "seen")
    done = avlake(filmed.PIPELINE, *words)
    assert done.code == 0, done.err
    for folder, ending in (("said", "csv"), ("seen", "mp4")):
        found = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*.*"))
        assert found == [f"{model}/{name}.{ending}" for model in ("folds/backwards", "good") for name in "abc"]
    for name in "abc":
        truth = filmed.as_csv(filmed.annotated(name)).splitlines()
        said = Path("said/good", f"{name}.csv").read_text().splitlines()
        assert evaluate(truth, said).average_precision == 1.0  # refuses a face without a partner, and other boxes
        with av.open(str(Path("seen/good", f"{name}.mp4"))) as container:
            frames = sum(1 for _ in container.decode(video=0))
            assert frames == round(filmed.SECONDS * filmed.RATE_HZ) and container.streams.audio


def test_a_video_whose_bytes_are_gone_is_scored_and_not_drawn(
    avlake: Avlake, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(lake / "lake", tmp_path / "lake")
    shutil.rmtree(tmp_path / "lake/bronze/contents")
    monkeypatch.setenv("AVLAKE_URI", str(tmp_path / "lake"))
    done = avlake(filmed.PIPELINE, "--drop", "2026-09-02", "--overlay", "seen", "--format", "csv")
    assert done.code == 0 and done.rows()[0]["average_precision"] == "1.0"
    assert "c.mp4: its bytes are not in the lake any more" in done.err and not list(Path("seen").rglob("*.mp4"))


def test_a_checkpoint_that_cannot_be_used_is_named(avlake: Avlake, lake: Path, tmp_path: Path) -> None:
    some = tmp_path / "some"
    shutil.copytree(lake / "checkpoints", some)
    (some / "damaged.safetensors").write_bytes(b"\\x08\\0\\0\\0\\0\\0\\0\\0{}")
    (some / "elsewhere.safetensors").write_bytes(filmed.model(jpeg_quality=60).dump())
    done = avlake(filmed.PIPELINE, "--checkpoint", str(some), "--format", "csv")
    assert done.code == 0 and {row["checkpoint"] for row in done.rows()} == {"good", "folds/backwards"}
    assert "damaged is not evaluated: " in done.err and "elsewhere is not evaluated: " in done.err
    for name, said in (("damaged", "damaged"), ("elsewhere", "measured as its own")):
        alone = avlake(filmed.PIPELINE, "--checkpoint", str(some / f"{name}.safetensors"))
        assert (alone.code, alone.out) == (1, "") and said in alone.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--checkpoint", "nowhere.safetensors"), 2, "nowhere.safetensors: no such file"),
        (("--checkpoint", "nowhere"), 2, "no .safetensors file"),
        (("--drop", "2020-01-01"), 1, "2026-09-01, 2026-09-02"),
        (("--to", "no/such/folder.csv"), 2, "--to no/such/folder.csv"),
        (("--to", "."), 2, "--to ."),
        (("--predictions", "file"), 2, "--predictions file is a file"),
        (("--overlay", "file"), 2, "--overlay file is a file"),
        (("--format", "xml"), 2, "'xml': one of table, csv, json"),
    ],
)
def test_a_wrong_request_says_so_and_prints_nothing(
    avlake: Avlake, words: tuple[str, ...], code: int, said: str
) -> None:
    Path("file").write_text("")
    done = avlake(filmed.PIPELINE, *words)
    assert (done.code, done.out) == (code, "") and said in done.err


def test_checkpoints_of_the_network_itself_are_judged_or_refused(
    avlake: Avlake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speakers, "LEARNER", speakers.SpeakersLearner())
    about = {"measured": {"face_tracks": asdict(filmed.model().measured["face_tracks"])}, "drops": [], "videos": ["a"]}
    Path("nets").mkdir()
    Path("nets/untrained.safetensors").write_bytes(dump(SpeakerNet().state_dict(), about))
    older = dump(SpeakerNet().state_dict(), about | {"network": "older"})
    Path("nets/older.safetensors").write_bytes(older)
    Path("nets/no header.safetensors").write_bytes(save({"weight": torch.zeros(1)}))
    done = avlake(filmed.PIPELINE, "--checkpoint", "nets", "--predictions", "said", "--format", "csv")
    assert done.code == 0 and [(r["checkpoint"], r["videos"]) for r in done.rows()] == [
        ("untrained", "unseen"),
        ("untrained", "seen"),
    ]
    assert all(row["missing"] == "0" and 0 < float(row["average_precision"]) <= 1 for row in done.rows())
    truth = filmed.as_csv(filmed.annotated("a")).splitlines()
    figure = evaluate(truth, Path("said/untrained/a.csv").read_text().splitlines()).average_precision
    assert float(done.rows()[1]["average_precision"]) == pytest.approx(figure)
    assert "older is not evaluated: " in done.err and "of version older of the network" in done.err
    assert "no header is not evaluated: " in done.err and "no checkpoint of active_speaker" in done.err


def test_files_are_judged_without_checkpoints(avlake: Avlake) -> None:
    done = avlake("voxforge_gender", "--checkpoint", "x.safetensors", "--to", "x.csv")
    assert (done.code, done.out) == (2, "") and "--checkpoint, --to: voxforge_gender" in done.err


def test_without_a_model_it_says_what_to_run(avlake: Avlake, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = lake / "lake" / "models" / filmed.PIPELINE / "chosen.json"
    aside = chosen.rename(chosen.with_suffix(".aside"))
    try:
        done = avlake(filmed.PIPELINE)
    finally:
        aside.rename(chosen)
    assert done.code == 2 and f"avlake train {filmed.PIPELINE}" in done.err
