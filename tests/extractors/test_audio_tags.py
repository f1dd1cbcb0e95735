"""YAMNet on real sound: where the model file lies beside the repository."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import wav

from avlake.errors import RequestError
from avlake.extractors import base
from avlake.extractors.audio_tags import MODEL, AudioTags, Yamnet, yamnet
from avlake.extractors.tagging import MUSICAL, VOICES, family, unpacked
from avlake.media.audio import SAMPLE_RATE
from avlake.media.clip import Clip
from avlake.media.sandbox import Sandbox
from avlake.settings import Settings

SHARED = Path(__file__).parents[2].parent / "shared"
MODELS = Path(os.environ.get("AVLAKE_MODELS", SHARED / "models"))
N_TAGS, WINDOW = 521, 15_600
with_model = pytest.mark.skipif(not (MODELS / MODEL).is_file(), reason=f"no {MODEL} beside the checkout")


@pytest.fixture(scope="module")
def tagger() -> Iterator[Yamnet]:
    """The one of this process, let go of afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVLAKE_MODELS", str(MODELS))
        yield yamnet()
        yamnet().close()
        yamnet.cache_clear()


def noise(n: int, seed: int = 0) -> np.ndarray:
    """Hiss that comes and goes."""
    return (np.random.default_rng(seed).standard_normal(n) * np.sin(np.arange(n) / 9000) * 0.1).astype(np.float32)


def tags(sound: np.ndarray) -> dict[str, np.ndarray]:
    clip, extractor = Clip(wav(sound, subtype="FLOAT")), AudioTags()
    assert base.register(clip, [extractor], streams=("audio",)) == [extractor]
    return extractor.measure(clip)


@with_model
@pytest.mark.parametrize("n", [1, WINDOW, 10 * SAMPLE_RATE, 27 * SAMPLE_RATE + 7])
def test_scores_are_those_of_classifying_the_file_at_once(tagger: Yamnet, n: int) -> None:
    from mediapipe.tasks.python import BaseOptions, audio
    from mediapipe.tasks.python.components.containers import AudioData

    sound = noise(n)
    found = tags(sound)
    options = audio.AudioClassifierOptions(base_options=BaseOptions(model_asset_path=str(MODELS / MODEL)))
    with audio.AudioClassifier.create_from_options(options) as classifier:
        windows = classifier.classify(AudioData.create_from_array(sound, SAMPLE_RATE))
    assert len(found["scores"]) == len(windows) == -(-n // WINDOW)
    assert found["start_s"] == pytest.approx([window.timestamp_ms / 1000 for window in windows])
    assert found["trusted"].tolist()[:-1] == [True] * (len(windows) - 1)
    assert found["trusted"][-1] == (n % WINDOW == 0)
    for i, window in enumerate(windows):
        best = window.classifications[0].categories
        score = {tag.category_name: tag.score for tag in best}
        assert (found["speech"][i], found["music"][i]) == (np.float32(score["Speech"]), np.float32(score["Music"]))
        assert found["top_scores"][i].tolist() == [tag.score for tag in best[:5]]
        assert [score[name] for name in found["top_tags"][i]] == [tag.score for tag in best[:5]]
        every = np.array([tag.score for tag in sorted(best, key=lambda tag: tag.index)])
        assert np.abs(unpacked([found["scores"][i]])[0] - every).max() <= 0.004


@with_model
def test_the_names_are_audiosets(tagger: Yamnet) -> None:
    assert len(tagger.names) == len(set(tagger.names)) == N_TAGS
    voices = [tagger.names[i] for i in family(tagger.names, VOICES)]
    musical = [tagger.names[i] for i in family(tagger.names, MUSICAL)]
    assert {"Speech", "Narration, monologue", "Shout", "Whispering", "Chatter"} <= set(voices)
    assert {"Singing", "Rapping", "Music", "Piano", "Drum kit", "Opera", "Sad music", "Harmonica"} <= set(musical)
    assert not {"Laughter", "Baby cry, infant cry", "Singing", "Crowd"} & set(voices)
    assert not {"Speech", "Bell", "Church bell", "Wind chime", "Wind", "Whistling"} & set(musical)
    listed = SHARED / "models/yamnet_class_map.csv"
    if listed.is_file():
        with listed.open(newline="") as file:
            assert [row["display_name"] for row in csv.DictReader(file)] == list(tagger.names)


@with_model
def test_speech_is_heard_and_noise_is_neither_speech_nor_music(tagger: Yamnet, recordings: list[bytes]) -> None:
    for content in recordings[:3]:
        clip, extractor = Clip(content), AudioTags()
        base.register(clip, [extractor], streams=("audio",))
        found = extractor.measure(clip)
        assert max(found["speech"][found["trusted"]]) > 0.9 and max(found["music"]) < 0.5
        assert "Speech" in found["top_tags"][1]
        assert (found["speech_any"] >= found["speech"]).all()
    hiss = tags(np.random.default_rng(1).standard_normal(5 * SAMPLE_RATE) * 0.1)
    assert max(hiss["speech_any"][hiss["trusted"]]) < 0.1 and max(hiss["music_any"][hiss["trusted"]]) < 0.1


@with_model
def test_the_sandbox_gives_the_tables_own_columns() -> None:
    with Sandbox(Settings(models=MODELS)) as box:
        measured = box.measure(wav(noise(2 * WINDOW + 1)), {"audio_tags": {}})["audio_tags"]
        assert measured.error is None and measured.batch is not None
        rows = measured.batch.to_pylist()
        assert [row["trusted"] for row in rows] == [True, True, False]
        assert [len(row["scores"]) for row in rows] == [N_TAGS] * 3


def test_without_the_model_file_the_next_step_is_said(tmp_path: Path) -> None:
    with Sandbox(Settings(models=tmp_path)) as box, pytest.raises(RequestError, match="avlake models pull"):
        box.measure(wav(noise(WINDOW)), {"audio_tags": {}})
