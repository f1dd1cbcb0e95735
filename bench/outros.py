"""Are outros found in mixtures? Real speech mixed with real music at times that are known.

    python bench/outros.py [--episodes 200] [--seed 1]

Needs ../shared/data, and yamnet.tflite in AVLAKE_MODELS or ../shared/models; without, it says so and mixes nothing.
Voices are of VoxForge, music of VGGSound (clips shorter than an outro are left out). Kinds: an outro after the speech;
one that comes in under it (`bed`), so many dB below it; an intro and an outro; a jingle that speech follows; none.
Music fades in over up to 3 s in half of them, and out in some. The constants of `learn.boundaries` were chosen on
other draws of the same clips.
"""

from __future__ import annotations

import argparse
import csv
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avlake.errors import Quarantined
from avlake.extractors.audio_tags import MODEL, yamnet
from avlake.extractors.tagging import TagListener
from avlake.learn.boundaries import NEAR_S, Found, find
from avlake.learn.segments import tags_of
from avlake.media.clip import SAMPLE_RATE, Clip
from avlake.models import has_model
from avlake.settings import load_settings

DATA = Path(__file__).parents[1].parent / "shared/data"
MODELS = DATA.parent / "models"
SHORTEST_MUSIC_S = 4.0
LEVEL = 0.05  # RMS of speech
BED_DB = (-3, -6, -10, -14, -18)
KINDS = ("outro", "bed", "intro+outro", "jingle", "none")

Samples = np.ndarray[Any, np.dtype[np.float32]]


def members(folder: Path, pattern: str) -> Iterator[tuple[str, str, bytes]]:
    """Archive, name and bytes of every file in the archives that match."""
    for path in sorted(folder.glob(pattern)):
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isfile() and (file := archive.extractfile(member)):
                        yield path.name, member.name, file.read()
        except (tarfile.TarError, EOFError):
            continue  # a drop has truncated archives, too


def music_clips() -> list[Samples]:
    """The clips that hold music and nothing else."""
    with (DATA / "truth/vggsound.csv").open() as file:
        kinds = {row["video_id"]: row["class"] for row in csv.DictReader(file)}
    clips = members(DATA / "landing/vggsound", "*/*.tar.gz")
    sounds = [Clip(data).audio.samples for _, name, data in clips if kinds.get(Path(name).stem) == "music"]
    return [one for one in sounds if len(one) >= SHORTEST_MUSIC_S * SAMPLE_RATE]


def voices() -> list[list[Samples]]:
    """The recordings of each speaker who reads."""
    found = defaultdict(list)
    for archive, name, data in members(DATA / "landing/voxforge", "*/[!r]*.tgz"):
        if name.endswith((".wav", ".flac")):
            try:
                found[archive.split("-")[0]].append(Clip(data).audio.samples)
            except Quarantined:
                continue
    return [recordings for recordings in found.values() if recordings]


def loud(sound: Samples, decibels: float = 0.0) -> Samples:
    """At the level of speech, or so many dB above it."""
    scaled: Samples = sound / np.sqrt(np.mean(sound**2) + 1e-12) * LEVEL * 10 ** (decibels / 20)
    return scaled


def speak(rng: np.random.Generator, voice: list[Samples]) -> Samples:
    """35 to 60 s of one speaker, with pauses."""
    parts, wanted = [], rng.uniform(35, 60) * SAMPLE_RATE
    while sum(map(len, parts)) < wanted:
        parts += [loud(voice[rng.integers(len(voice))]), np.zeros(int(SAMPLE_RATE * rng.uniform(0.1, 0.9)), np.float32)]
    return np.concatenate(parts[:-1])


def faded(rng: np.random.Generator, music: Samples) -> Samples:
    music, n = music.copy(), min(int(rng.choice([0, 0, 0.5, 1.5, 3]) * SAMPLE_RATE), len(music))
    music[:n] *= np.linspace(0, 1, n)
    if rng.random() < 0.4:
        music[-2 * SAMPLE_RATE :] *= np.linspace(1, 0, 2 * SAMPLE_RATE)
    return music


def episode(
    rng: np.random.Generator, kind: str, voice: list[Samples], music: list[Samples]
) -> tuple[str, float | None, Samples]:
    """What it is, where its outro starts in seconds, and its sound."""
    speech, tune = speak(rng, voice), faded(rng, loud(music[rng.integers(len(music))], rng.uniform(-6, 3)))
    start: int | None = None
    if kind == "bed":
        under, over = rng.choice(BED_DB), int(rng.uniform(0.3, 0.8) * len(tune))
        start = len(speech) - over
        sound = np.concatenate([speech, np.zeros(len(tune) - over, np.float32)])
        gain = np.where(np.arange(len(tune)) < over, 10 ** (under / 20), 1)
        sound[start:] += gain * loud(tune)
        kind = f"bed {under:+d} dB"
    elif kind == "jingle":
        at = int(len(speech) * rng.uniform(0.5, 0.85))
        sound = np.concatenate([speech[:at], tune, speech[at:]])
    elif kind == "none":
        sound = speech
    else:
        intro = [loud(music[rng.integers(len(music))])[: int(rng.uniform(3, 8) * SAMPLE_RATE)]] if "+" in kind else []
        before = np.concatenate([*intro, speech, np.zeros(int(rng.uniform(0, 0.5) * SAMPLE_RATE), np.float32)])
        start, sound = len(before), np.concatenate([before, tune])
    noise = rng.normal(0, 1e-4, len(sound))
    return kind, None if start is None else start / SAMPLE_RATE, (sound + noise).astype(np.float32)


def judge(sound: Samples) -> Found:
    import pyarrow as pa

    listener = TagListener(yamnet())
    listener.hear(sound)
    columns = listener.columns()
    wanted = ("start_s", "trusted", "speech", "music", "speech_any", "music_any")
    return find(tags_of(pa.table({name: columns[name] for name in wanted})).heard)


def main() -> None:
    parser = argparse.ArgumentParser(description="Are outros found in mixtures?")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if "AVLAKE_MODELS" not in os.environ and MODELS.is_dir():
        os.environ["AVLAKE_MODELS"] = str(MODELS)
    if not DATA.is_dir() or not has_model(MODEL, load_settings()):
        print("nothing to mix: there is no ../shared/data, or no yamnet.tflite")
        return
    rng, music, speakers = np.random.default_rng(asked.seed), music_clips(), voices()
    results: dict[str, list[str]] = defaultdict(list)
    sure: list[tuple[float, bool]] = []
    for n in range(asked.episodes):
        kind, start_s, sound = episode(rng, KINDS[n % len(KINDS)], speakers[n % len(speakers)], music)
        found = judge(sound)
        said = found.outro_start_s
        if said is None or start_s is None:
            result = "right" if said is start_s else "missed" if said is None else "invented"
        else:
            result = "right" if abs(said - start_s) <= NEAR_S else "early" if said < start_s else "late"
        results[kind].append(result)
        sure.append((found.confidence, result == "right"))
    print(f"{asked.episodes} episodes of {len(speakers)} voices and {len(music)} pieces of music, seed {asked.seed}")
    for kind, one in sorted(results.items()):
        wrong = {name: one.count(name) for name in ("early", "late", "missed", "invented") if name in one}
        print(f"{kind:14} right {one.count('right'):3} of {len(one):3}  {wrong or ''}")
    for low, high in ((0.0, 0.5), (0.5, 0.9), (0.9, 0.97), (0.97, 1.01)):
        here = [right for confidence, right in sure if low <= confidence < high]
        if here:
            print(f"confidence {low:.2f} to {min(high, 1):.2f}: right {sum(here):3} of {len(here):3}")
    yamnet().close()


if __name__ == "__main__":
    main()
