"""Scenes side by side: what the network is given, as tensors padded to the longest scene and the most faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from avlake.extractors.face_tracks import COEFFICIENTS, MELS, STEPS
from avlake.learn.speaker_data import Array, Scene
from avlake.learn.speaker_net import SIDE


@dataclass(frozen=True)
class Batch:
    """S scenes of up to K faces over up to T times; what is padding is False in `mask` and `times`."""

    looks: Tensor  # (S, K, T, SIDE, SIDE) uint8
    log_mel: Tensor  # (S, T, 4, 40) float32
    mfcc: Tensor  # (S, T, 4, 13) float32
    mask: Tensor  # (S, K, T) bool: there is a face
    times: Tensor  # (S, T) bool: is a time of the scene
    labels: Tensor  # (S, K, T) int8: 2 speaks and is heard, 1 speaks unheard, 0 does not speak, -1 nobody said
    learn: Tensor  # (S, K, T) bool: counts in the loss

    def to(self, device: torch.device) -> Batch:
        """The same, elsewhere."""
        return Batch(*(getattr(self, one.name).to(device, non_blocking=True) for one in fields(self)))


def batch_of(scenes: Sequence[Scene]) -> Batch:
    """Those scenes as one batch. Sound goes on at the end of a shorter scene as its last frame; `times` says so."""
    s, k, t = len(scenes), max(len(one.tracks) for one in scenes), max(len(one.times) for one in scenes)
    looks = np.zeros((s, k, t, SIDE, SIDE), dtype=np.uint8)
    sound = np.zeros((s, t, STEPS, MELS + COEFFICIENTS), dtype=np.float32)
    mask, learn = np.zeros((s, k, t), dtype=bool), np.zeros((s, k, t), dtype=bool)
    labels, times = np.full((s, k, t), -1, dtype=np.int8), np.zeros((s, t), dtype=bool)
    for i, scene in enumerate(scenes):
        faces, length = scene.at.shape
        looks[i, :faces, :length] = scene.looks()
        heard = scene.sound()
        sound[i, :length], sound[i, length:] = heard, heard[-1]
        mask[i, :faces, :length] = scene.at >= 0
        labels[i, :faces, :length] = scene.of_faces("labels", -1)
        learn[i, :faces, :length] = scene.learns()
        times[i, :length] = True
    parts: tuple[Array, ...] = (looks, sound[..., :MELS], sound[..., MELS:], mask, times, labels, learn)
    return Batch(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))
