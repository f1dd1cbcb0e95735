"""What measuring 10 s of sound costs on one core, against librosa and, where it is installed, openSMILE.

    python bench/extraction.py [--rounds 15]

All take turns on the same samples in one process, so that what else the machine does strikes all alike; times are CPU
time, medians over the rounds. Decoding is not part of it, for it is the same for all.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import io
import statistics
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import librosa
import numpy as np

from avlake.extractors import soundscape
from avlake.extractors.audio_quality import AudioQuality
from avlake.extractors.segment_features import SegmentFeatures
from avlake.extractors.voice_features import FEATURES, VoiceFeatures
from avlake.media.clip import SAMPLE_RATE, Clip

SECONDS = 10
STFT = {"n_fft": 2048, "hop_length": 512}


@dataclass(frozen=True)
class Peer:
    """Something timed: `prepare` is not, `run` is."""

    name: str
    gives: str
    run: Callable[[Any], object]
    prepare: Callable[[], Any]


def recording() -> bytes:
    """A harmonic sound with a gliding pitch and pauses, over noise, as a 16-bit WAV file."""
    t = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.3 * t)) / SAMPLE_RATE
    sound = sum(np.sin(k * phase) / k for k in range(1, 25)) * np.clip(np.sin(2 * np.pi * 1.5 * t), 0, 1)
    sound = 0.2 * sound + 0.003 * np.random.default_rng(0).standard_normal(len(t))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((sound * 32_767).astype("<i2").tobytes())
    return file.getvalue()


def peers(content: bytes) -> list[Peer]:
    def opened() -> Clip:
        clip = Clip(content)
        _ = clip.audio
        return clip

    voice, quality = VoiceFeatures(), AudioQuality()
    samples = opened().audio.samples
    columns = voice.measure(opened())
    spans = zip(columns["window_start_s"], columns["window_end_s"], strict=True)
    windows = [samples[round(a * SAMPLE_RATE) : round(b * SAMPLE_RATE)] for a, b in spans]
    table = f"{len(windows)} windows x {len(FEATURES)}"
    both = f"{table}, 1 x {len(quality.measure(opened()))}"
    found = [
        Peer("voice_features + audio_quality", both, lambda c: (voice.measure(c), quality.measure(c)), opened),
        Peer("voice_features", table, voice.measure, opened),
        Peer("audio_quality", "1 x 6", quality.measure, opened),
        Peer("librosa, feature by feature", "9 features", feature_by_feature, lambda: samples),
        Peer("librosa, one shared spectrogram", "9 features", shared_spectrogram, lambda: samples),
        Peer("librosa.yin", "F0", lambda y: librosa.yin(y, fmin=60, fmax=500, sr=SAMPLE_RATE), lambda: samples),
        Peer(
            "librosa, the same windows",
            f"{len(windows)} windows x 9 features",
            lambda ys: [feature_by_feature(y) for y in ys],
            lambda: windows,
        ),
    ]
    try:
        import opensmile
    except ImportError:
        return found
    for name in ("eGeMAPSv02", "emobase"):
        smile = opensmile.Smile(feature_set=name)
        gives = f"1 x {len(smile.feature_names)}"
        found.append(
            Peer(f"openSMILE {name}", gives, lambda y, s=smile: s.process_signal(y, SAMPLE_RATE), lambda: samples)
        )
    return found


class Played:
    """A clip of samples at hand, as the extractor of segments uses one."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples

    def heard(self, name: str) -> Any:
        listener = SegmentFeatures().listen()[name]()
        listener.hear(self.samples)
        return listener


def of_segments(content: bytes) -> list[Peer]:
    """Recordings of any length: their segments, and each feature of the same sound by librosa."""
    ours, samples = SegmentFeatures().measure, Clip(content).audio.samples
    parts = len(ours(Played(samples))["start_s"])
    gives = f"{parts} parts x {len(soundscape.FEATURES)}"
    return [
        Peer("segment_features", gives, ours, lambda: Played(samples)),
        Peer("librosa, feature by feature", f"{len(LIBROSA)} features", feature_by_feature, lambda: samples),
        *(Peer(f"  {name}", "per frame", run, lambda: samples) for name, run in LIBROSA.items()),
    ]


LIBROSA: dict[str, Callable[[np.ndarray], object]] = {  # as its tutorials call it
    "mfcc": lambda y: librosa.feature.mfcc(y=y, sr=SAMPLE_RATE, n_mfcc=20, **STFT),
    "zero_crossing_rate": librosa.feature.zero_crossing_rate,
    "spectral_contrast": lambda y: librosa.feature.spectral_contrast(y=y, sr=SAMPLE_RATE, **STFT),
    "chroma_stft": lambda y: librosa.feature.chroma_stft(y=y, sr=SAMPLE_RATE, **STFT),
    "spectral_rolloff": lambda y: librosa.feature.spectral_rolloff(y=y, sr=SAMPLE_RATE, **STFT),
    "spectral_centroid": lambda y: librosa.feature.spectral_centroid(y=y, sr=SAMPLE_RATE, **STFT),
    "spectral_bandwidth": lambda y: librosa.feature.spectral_bandwidth(y=y, sr=SAMPLE_RATE, **STFT),
    "spectral_flatness": lambda y: librosa.feature.spectral_flatness(y=y, **STFT),
    "rms": lambda y: librosa.feature.rms(y=y),
}


def feature_by_feature(y: np.ndarray) -> None:
    """All of LIBROSA: MFCC, ZCR, contrast, chroma, rolloff, centroid, bandwidth, flatness, RMS."""
    for run in LIBROSA.values():
        run(y)


def shared_spectrogram(y: np.ndarray) -> None:
    """librosa at its best: one STFT handed to all, no estimate of the tuning."""
    f, sr = librosa.feature, SAMPLE_RATE
    magnitude = np.abs(librosa.stft(y, **STFT))
    power = magnitude**2
    f.mfcc(S=librosa.power_to_db(f.melspectrogram(S=power, sr=sr)), n_mfcc=20)
    f.zero_crossing_rate(y)
    f.spectral_contrast(S=magnitude, sr=sr)
    f.chroma_stft(S=power, sr=sr, tuning=0)
    f.spectral_rolloff(S=magnitude, sr=sr)
    f.spectral_centroid(S=magnitude, sr=sr)
    f.spectral_bandwidth(S=magnitude, sr=sr)
    f.spectral_flatness(S=power, power=1)
    f.rms(S=magnitude)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"{SECONDS} s at {SAMPLE_RATE} Hz, one core, {rounds} rounds in turn; median CPU time")
    for contestants in (peers(recording()), of_segments(recording())):
        compare(contestants, rounds)


def compare(contestants: list[Peer], rounds: int) -> None:
    """Let them take turns; print what each took, and how often the time of the first."""
    for peer in contestants:
        peer.run(peer.prepare())  # librosa compiles on its first call
    spent: dict[str, list[float]] = {peer.name: [] for peer in contestants}
    for _ in range(rounds):
        for peer in contestants:
            given = peer.prepare()
            began = time.process_time()
            peer.run(given)
            spent[peer.name].append((time.process_time() - began) * 1000)
    ours = statistics.median(spent[contestants[0].name])
    print(f"\n{'':36}{'gives':28}{'ms':>8}{'fastest':>9}{'ratio':>8}")
    for peer in contestants:
        median = statistics.median(spent[peer.name])
        fastest = min(spent[peer.name])
        print(f"{peer.name:36}{peer.gives:28}{median:8.2f}{fastest:9.2f}{median / ours:7.1f}x")


if __name__ == "__main__":
    main()
