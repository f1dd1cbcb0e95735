"""Lhotse manifests, read back with `lhotse`, lazily and from where they were moved."""

from __future__ import annotations

from pathlib import Path

import duckdb
import lhotse
import numpy as np
import pytest
import soundfile
from shelf import NAMES, TABLE, Exported, delivered

from avlake.settings import Settings
from avlake.stages.export import export


def cuts_of(folder: Path) -> lhotse.CutSet:
    cuts = lhotse.CutSet.from_jsonl_lazy(folder / "cuts.jsonl.gz").with_recording_path_prefix(folder)
    assert cuts.is_lazy
    return cuts


def test_windows_are_cuts_of_whole_recordings(voices: Settings, exported: Exported, tmp_path: Path) -> None:
    folder = exported(voices, "gold.gender_windows", "lhotse").rename(tmp_path / "moved")
    with duckdb.connect(voices.warehouse, read_only=True) as con:
        rows = con.execute("FROM gold.gender_windows").to_arrow_table().to_pylist()
        prompts = con.execute("SELECT count(*) FROM silver.labels WHERE name = 'prompt'").fetchone()
    wanted = {(r["drop_date"], r["file_id"], r["window_index"]): r for r in rows}
    cuts = list(cuts_of(folder))
    assert len(cuts) == len(rows) and prompts
    for cut in cuts:
        lhotse.validate(cut, read_data=True)
        (said,) = cut.supervisions
        one = wanted.pop((said.drop_date, said.file_id, said.window_index))
        assert (cut.start, cut.end) == pytest.approx((one["window_start_s"], one["window_end_s"]))
        assert (said.speaker, said.gender, said.language) == (one["subject_id"], one["gender"], one["language"])
        assert said.f0_hz_median == pytest.approx(one["f0_hz_median"]) and cut.custom["split"] == one["split"]
        whole, rate = soundfile.read(cut.recording.sources[0].source, dtype="float32")
        start = round(cut.start * rate)
        assert np.allclose(cut.load_audio()[0], whole[start : start + cut.num_samples], atol=1e-4)
    assert not wanted
    recordings = lhotse.RecordingSet.from_jsonl_lazy(folder / "recordings.jsonl.gz")
    supervisions = lhotse.load_manifest(folder / "supervisions.jsonl.gz")
    assert len(list(recordings)) == len({cut.recording_id for cut in cuts}) == 24
    lhotse.validate_recordings_and_supervisions(lhotse.RecordingSet.from_recordings(recordings), supervisions)


def test_recordings_hold_the_delivered_bytes_and_all_channels(shelf: Settings, exported: Exported) -> None:
    folder = exported(shelf, TABLE, "lhotse")
    by_path = {cut.supervisions[0].path: cut for cut in cuts_of(folder)}
    stereo = by_path[NAMES["odd"]]
    assert Path(stereo.recording.sources[0].source).read_bytes() == delivered(shelf, NAMES["odd"])
    assert stereo.load_audio().shape == (2, 44_100) and stereo.duration == 1.0
    assert by_path[NAMES["empty split"]].channel == 0


def test_what_was_never_measured_is_left_out_and_counted(shelf: Settings, tmp_path: Path) -> None:
    report = export(shelf, table="bronze.files", to=str(tmp_path / "x"), form="lhotse")
    assert (report.rows, report.files, report.left_out) == (2, 2, 2)  # not the video without sound, not the text


def test_the_words_go_with_whole_recordings(voices: Settings, exported: Exported) -> None:
    where = "EXISTS (SELECT 1 FROM silver.labels AS l WHERE l.file_id = media.file_id AND l.name = 'gender')"
    cuts = list(cuts_of(exported(voices, "silver.media", "lhotse", where=where)))
    assert len(cuts) == 24 and {cut.supervisions[0].gender for cut in cuts} == {"male", "female"}
    assert all(cut.duration == cut.recording.duration for cut in cuts)


def test_no_rows_are_empty_manifests(shelf: Settings, exported: Exported) -> None:
    folder = exported(shelf, TABLE, "lhotse", where="false")
    assert (
        list(cuts_of(folder)) == [] and list(lhotse.RecordingSet.from_jsonl_lazy(folder / "recordings.jsonl.gz")) == []
    )
