"""How fast faces are measured and judged, on one core, as a multiple of the time that the videos last.

    python bench/speakers.py [--videos 8] [--rounds 3]

Needs ../shared/data, and blaze_face_short_range.tflite in AVLAKE_MODELS or ../shared/models for the rows with the
detector; without, it says so. Times are CPU time, the median of the rounds, decoding included. Judging is done by a
network that has learned nothing: what it costs does not depend on what it knows. Besides: what a face's picture takes,
and what its JPEG loses against one of quality 100.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import torch

from avlake.datasets.ava import parse
from avlake.extractors import base
from avlake.extractors.crops import unpacked
from avlake.extractors.face_tracks import FaceTracks, Params
from avlake.extractors.faces import MODEL
from avlake.learn.speaker_model import SpeakersModel
from avlake.learn.speaker_net import SpeakerNet
from avlake.media.clip import Clip
from avlake.models import has_model
from avlake.settings import load_settings

DATA = Path(__file__).parents[1].parent / "shared/data"
MODELS = DATA.parent / "models"
DROP = DATA / "landing/ava"


def annotations() -> dict[str, str]:
    """What is told of each video."""
    lines: dict[str, list[str]] = {}
    for path in DROP.glob("*/*.csv"):
        for video_id, line in parse(path.read_bytes()):
            if line:
                lines.setdefault(video_id, []).append(line)
    return {video_id: "\n".join(sorted(found)) for video_id, found in lines.items()}


def measured(path: Path, annotation: str | None, **params: int) -> pa.RecordBatch:
    """The rows of `face_tracks` of one video."""
    clip = Clip(path, annotation=annotation)
    (extractor,) = base.register(clip, [FaceTracks(Params(**params))], streams=("video",))
    columns = extractor.measure(clip)
    fields = [field for field in extractor.table.schema if field.name not in base.ADDED]
    return pa.record_batch([pa.array(columns[f.name], f.type) for f in fields], schema=pa.schema(fields))


def decode(path: Path) -> None:
    """What any measurement costs."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0, audio=0):
            pass


def pictures(batch: pa.RecordBatch) -> np.ndarray:
    """All crops: (n, 112, 112)."""
    rows = zip(batch["crops"].to_pylist(), batch["crop_bytes"].to_pylist(), strict=True)
    return np.concatenate([unpacked(crops, lengths) for crops, lengths in rows]).astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    told = annotations()
    paths = sorted(p for p in DROP.glob("*/videos/*") if p.stem in told)[: options.videos]
    if not paths:
        print(f"no annotated videos in {DROP}: nothing is measured")
        return
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    os.environ.setdefault("AVLAKE_MODELS", str(MODELS))
    seconds = sum(Clip(path).video.duration_s for path in paths)
    model = SpeakersModel("gold.active_speaker_frames", SpeakerNet().eval(), (), frozenset(), {})
    ways: dict[str, Callable[[Path], object]] = {
        "decoding alone": decode,
        "face_tracks, annotated": lambda p: measured(p, told[p.stem]),
        "  and judged": lambda p: model.boxes({"face_tracks": measured(p, told[p.stem])}),
    }
    if has_model(MODEL, load_settings()):
        ways["face_tracks, with the detector"] = lambda p: measured(p, None)
        ways["  in every 5th frame"] = lambda p: measured(p, None, stride=5)
        ways["  in every frame, and judged"] = lambda p: model.boxes({"face_tracks": measured(p, None)})
    else:
        print(f"no {MODEL} in AVLAKE_MODELS: nothing is measured with the detector")
    print(f"{len(paths)} videos of {seconds:.0f} s, one core, median of {options.rounds} rounds\n")
    print(f"{'':34}{'CPU s':>8}{'x real time':>14}")
    for name, run in ways.items():
        run(paths[0])
        spent = []
        for _ in range(options.rounds):
            began = time.process_time()
            for path in paths:
                run(path)
            spent.append(time.process_time() - began)
        median = statistics.median(spent)
        print(f"{name:34}{median:8.2f}{seconds / median:13.1f}x")
    print(f"\n{'':34}{'bytes a face':>14}{'PSNR dB':>10}")
    best = [pictures(measured(path, told[path.stem], jpeg_quality=100)) for path in paths]
    for quality in (75, 90, 95):
        batches = [measured(path, told[path.stem], jpeg_quality=quality) for path in paths]
        size = sum(sum(map(sum, batch["crop_bytes"].to_pylist())) for batch in batches) / sum(map(len, best))
        off = [np.square(pictures(batch) - whole).mean() for batch, whole in zip(batches, best, strict=True)]
        print(f"{f'JPEG {quality}':34}{size:14.0f}{10 * np.log10(255**2 / np.mean(off)):10.1f}")


if __name__ == "__main__":
    main()
