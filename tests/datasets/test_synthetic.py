"""Synthesised drops: the same bytes every time, in VoxForge's layout, with voices a model can tell apart."""

from __future__ import annotations

import io
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest

from avlake.datasets.synthetic import FAULTS, SAMPLE_RATE, Voice, speak, write_drop
from avlake.errors import RequestError

DROP = "2026-09-01"


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def test_a_drop_is_written_in_voxforge_layout_and_says_that_it_is_synthetic(tmp_path: Path) -> None:
    folder = write_drop(tmp_path, DROP, speakers=2, utterances=3)
    assert folder == tmp_path / "voxforge" / DROP
    assert sorted(p.name for p in folder.iterdir()) == [f"synthetic0{k}-20260901-syn.tgz" for k in (1, 2)]
    files = members(folder / "synthetic01-20260901-syn.tgz")
    assert b"synthesised" in files["synthetic01-20260901-syn/etc/README"]
    wavs = [data for name, data in files.items() if name.endswith(".wav")]
    assert len(wavs) == 3
    for data in wavs:
        with wave.open(io.BytesIO(data)) as file:
            assert file.getparams()[:3] == (1, 2, SAMPLE_RATE)
            assert 2 <= file.getnframes() / SAMPLE_RATE <= 5


def test_bytes_depend_on_arguments_only(tmp_path: Path) -> None:
    def drop(name: str, **options: int) -> list[bytes]:
        folder = write_drop(tmp_path / name, DROP, speakers=2, utterances=1, **options)
        return [p.read_bytes() for p in sorted(folder.iterdir())]

    assert drop("a") == drop("b")
    assert drop("a") != drop("c", seed=1)


def test_a_speaker_keeps_the_voice_and_says_something_else_in_the_next_drop(tmp_path: Path) -> None:
    first, second = (write_drop(tmp_path, d, speakers=1, utterances=1) for d in (DROP, "2026-09-02"))
    assert next(first.iterdir()).read_bytes() != next(second.iterdir()).read_bytes()
    assert Voice.of(1, 0) == Voice.of(1, 0) != Voice.of(3, 0)


@pytest.mark.parametrize("speaker", range(1, 9))
def test_the_pitch_heard_is_the_speakers(speaker: int) -> None:
    voice = Voice.of(speaker, seed=0)
    samples = speak(voice, 3.0, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(samples - samples.mean())) ** 2
    lags = np.fft.irfft(spectrum)[SAMPLE_RATE // 300 : SAMPLE_RATE // 80]
    heard_hz = SAMPLE_RATE / (np.argmax(lags) + SAMPLE_RATE // 300)
    assert heard_hz == pytest.approx(voice.f0_hz, rel=0.12)
    assert (heard_hz > 160) == (voice.gender == "Female")
    assert np.abs(samples).max() < 1


def test_faults_are_added_beside_good_archives(tmp_path: Path) -> None:
    plain = write_drop(tmp_path / "plain", DROP, speakers=1, utterances=1)
    folder = write_drop(tmp_path, DROP, speakers=1, utterances=1, faults=FAULTS)
    good, empty_wav, truncated, unknown = sorted(folder.iterdir())
    assert good.read_bytes() == (plain / good.name).read_bytes()
    assert b"" in members(empty_wav).values()
    with pytest.raises(EOFError):
        members(truncated)
    assert any(b"Gender: Please Select" in data for data in members(unknown).values())


def test_an_unknown_fault_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="flood; there are truncated"):
        write_drop(tmp_path, DROP, faults=["flood"])
