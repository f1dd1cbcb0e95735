"""Model files that people bring, made up: right in shape, and of no use."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avlake.extractors import panns
from avlake.extractors.panns_tags import LABELS, WEIGHTS

ENDS = (
    *("Speech", "Children shouting", "Whispering", "Singing", "Humming", "Chatter"),
    *("Hubbub, speech noise, speech babble", "Music", "Harp", "Bell", "Harmonica", "Scary music"),
)
NAMES = (*ENDS, *(f"Tag, {i}" for i in range(len(ENDS), panns.N_TAGS)))


class Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)


class Layers(nn.Module):
    """CNN14 as its paper draws it, with the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(64)
        for i, (before, after) in enumerate(((1, 64), (64, 128), (128, 256), (256, 512), (512, 1024), (1024, 2048)), 1):
            setattr(self, f"conv_block{i}", Block(before, after))
        self.fc1, self.fc_audioset = nn.Linear(2048, 2048), nn.Linear(2048, 527)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n_frames, 64) → (527,)."""
        x = self.bn0(x[None, None].transpose(1, 3)).transpose(1, 3)
        for i, size in enumerate((2, 2, 2, 2, 2, 1), 1):
            block = getattr(self, f"conv_block{i}")
            x = torch.relu(block.bn1(block.conv1(x)))
            x = torch.relu(block.bn2(block.conv2(x)))
            x = nn.functional.avg_pool2d(x, size)
        x = x.mean(3)
        x = torch.relu(self.fc1(x.max(2).values + x.mean(2)))
        return torch.sigmoid(self.fc_audioset(x))[0]


def made_up(mels: np.ndarray) -> dict[str, torch.Tensor]:
    """Weights of the right shapes; each shows a few numbers over and over, so that they are a small file.

    Args:
        mels: mel filters (257, 64).
    """
    random = torch.Generator().manual_seed(3)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Layers().state_dict().items() if tensor.dim()}
    found = {panns.MEL: torch.from_numpy(mels)}
    for name, shape in shapes.items():
        few = torch.randn(sum(shape), generator=random)
        fan_in = int(np.prod(shape[1:])) or 1
        few = few.abs() + 0.5 if name.endswith("running_var") else few * (2 / fan_in) ** 0.5
        found[name] = few.as_strided(shape, (1,) * len(shape))
    return found


def bring(folder: Path, weights: object) -> None:
    """Both files, as people bring them."""
    torch.save(weights, folder / WEIGHTS)
    with (folder / LABELS).open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["index", "mid", "display_name"])
        out.writerows([i, f"/m/{i}", name] for i, name in enumerate(NAMES))
