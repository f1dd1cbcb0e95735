"""Drops of synthesised voices in VoxForge's layout: for demonstrations without a network, and for tests.

Nobody is recorded here, and every README says so. A voice is the classical source-filter model (Fant, Acoustic Theory
of Speech Production, 1960): glottal pulses at F0 through formant resonators, cut into syllables, over a noise floor.
Women differ from men as they do on average (F0 about 205 instead of 120 Hz, formants 17 % higher), and each speaker has
an own F0, vocal tract and breathiness. What is learnt from these voices says nothing about people.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import wave
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

from avlake.errors import RequestError

SAMPLE_RATE = 16_000
VOWELS_HZ = (  # F1 to F4 of an adult man (after Peterson & Barney, 1952)
    (270, 2290, 3010, 3700),
    (530, 1840, 2480, 3600),
    (730, 1090, 2440, 3500),
    (570, 840, 2410, 3400),
    (300, 870, 2240, 3300),
)
BANDWIDTHS_HZ = (60, 90, 150, 200)
FAULTS = ("truncated", "empty_wav", "unknown_gender")
README = """User Name:{user}

Speaker Characteristics:

Gender: {gender}
Age Range: Adult
Language: EN
Pronunciation dialect: none: a synthesised voice, not a person

Recording Information:

Microphone make: n/a
Microphone type: none
Audio Recording Software: avlake.datasets.synthetic

File Info:

File type: wav
Sampling Rate: 16000
Sample rate format: 16
Number of channels: 1
"""
LICENCE = "Synthesised by avlake. CC0 1.0.\n"
Samples = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Voice:
    """One speaker; the same in every drop."""

    gender: str
    f0_hz: float
    tract: float  # formants relative to an adult man's
    breath: float  # noise in the source, relative to the pulses

    @classmethod
    def of(cls, speaker: int, seed: int) -> Voice:
        """Odd speakers are women, even ones men."""
        rng = np.random.default_rng([seed, speaker])
        f0_hz, tract = (205.0, 1.17) if speaker % 2 else (120.0, 1.0)
        return cls(
            "Female" if speaker % 2 else "Male",
            f0_hz * float(np.exp(rng.normal(0, 0.09))),
            tract * float(np.exp(rng.normal(0, 0.03))),
            float(rng.uniform(0.02, 0.1)),
        )


def write_drop(
    landing: Path, drop: str, *, speakers: int = 10, utterances: int = 4, seed: int = 0, faults: Collection[str] = ()
) -> Path:
    """Write `<landing>/voxforge/<drop>/<user>-<yyyymmdd>-syn.tgz` for each speaker; the same bytes every time.

    Args:
        faults: each adds one archive more, with what real drops hold: `truncated` (cut in the middle), `empty_wav` (a
            wav of no bytes beside good ones), `unknown_gender` (a README that says `Please Select`).

    Returns:
        The drop's folder.
    """
    if unknown := set(faults) - set(FAULTS):
        raise RequestError(f"unknown faults {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    folder = landing / "voxforge" / drop
    folder.mkdir(parents=True, exist_ok=True)
    date = drop.replace("-", "")
    for speaker in range(1, speakers + len(faults) + 1):
        fault = sorted(faults)[speaker - speakers - 1] if speaker > speakers else None
        name = f"synthetic{speaker:02d}-{date}-syn"
        data = _archive(
            name, Voice.of(speaker, seed), utterances, np.random.default_rng([seed, speaker, int(date)]), fault
        )
        (folder / f"{name}.tgz").write_bytes(data)
    return folder


def speak(voice: Voice, duration_s: float, rng: np.random.Generator) -> Samples:
    """Syllables, four or so a second, between short pauses: (n_samples,) at 16 kHz, full scale ±1."""
    total = int(duration_s * SAMPLE_RATE)
    pieces = [np.zeros(int(0.1 * SAMPLE_RATE))]
    while sum(map(len, pieces)) < total - 0.3 * SAMPLE_RATE:
        progress = sum(map(len, pieces)) / total
        pieces += [_syllable(voice, 1.06 - 0.12 * progress, rng), np.zeros(int(rng.uniform(0.01, 0.08) * SAMPLE_RATE))]
    speech = np.concatenate([*pieces, np.zeros(total)])[:total]
    loudest = np.abs(speech).max() or 1.0  # 0 where it is so short that it is one pause
    return 0.5 * speech / loudest + rng.normal(0, 0.001, total)


def _syllable(voice: Voice, declination: float, rng: np.random.Generator) -> Samples:
    """A burst of consonant noise, then a vowel whose pitch falls with the phrase, wavers and jitters."""
    n = int(rng.uniform(0.14, 0.28) * SAMPLE_RATE)
    time_s = np.arange(n) / SAMPLE_RATE
    accent = rng.uniform(0.92, 1.12) + 0.02 * np.sin(2 * np.pi * 5 * time_s) + rng.normal(0, 0.005, n)
    phase = np.cumsum(voice.f0_hz * declination * accent / SAMPLE_RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    source = lfilter([1.0], [1.0, -0.97], pulses) + voice.breath * rng.normal(0, 1, n)
    vowel = source
    for formant_hz, width_hz in zip(VOWELS_HZ[rng.integers(len(VOWELS_HZ))], BANDWIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * width_hz / SAMPLE_RATE)
        turn = 2 * np.pi * formant_hz * voice.tract * rng.normal(1, 0.02) / SAMPLE_RATE
        poles = [1.0, -2 * radius * np.cos(turn), radius**2]
        vowel = lfilter([sum(poles)], poles, vowel)
    vowel = np.diff(vowel, prepend=0.0) * np.hanning(n)  # the lips radiate the derivative
    burst = np.diff(rng.normal(0, 1, n // 6), prepend=0.0) * np.hanning(n // 6)
    vowel *= rng.uniform(0.5, 1.0) / np.abs(vowel).max()
    vowel[: len(burst)] += 0.05 * burst
    return vowel


def _archive(name: str, voice: Voice, utterances: int, rng: np.random.Generator, fault: str | None) -> bytes:
    gender = "Please Select" if fault == "unknown_gender" else voice.gender
    files = {"etc/README": README.format(user=name.split("-")[0], gender=gender).encode(), "LICENSE": LICENCE.encode()}
    for k in range(utterances):
        files[f"wav/syn-{k:04d}.wav"] = _wav(speak(voice, rng.uniform(2.0, 5.0), rng))
    files["etc/PROMPTS"] = "".join(f"{name}/mfc/syn-{k:04d} (NO TRANSCRIPT)\n" for k in range(utterances)).encode()
    if fault == "empty_wav":
        files[f"wav/syn-{utterances:04d}.wav"] = b""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()[: -len(packed.getvalue()) // 2 if fault == "truncated" else None]


def _wav(samples: Samples) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return out.getvalue()
