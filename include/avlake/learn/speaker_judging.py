"""The network's scores of every face of scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from avlake.learn.speaker_batch import batch_of
from avlake.learn.speaker_data import Array, Scene, Track, scenes_of
from avlake.learn.speaker_net import SpeakerNet

FACES_AT_ONCE = 3000  # that are judged together


def judge(net: SpeakerNet, scenes: Sequence[Scene]) -> list[Array]:
    """How likely each face of each scene speaks and is heard: (K, T) float64, NaN where it is not there."""
    found: list[Array] = []
    net.eval()
    device = next(net.parameters()).device
    for some in _batches(scenes):
        with one_thread(), torch.inference_mode(), mixed(device):
            logits = net(batch_of(some).to(device)).logits
        scores = torch.sigmoid(logits.double()).cpu().numpy()
        for scene, score in zip(some, scores, strict=True):
            faces, times = scene.at.shape
            found.append(np.where(scene.at >= 0, score[:faces, :times], np.nan))
    return found


def judge_tracks(net: SpeakerNet, tracks: Sequence[Track]) -> list[Array]:
    """The same for each track, (n,) float64 per track; NaN where there is no picture."""
    found = {(*track.group, track.track_id): np.full(len(track), np.nan) for track in tracks}
    scenes = scenes_of(tracks)
    for scene, scores in zip(scenes, judge(net, scenes), strict=True):
        for track, faces, score in scene.to_faces(scores):
            found[*track.group, track.track_id][faces] = score
    return [found[*track.group, track.track_id] for track in tracks]


def _batches(scenes: Sequence[Scene]) -> Iterator[list[Scene]]:
    """Scenes that follow each other, as many as are judged at once."""
    some: list[Scene] = []
    for scene in scenes:
        if some and sum(one.at.size for one in some) + scene.at.size > FACES_AT_ONCE:
            yield some
            some = []
        some.append(scene)
    if some:
        yield some


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in this thread alone: several get into each other's way, and add in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def mixed(device: torch.device) -> torch.autocast:
    """Mixed precision, where there is a GPU."""
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16 if bf16 or device.type == "cpu" else torch.float16,
                          enabled=device.type == "cuda")  # fmt: skip
