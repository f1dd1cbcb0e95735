"""Checkpoints of the network: safetensors, with what has to be known of the weights as JSON in the header.

Whatever is loaded is checked first: names, shapes and kinds of all tensors, the network's version, and that every
number is finite. There is no pickle and no code in such a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from avlake.errors import WorkError
from avlake.learn.speaker_net import VERSION, SpeakerNet

ABOUT = "avlake"  # the one entry of the header
KIND = "active_speaker"
State = dict[str, Tensor]


def dump(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    """Tensors and what is to be known of them; `about` is JSON."""
    told = {"kind": KIND, "network": VERSION, **about}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save_tensors(plain, {ABOUT: json.dumps(told, sort_keys=True, allow_nan=False)})


def parse(data: bytes, name: str) -> tuple[State, dict[str, Any]]:
    """What `dump` made; `name` is what errors call it.

    Raises:
        WorkError: if it is damaged, no checkpoint of active_speaker, or one of another version of the network.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        tensors = load_tensors(data)
        about = json.loads(header["__metadata__"][ABOUT])
        kind, version = about["kind"], about["network"]
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise WorkError(f"{name} is damaged, or no checkpoint of {KIND} ({reason}): train again") from None
    if kind != KIND:
        raise WorkError(f"{name} is a checkpoint of {kind}, not of {KIND}")
    if version != VERSION:
        raise WorkError(f"{name} is of version {version} of the network, this is {VERSION}: train again")
    return tensors, about


def network(state: State, name: str) -> SpeakerNet:
    """The network with these weights, ready to judge.

    Raises:
        WorkError: if they are not those of this network, or not finite.
    """
    with torch.device("meta"):  # without drawing first weights: other threads may be drawing theirs
        net = SpeakerNet()
    wanted = net.state_dict()
    if strange := sorted(wanted.keys() ^ state.keys()):
        raise WorkError(f"{name} is of another network: {strange[0]} is in one of the two alone; train again")
    for tensor_name, tensor in wanted.items():
        given = state[tensor_name]
        if given.shape != tensor.shape or given.dtype != tensor.dtype:
            raise WorkError(
                f"{name} is of another network: {tensor_name} is {given.dtype} {tuple(given.shape)} and should be "
                f"{tensor.dtype} {tuple(tensor.shape)}; train again"
            )
        if not torch.isfinite(given).all():
            raise WorkError(f"{name} is damaged: {tensor_name} holds numbers that are not finite; train again")
    net.load_state_dict(state, assign=True)
    return net.eval()
