"""The training loop of `active_speaker`: deterministic, on CPU or CUDA, and going on after a kill where it was.

AdamW with one cycle of the learning rate (Smith & Topin 2018): up for the first 15 % of the steps, then down; momentum
the other way. On CUDA in mixed precision. Every few seconds a checkpoint goes into the training's workshop: weights,
the best so far, the optimiser, the random numbers' state, and the curve; a training that was killed ends with the
very weights of one that was not. Each has random numbers of its own and computes in one thread, so that many can run
beside each other and come to the same, on however many cores.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from avlake.errors import WorkError
from avlake.learn.average_precision import average_precision
from avlake.learn.speaker_batch import Batch, batch_of
from avlake.learn.speaker_checkpoints import State, dump, network, parse
from avlake.learn.speaker_data import AUDIBLE, Scene
from avlake.learn.speaker_judging import judge, mixed, one_thread
from avlake.learn.speaker_loss import augmented, pretraining_loss, training_loss
from avlake.learn.speaker_net import SpeakerNet
from avlake.storage import Store

WARM_UP = 0.15  # share of the steps
START, END = 1 / 25, 1e-5  # of the learning rate, beside its highest
MOMENTUM = (0.85, 0.95)  # at the highest rate and at the lowest
BEGINNING = threading.Lock()  # first weights are of the one state that all threads share
CLIP = 1.0  # largest norm of a gradient


@dataclass(frozen=True)
class Recipe:
    """How to train; `epochs` at most."""

    epochs: int = 20
    scenes: int = 8  # of a batch
    rate: float = 1e-3
    decay: float = 0.05
    patience: int = 8  # epochs without a better one, before it is left
    seed: int = 0
    augment: bool = True
    labels: bool = True  # False: learns by synchrony


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to; of the validation scenes, where there are any."""

    epoch: int  # from 1
    loss: float
    validation_loss: float | None
    validation_ap: float | None
    at: float  # s since 1970


@dataclass(frozen=True)
class Fitted:
    """The weights of the best epoch, of the last where nothing tells which is best."""

    state: State
    best_epoch: int
    curve: tuple[Epoch, ...]

    @property
    def best(self) -> Epoch:
        return self.curve[self.best_epoch - 1]


@dataclass(frozen=True)
class Workshop:
    """Where checkpoints of one learner's trainings are kept while it is at work."""

    store: Store | None = None  # None: nowhere
    folder: str = ""
    every_s: float = 10.0

    def read(self, name: str) -> bytes | None:
        if self.store is None:
            return None
        try:
            return self.store.read(f"{self.folder}/{name}.safetensors")
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        if self.store is not None:
            self.store.write(f"{self.folder}/{name}.safetensors", data)


@dataclass
class _Run:
    """One training, wherever it is."""

    net: SpeakerNet
    optimiser: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    chance: torch.Generator  # of the order of scenes and of what is changed about them
    dropped: torch.Generator  # of what the network drops out; on the device
    device: torch.device
    best: State = field(default_factory=dict)
    best_epoch: int = 0
    curve: list[Epoch] = field(default_factory=list)


def fit(
    name: str,
    train: Sequence[Scene],
    validation: Sequence[Scene],
    recipe: Recipe,
    *,
    workshop: Workshop,
    start: State | None = None,
    progress: Callable[[int], None] = lambda epoch: None,
) -> Fitted:
    """Train, or go on; a training of that name which is finished is not done again.

    Args:
        name: of its checkpoint in the workshop.
        validation: scenes of other videos, which tell the best epoch and when to stop; may be none.
        start: weights to start from, such as pre-trained ones.
        progress: is told how many epochs are done.

    Raises:
        WorkError: if the loss is not finite.
    """
    with one_thread():
        return _fit(name, train, validation, recipe, workshop, start, progress)


def _fit(
    name: str,
    train: Sequence[Scene],
    validation: Sequence[Scene],
    recipe: Recipe,
    workshop: Workshop,
    start: State | None,
    progress: Callable[[int], None],
) -> Fitted:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = _begin(recipe, device, start)
    told = {"recipe": asdict(recipe), "scenes": [len(train), len(validation)], "device": device.type}
    finished, saved = _go_on(run, workshop.read(name), told), time.monotonic()
    progress(len(run.curve))
    while not finished:
        loss = _learn(run, train, recipe, name)
        epoch = len(run.curve) + 1
        missed, precision = _validate(run, validation) if validation else (None, None)
        run.curve.append(Epoch(epoch, loss, missed, precision, time.time()))
        if missed is None or missed < _least(run):
            run.best, run.best_epoch = _weights(run), epoch
        finished = epoch >= recipe.epochs or epoch - run.best_epoch >= recipe.patience
        if finished or time.monotonic() - saved >= workshop.every_s:
            workshop.write(name, _checkpoint(run, {**told, "finished": finished}))
            saved = time.monotonic()
        progress(epoch)
    return Fitted(run.best, run.best_epoch, tuple(run.curve))


def _begin(recipe: Recipe, device: torch.device, start: State | None) -> _Run:
    if device.type == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    with BEGINNING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = SpeakerNet()
    if start is not None:
        net.load_state_dict(start)
    net.to(device)
    dropped = torch.Generator(device).manual_seed(recipe.seed)
    net.take_chance(dropped)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.rate, weight_decay=recipe.decay)
    half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
    scaler = torch.amp.GradScaler(device.type, enabled=half)  # bfloat16 has the range of float32
    return _Run(net, optimiser, scaler, torch.Generator().manual_seed(recipe.seed), dropped, device)


def _learn(run: _Run, scenes: Sequence[Scene], recipe: Recipe, name: str) -> float:
    """One epoch; its mean loss."""
    run.net.train()
    order = torch.randperm(len(scenes), generator=run.chance).tolist()
    steps, done = max(1, len(scenes) // recipe.scenes), len(run.curve)
    losses = []
    for step in range(steps):
        _set_pace(run.optimiser, done * steps + step, recipe.epochs * steps, recipe.rate)
        batch = batch_of([scenes[i] for i in order[step * recipe.scenes : (step + 1) * recipe.scenes]])
        if recipe.augment:
            batch = augmented(batch, run.chance)
        run.optimiser.zero_grad()
        with mixed(run.device):
            loss = _loss(run.net, batch.to(run.device), recipe)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise WorkError(
                f"training {name}: the loss is {value} in epoch {done + 1}. Look for numbers that are not finite in "
                "log_mel and mfcc of silver.face_tracks; if there are none, try another seed: --set seed=1"
            )
        losses.append(value)
        run.scaler.scale(loss).backward()
        run.scaler.unscale_(run.optimiser)
        torch.nn.utils.clip_grad_norm_(run.net.parameters(), CLIP)
        run.scaler.step(run.optimiser)
        run.scaler.update()
    return float(np.mean(losses))


def _loss(net: SpeakerNet, batch: Batch, recipe: Recipe) -> torch.Tensor:
    return training_loss(net, batch, exchange=recipe.augment) if recipe.labels else pretraining_loss(net, batch)


def _set_pace(optimiser: torch.optim.Optimizer, step: int, steps: int, rate: float) -> None:
    """One cycle of rate and momentum, both along cosines."""
    up = WARM_UP * steps
    rises = step < up
    share = step / up if rises else (step - up) / max(1.0, steps - up)
    high = (1 - math.cos(math.pi * share)) / 2 if rises else (1 + math.cos(math.pi * share)) / 2
    low = START if rises else END
    for group in optimiser.param_groups:
        group["lr"] = rate * (low + (1 - low) * high)
        group["betas"] = (MOMENTUM[1] + (MOMENTUM[0] - MOMENTUM[1]) * high, group["betas"][1])


def _validate(run: _Run, scenes: Sequence[Scene]) -> tuple[float, float]:
    """Cross-entropy and average precision."""
    scores = np.concatenate([score.ravel() for score in judge(run.net, scenes)])
    learn = np.concatenate([scene.learns().ravel() for scene in scenes])
    truth = np.concatenate([scene.of_faces("labels", -1).ravel() for scene in scenes])[learn] == AUDIBLE
    p = torch.from_numpy(scores[learn]).clamp(1e-7, 1 - 1e-7)
    missed = F.binary_cross_entropy(p, torch.from_numpy(truth.astype(np.float64)))
    return float(missed), average_precision(truth, scores[learn])


def _least(run: _Run) -> float:
    """The best validation loss so far."""
    return min((one.validation_loss for one in run.curve[:-1] if one.validation_loss is not None), default=math.inf)


def _weights(run: _Run) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in run.net.state_dict().items()}


def _checkpoint(run: _Run, about: dict[str, Any]) -> bytes:
    tensors = {f"best.{name}": tensor for name, tensor in run.best.items()}
    if not about["finished"]:
        tensors |= {f"net.{name}": tensor for name, tensor in run.net.state_dict().items()}
        for i, state in run.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{name}": tensor for name, tensor in state.items()}
        tensors |= {"random.chance": run.chance.get_state(), "random.dropped": run.dropped.get_state()}
    curve = [asdict(one) for one in run.curve]
    return dump(tensors, {**about, "best_epoch": run.best_epoch, "curve": curve, "scaler": run.scaler.state_dict()})


def _go_on(run: _Run, data: bytes | None, told: dict[str, Any]) -> bool:
    """Put a training where its checkpoint was; is it finished? What is damaged or of another is ignored."""
    if data is None:
        return False

    def part(name: str) -> State:
        return {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}

    try:
        tensors, about = parse(data, "a checkpoint")
        if any(about.get(name) != value for name, value in told.items()):
            return False
        for name in ("best",) if about["finished"] else ("best", "net"):
            network(part(name), "a checkpoint")
    except (WorkError, KeyError):
        return False
    run.best, run.best_epoch = part("best"), about["best_epoch"]
    run.curve[:] = [Epoch(**one) for one in about["curve"]]
    if about["finished"]:
        return True
    run.net.load_state_dict(part("net"))
    states: dict[int, State] = {}
    for name, tensor in part("optimiser").items():
        i, _, key = name.partition(".")
        states.setdefault(int(i), {})[key] = tensor
    groups = run.optimiser.state_dict()["param_groups"]
    run.optimiser.load_state_dict({"state": states, "param_groups": groups})
    if run.scaler.is_enabled():
        run.scaler.load_state_dict(about["scaler"])
    run.chance.set_state(tensors["random.chance"])
    run.dropped.set_state(tensors["random.dropped"])
    return False
