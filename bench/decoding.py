"""Decoding in process, as avlake does it, against an ffmpeg process for every file.

    python bench/decoding.py [--clips 60] [--rounds 3]

Both make 16 kHz mono float32 of the same clips, one after another and in turn: those of VGGSound in ../shared/data, or
some made here. avlake gets the bytes, as they come out of a shard; ffmpeg a file that was written before, and its
output is read through a pipe. CPU seconds are those of the process and its children. Without ffmpeg on the PATH there
is nothing to compare with.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import io
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from avlake.media.clip import SAMPLE_RATE, Clip

SHARDS = Path(__file__).parents[2] / "shared/data/landing/vggsound"
MADE, MADE_S, MADE_RATE = 20, 10, 44_100
Samples = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if not (ffmpeg := shutil.which("ffmpeg")):
        print("no ffmpeg on the PATH, so decoding is compared with nothing (Debian: apt install ffmpeg)")
        return
    clips = (recordings() or [made(seed) for seed in range(MADE)])[: asked.clips]
    with tempfile.TemporaryDirectory(prefix="avlake-decoding-") as folder:
        paths = [Path(folder, f"{i}.mp4") for i in range(len(clips))]
        for path, content in zip(paths, clips, strict=True):
            path.write_bytes(content)
        ways: dict[str, Callable[[int], Samples]] = {
            "PyAV in process": lambda i: Clip(clips[i]).audio.samples,
            "ffmpeg, a process per file": lambda i: by_process(ffmpeg, paths[i]),
        }
        for way in ways.values():
            way(0)
        wall, cpu = ({name: np.zeros((asked.rounds, len(clips))) for name in ways} for _ in range(2))
        seconds, differ = 0.0, []
        for round_ in range(asked.rounds):
            for i in range(len(clips)):
                given = []
                for name, way in ways.items():
                    began, cpu_began = time.perf_counter(), cpu_s()
                    given.append(way(i))
                    wall[name][round_, i], cpu[name][round_, i] = time.perf_counter() - began, cpu_s() - cpu_began
                if round_ == 0:
                    seconds += len(given[0]) / SAMPLE_RATE
                    differ.append(abs(len(given[0]) - len(given[1])) / SAMPLE_RATE)
    print(f"{len(clips)} clips, {seconds:.0f} s of sound, {asked.rounds} rounds in turn; per clip, median of all")
    print(f"{'':30}{'wall ms':>9}{'CPU ms':>9}{'clips/s':>9}{'ratio':>8}")
    ours = 0.0
    for name in ways:
        median = float(np.median(wall[name]))
        ours = ours or median
        row = (
            f"{name:30}{1000 * median:9.1f}{1000 * np.median(cpu[name]):9.1f}{wall[name].size / wall[name].sum():9.1f}"
        )
        print(f"{row}{median / ours:7.1f}x")
    print(f"the two differ in length by {1000 * statistics.median(differ):.0f} ms (median of the clips)")


def recordings() -> list[bytes]:
    """The clips of the shards beside the checkout, if they are there."""
    found = []
    for shard in sorted(SHARDS.glob("*/*.tar.gz")):
        with tarfile.open(shard) as members:
            found += [file.read() for member in members if (file := members.extractfile(member))]
    return found


def made(seed: int) -> bytes:
    """Noise in an MP4 file, as AAC."""
    buffer, noise = io.BytesIO(), 0.1 * np.random.default_rng(seed).standard_normal((1, MADE_S * MADE_RATE))
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=MADE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise.astype(np.float32), "fltp", "mono")
        frame.sample_rate = MADE_RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def by_process(ffmpeg: str, path: Path) -> Samples:
    command = [ffmpeg, "-v", "error", "-threads", "1", "-i", str(path), "-vn", "-ac", "1", "-ar", str(SAMPLE_RATE)]
    done = subprocess.run([*command, "-f", "f32le", "-"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
    return np.frombuffer(done.stdout, np.float32)


def cpu_s() -> float:
    """CPU seconds of this process and of those that it has ended."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
