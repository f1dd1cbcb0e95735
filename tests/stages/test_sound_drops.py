"""Drops of sound effects and of podcasts as they really come: what is broken costs itself, and all of it is told."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avlake.errors import FailureBudgetExceeded
from avlake.lake import Lake
from avlake.media.media_types import PARQUET, RECORDINGS, TAR
from avlake.pipelines import PIPELINES, get_pipeline
from avlake.settings import Settings
from avlake.stages.commit import CommitReport, commit
from avlake.stages.extract import measure_shard, plan
from avlake.stages.ingest import ingest
from avlake.tables import BRONZE_FILES, EXTRACTIONS, LABELS
from clips import make_clip, moving_bar

DROP = "2026-09-01"
MEASURED = ("media", "audio_quality")  # fast, need no model, and the second hears the sound
INDEX = """\ufeffyoutube_id,start_seconds,label,split\r
dog-3456789a,10,"dog barking, loudly",train\r
--no_sound00,20,cat purring,test\r
gone3456789a,30,rain,train\r
inatruncated,40,rain,train\r
loose456789a,50,bell,test\r
empty456789a,60,bell,test\r
what is this,x\r
"""
DOG, UNKNOWN, MUTE, LOOSE, EMPTY = (
    "vggsound_00.tar.gz/video/dog-3456789a_000010.mp4",
    "vggsound_00.tar.gz/video/_ot456789abc_000015.mp4",
    "vggsound_00.tar.gz/video/--no_sound00_000020.mp4",
    "more/loose456789a_000050.mp4",
    "more/empty456789a_000060.mp4",
)
CUT, HALF, TABLE, HUB = "vggsound_01.tar.gz", "data/half.parquet", "data/table.parquet", "data/train-00000.parquet"
OWL, EAGLE = f"{HUB}/owl.wav", f"{HUB}/000001.wav"


def beep(hz: float, seconds: float = 1.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(round(16_000 * seconds)) / 16_000)


def encoded(container: str, codec: str, samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        for each in (*av.AudioResampler(stream.format, "mono", 16_000, frame_size=1152).resample(frame), None):
            out.mux(stream.encode(each))
    return file.getvalue()


def shard(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def hub(path: Path) -> None:
    """A file as the Hugging Face hub has it: two recordings, and one that is named and not there."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    sounds = [
        {"bytes": encoded("wav", "pcm_s16le", beep(300)), "path": "owl.wav"},
        {"bytes": encoded("wav", "pcm_s16le", beep(350)), "path": None},
        {"bytes": None, "path": "elsewhere.wav"},
    ]
    columns = {"label": ["owl hooting", "eagle", None], "youtube_id": ["owlvideo", "eagle_video", "x"]}
    pq.write_table(pa.table({"audio": pa.array(sounds, kind), **columns, "start": [70.0, 80.0, 90.0]}), path)


def take(settings: Settings, landing: Path, pipeline: str) -> CommitReport:
    """What a run over the drop does, up to silver."""
    dataset = get_pipeline(pipeline).dataset.name
    ingest(settings, dataset=dataset, source=str(landing), drop=DROP, run_id="test")
    planned = plan(settings, pipeline=pipeline, drop=DROP, run_id="test")
    for one in range(planned.shards):
        measure_shard(settings, plan=planned.plan, shard=one, run_id="test")
    return commit(settings, plan=planned.plan, run_id="test")


@pytest.fixture(scope="module", autouse=True)
def fast() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("sound_effects", "podcast_outros"):
            patch.setitem(PIPELINES, name, replace(get_pipeline(name), extractors=MEASURED))
        yield


@pytest.fixture(scope="module")
def effects(fast: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path, CommitReport]:
    """A lake with a drop of VGGSound in which everything is wrong that can be, its landing zone, and the report."""
    root = tmp_path_factory.mktemp("effects")
    folder = root / "landing" / "vggsound" / DROP
    for name in ("more", "data"):
        (folder / name).mkdir(parents=True)
    (folder / "vggsound.csv").write_bytes(INDEX.encode())
    good = {
        DOG: make_clip(moving_bar(), beep(400), seconds=0.2),
        UNKNOWN: make_clip(None, beep(500)),
        MUTE: make_clip(moving_bar(), seconds=0.2),
        f"{Path(DOG).parent}/._{Path(DOG).name}": b"\0\5\26\7",
    }
    (folder / "vggsound_00.tar.gz").write_bytes(shard({name.partition("/")[2]: data for name, data in good.items()}))
    whole = shard({"inatruncated_000040.mp4": make_clip(None, beep(600)), "b_000001.mp4": make_clip(None, beep(610))})
    (folder / CUT).write_bytes(whole[: len(whole) // 2])
    (folder / LOOSE).write_bytes(make_clip(None, beep(700)))
    (folder / EMPTY).write_bytes(b"")
    hub(folder / HUB)
    (folder / HALF).write_bytes((folder / HUB).read_bytes()[:-100])
    pq.write_table(pa.table({"a": [1]}), folder / TABLE)
    settings = Settings(uri=str(root / "lake"), jobs=1)
    return settings, root / "landing", take(settings, root / "landing", "sound_effects")


def failures(settings: Settings, dataset: str) -> dict[str, str]:
    rows = Lake.open(settings).rows(EXTRACTIONS, dataset, DROP).to_pylist()
    return {row["path"]: row["error_class"] for row in rows if row["status"] == "quarantined"}


def paths(settings: Settings, dataset: str, table: str = "silver.media") -> set[str]:
    lake = Lake.open(settings)
    named = {row["file_id"]: row["path"] for row in lake.rows(BRONZE_FILES, dataset, DROP).to_pylist()}
    found = lake.scan(table, [(dataset, DROP)])
    return set() if found is None else {named[i] for i in found.to_table(columns=["file_id"])["file_id"].to_pylist()}


def test_what_is_broken_is_quarantined_and_the_rest_measured(effects: tuple[Settings, Path, CommitReport]) -> None:
    settings, _, report = effects
    assert failures(settings, "vggsound") == {
        CUT: "truncated_archive",
        HALF: "truncated_archive",
        MUTE: "no_audio",
        EMPTY: "empty",
    }
    assert paths(settings, "vggsound") == {DOG, UNKNOWN, LOOSE, OWL, EAGLE}
    assert (report.files, report.measured, report.quarantined) == (7, 5, 4)


def test_archives_are_known_by_what_was_opened(effects: tuple[Settings, Path, CommitReport]) -> None:
    settings, landing, _ = effects
    rows = Lake.open(settings).rows(BRONZE_FILES, "vggsound", DROP).to_pylist()
    kinds = {row["path"]: row["media_type"] for row in rows}
    assert (kinds[CUT], kinds[HALF], kinds[HUB], kinds[TABLE]) == (TAR, RECORDINGS, RECORDINGS, PARQUET)
    assert (kinds[OWL], kinds[f"{HUB}/rows.csv"]) == ("audio/x-wav", "text/csv")
    again = ingest(settings, dataset="vggsound", source=str(landing), drop=DROP, run_id="again")
    assert not again.changed and (again.archives, again.quarantined) == (4, 2)
    assert again.files == len(rows)


def test_every_clip_has_a_label_or_is_known_to_have_none(effects: tuple[Settings, Path, CommitReport]) -> None:
    settings = effects[0]
    named = {
        row["file_id"]: row["path"] for row in Lake.open(settings).rows(BRONZE_FILES, "vggsound", DROP).to_pylist()
    }
    said = [(named[r["file_id"]], r) for r in Lake.open(settings).rows(LABELS, "vggsound", DROP).to_pylist()]
    assert {path: (r["value"], r["subject_id"]) for path, r in said if r["name"] == "sound"} == {
        DOG: ("dog barking, loudly", "dog-3456789a"),
        UNKNOWN: (None, "_ot456789abc"),
        MUTE: ("cat purring", "--no_sound00"),
        LOOSE: ("bell", "loose456789a"),
        EMPTY: ("bell", "empty456789a"),
        OWL: ("owl hooting", "owlvideo"),
        EAGLE: ("eagle", "eagle_video"),
    }
    assert {(path, r["name"]): r["value"] for path, r in said if r["subject_id"] is None} == {
        ("vggsound.csv", "rows_without_clip"): "2",  # one is gone, one lies in the shard that was cut
        ("vggsound.csv", "malformed_rows"): "1",
        (f"{HUB}/rows.csv", "rows_without_clip"): "1",
        (f"{HUB}/rows.csv", "malformed_rows"): "0",
    }


def test_a_shard_that_comes_whole_at_last_is_taken_in(
    effects: tuple[Settings, Path, CommitReport], tmp_path: Path
) -> None:
    shutil.copytree(effects[1].parent, tmp_path, dirs_exist_ok=True)
    settings, landing = Settings(uri=str(tmp_path / "lake"), jobs=1), tmp_path / "landing"
    clip = make_clip(None, beep(600))
    (landing / "vggsound" / DROP / CUT).write_bytes(shard({"inatruncated_000040.mp4": clip}))
    take(settings, landing, "sound_effects")
    assert failures(settings, "vggsound").keys() == {HALF, MUTE, EMPTY}
    assert f"{CUT}/inatruncated_000040.mp4" in paths(settings, "vggsound")
    labels = Lake.open(settings).rows(LABELS, "vggsound", DROP).to_pylist()
    assert {"rain", "1"} <= {row["value"] for row in labels}


def test_an_episode_without_bytes_costs_itself_until_there_are_too_many(tmp_path: Path) -> None:
    settings, folder = Settings(uri=str(tmp_path / "lake"), jobs=1), tmp_path / "landing" / "podcasts" / DROP
    folder.mkdir(parents=True)
    (folder / "good.mp3").write_bytes(encoded("mp3", "libmp3lame", beep(440)))
    (folder / "show.mp3.txt").write_text("about the show")
    (folder / "0.mp3").write_bytes(b"")
    report = take(settings, tmp_path / "landing", "podcast_outros")
    assert failures(settings, "podcasts") == {"0.mp3": "empty"}
    assert (paths(settings, "podcasts"), report.files, report.quarantined) == ({"good.mp3"}, 2, 1)
    for i in range(1, 6):
        (folder / f"{i}.mp3").write_bytes(b"")
    (folder / "better.flac").write_bytes(encoded("flac", "flac", beep(450)))
    with pytest.raises(FailureBudgetExceeded, match=r"6 of 8 files of podcasts .* failed.*0\.mp3 \(open: empty\)"):
        take(settings, tmp_path / "landing", "podcast_outros")
    assert paths(settings, "podcasts") == {"good.mp3", "better.flac"}  # what was good is committed
