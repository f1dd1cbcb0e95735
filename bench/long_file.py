"""What an episode of hours takes to measure: memory and time of the process that does it, by length.

    python bench/long_file.py [--minutes 1 10 180] [--most-mib-per-hour 150]

MP3 files (44.1 kHz, stereo, 128 kbit/s) of those lengths are made of a loop and measured in the sandbox at its default
limits, each in a process of its own: by all of `sound_effects`, by all of `podcast_outros`, and for comparison by an
extractor that keeps all samples. Memory is the most that the process held resident (VmHWM of /proc). The exit status is
1 if a file is not measured, or if what only listens takes more memory for an hour more than asked. Without
yamnet.tflite in AVLAKE_MODELS, or in ../shared/models, audio_tags is left out.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import psutil

from avlake.errors import Quarantined
from avlake.extractors import base
from avlake.media.sandbox import Sandbox
from avlake.models import has_model
from avlake.pipelines import get_pipeline
from avlake.settings import MIB, Settings

RATE, FRAME = 44_100, 1152  # of the MP3; samples per second and in a frame
LOOP_FRAMES = 750  # 19.6 s
KEEPS = "audio_quality"  # keeps all samples, and measures them at once
BESIDE = Path(__file__).parents[2] / "shared/models"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 180])
    parser.add_argument("--most-mib-per-hour", type=float, default=150, help="growth of memory, listening")
    parser.add_argument("--what", nargs="+", help="measure only by these, named as in the second column")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    asked = parser.parse_args()
    found, say = [], print if asked.format == "text" else lambda *line, **options: None
    say(f"{'minutes':>8} {'measured by':<22} {'MiB':>6} {'seconds':>8}  failed")
    with tempfile.TemporaryDirectory(prefix="avlake-long-") as folder:
        for minutes in asked.minutes:
            path = Path(folder, f"{minutes:g}.mp3")
            length_s = write_mp3(path, 60 * minutes)
            for name, extractors in sets(settings()).items():
                if asked.what and name not in asked.what:
                    continue
                row = {"minutes": round(length_s / 60, 1), "what": name, **measure(path, extractors)}
                failed = "; ".join(row["failed"]) or "-"
                say(f"{row['minutes']:8.1f} {name:<22} {row['mib']:6.0f} {row['seconds']:8.1f}  {failed}", flush=True)
                found.append(row)
    growth = grown(found)
    for name, per_hour in growth.items():
        say(f"{name}: {per_hour:.0f} MiB more for an hour more")
    if asked.format == "json":
        print(json.dumps({"rows": found, "mib_per_hour": growth}))
    listening = [per_hour for name, per_hour in growth.items() if name != KEEPS]
    return int(any(row["failed"] for row in found) or max(listening, default=0.0) > asked.most_mib_per_hour)


def settings() -> Settings:
    """Those of the environment, with the model files beside the checkout where it names none."""
    given = {} if "AVLAKE_MODELS" in os.environ or not BESIDE.is_dir() else {"models": BESIDE}
    return Settings(**given)


def sets(given: Settings) -> dict[str, list[str]]:
    """Extractors by what they are called here."""
    wanted = {f"all of {name}": get_pipeline(name).extractors for name in ("sound_effects", "podcast_outros")}
    able = {what: [name for name in names if all_there(name, given)] for what, names in wanted.items()}
    return able | {KEEPS: [KEEPS]}


def all_there(extractor: str, given: Settings) -> bool:
    return all(has_model(file, given) for file in base.load(extractor).models)


def measure(path: Path, extractors: list[str]) -> dict[str, object]:
    """One file in a fresh process at the default limits: its peak of memory, its seconds, and what went wrong."""
    with Sandbox(settings()) as box:
        began = time.perf_counter()
        try:
            found = box.measure(path, {name: {} for name in extractors}, streams=("audio",))
            failed = [f"{name}: {measured.error}" for name, measured in found.items() if measured.error]
        except Quarantined as error:
            failed = [f"{error.error_class}: {error}"]
        seconds = time.perf_counter() - began
        mib = max((_peak_mib(child.pid) for child in psutil.Process().children()), default=math.nan)
    return {"mib": mib, "seconds": seconds, "failed": failed}


def grown(found: list[dict[str, object]]) -> dict[str, float]:
    """MiB per hour, between the shortest and the longest file, by what measured them."""
    growth = {}
    for name in dict.fromkeys(row["what"] for row in found):
        rows = sorted((row["minutes"], row["mib"]) for row in found if row["what"] == name)
        (short, little), (long, much) = rows[0], rows[-1]
        growth[name] = 60 * (much - little) / (long - short) if long > short else 0.0
    return growth


def write_mp3(path: Path, seconds: float) -> float:
    """Write an MP3 of at least `seconds`: a loop's frames, again and again; returns how many seconds it sounds."""
    loop = _loop()
    times = math.ceil(seconds * RATE / (LOOP_FRAMES * FRAME))
    with path.open("wb") as file:
        for _ in range(times):
            file.write(loop)
    return times * LOOP_FRAMES * FRAME / RATE


def _loop() -> bytes:
    """Frames of a gliding tone over noise, none of which needs the one before it."""
    encoder = av.CodecContext.create("libmp3lame", "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "stereo", "s16p"
    encoder.bit_rate, encoder.options = 128_000, {"reservoir": "0"}
    t = np.arange(LOOP_FRAMES * FRAME) / RATE
    sound = 0.2 * np.sin(2 * np.pi * (200 * t + 20 * t**2)) + 0.02 * np.random.default_rng(0).standard_normal(len(t))
    samples = np.tile((sound * 32_767).astype(np.int16), (2, 1))
    packets = []
    for start in range(0, samples.shape[1], FRAME):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + FRAME]), "s16p", "stereo")
        frame.sample_rate, frame.pts = RATE, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return b"".join(bytes(packet) for packet in packets[:LOOP_FRAMES])


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024 / MIB


if __name__ == "__main__":
    raise SystemExit(main())
