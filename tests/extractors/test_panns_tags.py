"""CNN14 against the same network written in layers, with weights that are made up: the published ones are not here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from sounds import voice, wav

from avlake.errors import RequestError
from avlake.extractors import base, panns
from avlake.extractors.panns_tags import LABELS, WEIGHTS, PannsTags
from avlake.extractors.panns_tags import panns as tagger
from avlake.media.audio import SAMPLE_RATE
from avlake.media.clip import Clip
from brought import NAMES, Layers, bring, made_up

MELS = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=512, n_mels=64, fmin=50, fmax=8000).T


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return made_up(MELS)


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    bring(tmp_path, {"iteration": np.float64(7), "model": weights})
    monkeypatch.setenv("AVLAKE_MODELS", str(tmp_path))
    tagger.cache_clear()
    yield tmp_path
    tagger.cache_clear()


def test_the_front_end_is_librosas() -> None:
    sound = voice(2.3, 140, 1).astype(np.float32)
    power = librosa.feature.melspectrogram(
        y=sound, sr=SAMPLE_RATE, n_fft=512, hop_length=160, n_mels=64, fmin=50, fmax=8000, pad_mode="reflect"
    )
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T
    found = panns.log_mel(torch.from_numpy(sound), torch.from_numpy(MELS)).numpy()
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, abs=0.01)
    silence = panns.log_mel(torch.zeros(16_000), torch.from_numpy(MELS))
    assert (silence == -100).all()


def test_the_network_is_that_of_its_layers(weights: dict[str, torch.Tensor], folder: Path) -> None:
    layers = Layers().eval()
    layers.load_state_dict({k: v for k, v in weights.items() if k != panns.MEL}, strict=False)
    mels = panns.log_mel(torch.from_numpy(voice(1.0, 140, 1).astype(np.float32)), weights[panns.MEL])
    with torch.inference_mode():
        found, expected = panns.tag(mels, panns.read_weights(folder / WEIGHTS)), layers(mels)
    assert found.shape == (527,) and found.std() > 0.01
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_rows_are_those_of_a_tagger(folder: Path) -> None:
    sound = voice(10.5, 140, 1)
    clip, extractor = Clip(wav(sound, subtype="FLOAT")), PannsTags()
    base.register(clip, [extractor], streams=("audio",))
    found = extractor.measure(clip)
    assert found["start_s"].tolist() == [0, 10] and found["trusted"].tolist() == [True, False]
    assert [len(cell) for cell in found["scores"]] == [527, 527]
    first, rest = (tagger().score(part.astype(np.float32))[0] for part in np.split(sound, [160_000]))
    assert found["speech"] == pytest.approx([first[0], rest[0]])
    assert found["music"] == pytest.approx([scores[NAMES.index("Music")] for scores in (first, rest)])
    assert found["top_tags"][0] == [NAMES[i] for i in np.argsort(-first, kind="stable")[:5]]


def test_a_checkpoint_that_does_not_fit_is_told_and_nothing_in_it_is_run(
    folder: Path, weights: dict[str, torch.Tensor]
) -> None:
    class Run:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(folder / "ran"),))

    whole = (folder / WEIGHTS).read_bytes()
    for content, said in (
        (b"", "not read as a checkpoint"),
        (whole[: len(whole) // 2], "not read as a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not read as a checkpoint"),
        ({"model": Run()}, "not read as a checkpoint"),
        ({"model": [1, 2]}, f"{panns.MEL} is missing"),
        ([1, 2], f"{panns.MEL} is missing"),
        ({"model": {k: v for k, v in weights.items() if k != "bn0.bias"}}, "bn0.bias is missing"),
        ({"model": weights | {"fc1.bias": torch.zeros(512)}}, r"fc1.bias is \(512,\) .* expected \(2048,\)"),
        (weights | {"fc1.bias": torch.zeros(2048, dtype=torch.int64)}, "fc1.bias is .*int64"),
    ):
        if isinstance(content, bytes):
            (folder / WEIGHTS).write_bytes(content)
        else:
            torch.save(content, folder / WEIGHTS)
        with pytest.raises(RequestError, match=said) as caught:
            tagger()
        assert str(folder / WEIGHTS) in str(caught.value) and "again" in str(caught.value)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"index,mid,display_name\n0,/m/09x0r,Speech\n",
        b"name\nSpeech\n",
        b"\xff\xfe\x00",
        b"index,display_name\nx,Speech\n",
        b"index,display_name\n" + b"".join(b"%d,Speech\n" % (i % 500) for i in range(527)),
        b"index,display_name\n" + b"".join(b"%d,Tag %d\n" % (i, i) for i in range(527)),
    ],
)
def test_labels_that_are_no_list_of_527_are_told(folder: Path, content: bytes) -> None:
    (folder / LABELS).write_bytes(content)
    with pytest.raises(RequestError, match=LABELS):
        tagger()


def test_what_is_missing_is_told_with_where_it_is_published(folder: Path) -> None:
    (folder / LABELS).unlink()
    with pytest.raises(RequestError, match=rf"{LABELS} is missing: fetch it from https://github.com"):
        tagger()
