"""CNN14 of PANNs for sound at 16 kHz (Kong et al. 2020, https://arxiv.org/abs/1912.10211), from its published weights.

It is written as functions of the checkpoint's tensors: nothing of a checkpoint is executed, and what does not fit is
named before it is used. The mel filters are the checkpoint's own.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avlake.errors import RequestError
from avlake.extractors.tagging import MUSICAL, VOICES, Scores, family
from avlake.media.audio import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    from torch import Tensor

WINDOW_S = 10  # the length it was trained on; shorter clips were filled up with silence there, too
N_TAGS = 527
N_FFT, HOP, N_MELS = 512, 160, 64
CHANNELS = (1, 64, 128, 256, 512, 1024, 2048)  # into and out of its six blocks
NORM = ("running_mean", "running_var", "weight", "bias")
AMIN = 1e-10
MEL = "logmel_extractor.melW"

Weights = Mapping[str, "Tensor"]


class Panns:
    """A `Tagger`, see `avlake.extractors.tagging`."""

    window_samples = WINDOW_S * SAMPLE_RATE

    def __init__(self, weights: Path, labels: Path) -> None:
        """Raises:
        RequestError: when a file is not what its name says, with what is wrong.
        """
        import torch

        torch.set_num_threads(1)  # a task has one core
        self.names = read_names(labels)
        self._weights = read_weights(weights)

    def score(self, samples: Samples) -> Scores:
        import torch

        count = -(-len(samples) // self.window_samples)
        filled = np.zeros((count, self.window_samples), np.float32)
        filled.reshape(-1)[: len(samples)] = samples
        scores = np.empty((count, N_TAGS), np.float32)
        with torch.inference_mode():
            for row, window in zip(scores, filled, strict=True):  # one at a time: a window takes 0.2 GB
                row[:] = tag(log_mel(torch.from_numpy(window), self._weights[MEL]), self._weights).numpy()
        return scores


def read_names(path: Path) -> tuple[str, ...]:
    """The tags in the order of the scores: columns `index` and `display_name` of a CSV file.

    Raises:
        RequestError: when it is not AudioSet's list of 527.
    """
    again = "fetch it again, or remove it"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(int(row["index"]), row["display_name"]) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RequestError(f"{path}: not read as columns index and display_name ({error}); {again}") from None
    if [index for index, _ in rows] != list(range(N_TAGS)) or not all(name for _, name in rows):
        raise RequestError(f"{path}: does not name tags 0 to {N_TAGS - 1} in their order; {again}")
    names = tuple(name for _, name in rows)
    try:
        family(names, (*VOICES, *MUSICAL))
    except RequestError as error:
        raise RequestError(f"{path}: {error}; {again}") from None
    return names


def read_weights(path: Path) -> Weights:
    """Tensors by name, as the checkpoint has them under `model`; nothing in it is executed.

    Raises:
        RequestError: when it is no checkpoint, or one of another network, naming what does not fit.
    """
    import torch

    again = "fetch the checkpoint of Cnn14_16k again, or remove it"
    try:
        with torch.serialization.safe_globals(_numbers()):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged or hostile file fails in any way
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{path}: not read as a checkpoint ({first}); {again}") from None
    tensors = found.get("model", found) if isinstance(found, dict) else {}
    for name, shape in shapes().items():
        tensor = tensors.get(name) if isinstance(tensors, dict) else None
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape or not tensor.is_floating_point():
            is_shape = f"is {tuple(tensor.shape)} {tensor.dtype}" if isinstance(tensor, torch.Tensor) else "is missing"
            raise RequestError(f"{path}: {name} {is_shape}, expected {shape} of numbers; {again}")
    return {name: tensors[name].float() for name in shapes()}


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of the network, by their names in the checkpoint."""
    found: dict[str, tuple[int, ...]] = {MEL: (1 + N_FFT // 2, N_MELS), **_norm("bn0", N_MELS)}
    for i, (before, after) in enumerate(pairwise(CHANNELS), start=1):
        for k, given in ((1, before), (2, after)):
            found |= {f"conv_block{i}.conv{k}.weight": (after, given, 3, 3), **_norm(f"conv_block{i}.bn{k}", after)}
    for name, n in (("fc1", CHANNELS[-1]), ("fc_audioset", N_TAGS)):
        found |= {f"{name}.weight": (n, CHANNELS[-1]), f"{name}.bias": (n,)}
    return found


def log_mel(samples: Tensor, filters: Tensor) -> Tensor:
    """Mel power in dB re 1, not below -100 dB: (n_frames, 64) of samples (n,), a frame every 10 ms.

    Args:
        filters: (n_bins, 64) on power.
    """
    import torch

    spectrum = torch.stft(
        samples, N_FFT, HOP, window=torch.hann_window(N_FFT), center=True, pad_mode="reflect", return_complex=True
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return 10 * torch.log10(torch.clamp(power.T @ filters, min=AMIN))


def tag(mels: Tensor, weights: Weights) -> Tensor:
    """Probabilities (527,) of the tags, from mel dB (n_frames, 64): six blocks of two convolutions, then two layers."""
    from torch.nn import functional as f

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, scale, shift = (weights[f"{name}.{part}"] for part in NORM)
        return f.batch_norm(x, mean, var, scale, shift)

    x = norm(mels.T[None, :, :, None], "bn0").permute(0, 3, 2, 1)  # its channels are the mel bands
    for i in range(1, len(CHANNELS)):
        for k in (1, 2):
            name = f"conv_block{i}"
            x = f.relu(norm(f.conv2d(x, weights[f"{name}.conv{k}.weight"], padding=1), f"{name}.bn{k}"))
        if i < len(CHANNELS) - 1:
            x = f.avg_pool2d(x, 2)
    x = x.mean(dim=3)
    x = x.amax(dim=2) + x.mean(dim=2)
    x = f.relu(f.linear(x, weights["fc1.weight"], weights["fc1.bias"]))
    return f.linear(x, weights["fc_audioset.weight"], weights["fc_audioset.bias"]).sigmoid()[0]


def _norm(name: str, n: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (n,) for part in NORM}


def _numbers() -> list[Any]:
    """numpy's numbers, which checkpoints hold besides tensors (a count of steps, say)."""
    multiarray = import_module("numpy._core.multiarray")
    kinds = [getattr(np.dtypes, name) for name in np.dtypes.__all__ if name.startswith(("Int", "UInt", "Float"))]
    scalars = [(multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*scalars, np.dtype, *kinds]
