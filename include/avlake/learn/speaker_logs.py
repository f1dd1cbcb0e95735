"""The course of each training: `curves.json`, and TensorBoard's event files, `tensorboard --logdir` of the folder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avlake.learn.artifacts import to_json
from avlake.learn.speaker_training import Epoch, Fitted

SCALARS = {"loss/train": "loss", "loss/validation": "validation_loss", "average_precision/validation": "validation_ap"}


def logs_of(fitted: Mapping[str, Fitted]) -> dict[str, bytes]:
    """Files by name; of each training the epochs with loss, validation_loss and validation_ap."""
    curves = {name: [_described(epoch) for epoch in one.curve] for name, one in fitted.items()}
    files = {"curves.json": to_json(curves)}
    for name, one in fitted.items():
        files[f"tensorboard/{name}/events.out.tfevents.avlake"] = _events(one)
    return files


def _described(epoch: Epoch) -> dict[str, Any]:
    return {"epoch": epoch.epoch, **{name: getattr(epoch, name) for name in SCALARS.values()}}


def _events(one: Fitted) -> bytes:
    """One training as TensorBoard reads it, each epoch at the time it ended."""
    from torch.utils.tensorboard import SummaryWriter  # loads protocol buffers and more

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for epoch in one.curve:
                for tag, name in SCALARS.items():
                    if (value := getattr(epoch, name)) is not None:
                        writer.add_scalar(tag, value, epoch.epoch, epoch.at)
        (written,) = Path(folder).iterdir()
        return written.read_bytes()
