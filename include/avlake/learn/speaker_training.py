"""The training loop of `active_speaker`: deterministic, on CPU or CUDA, and going on after a kill where it was.

AdamW with one cycle of the learning rate (Smith & Topin 2018): up for the first 15 % of the steps, then down; momentum
the other way. On CUDA in mixed precision. Every few seconds a checkpoint goes into the training's workshop: weights, the
best so far, the optimiser, the random numbers' state, and the curve; on one machine, with as many threads, a training
that was killed ends with the very weights of one that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from avlake.errors import WorkError
from avlake.learn.average_precision import average_precision
from avlake.learn.speaker_batch import Batch, batch_of
from avlake.learn.speaker_checkpoints import State, dump, parse
from avlake.learn.speaker_data import AUDIBLE, Array, Scene
from avlake.learn.speaker_loss import augmented, pretraining_loss, training_loss
from avlake.learn.speaker_net import SpeakerNet
from avlake.storage import Store

WARM_UP = 0.15  # share of the steps
START, END = 1 / 25, 1e-5  # of the learning rate, beside its highest
MOMENTUM = (0.85, 0.95)  # at the highest rate and at the lowest
CLIP = 1.0  # largest norm of a gradient
FACES_AT_ONCE = 3000  # that are judged together


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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _seeded(recipe.seed, device):
        run = _begin(recipe, device, start)
        told = {"recipe": asdict(recipe), "scenes": [len(train), len(validation)]}
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


def judge(net: SpeakerNet, scenes: Sequence[Scene]) -> list[Array]:
    """How likely each face of each scene speaks and is heard: (K, T) float64, NaN where there is no face."""
    found: list[Array] = []
    net.eval()
    device = next(net.parameters()).device
    for some in _batches(scenes):
        with torch.inference_mode(), _mixed(device):
            logits = net(batch_of(some).to(device)).logits
        scores = torch.sigmoid(logits.double()).cpu().numpy()
        for scene, score in zip(some, scores, strict=True):
            faces, times = scene.at.shape
            found.append(np.where(scene.at >= 0, score[:faces, :times], np.nan))
    return found


def _begin(recipe: Recipe, device: torch.device, start: State | None) -> _Run:
    net = SpeakerNet()
    if start is not None:
        net.load_state_dict(start)
    net.to(device)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.rate, weight_decay=recipe.decay)
    half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
    scaler = torch.amp.GradScaler(device.type, enabled=half)  # bfloat16 has the range of float32
    return _Run(net, optimiser, scaler, torch.Generator().manual_seed(recipe.seed), device)


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
        with _mixed(run.device):
            loss = _loss(run.net, batch.to(run.device), recipe)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise WorkError(
                f"training {name}: the loss is {value} in epoch {done + 1}. Look for numbers that are not finite in "
                "log_mel and mfcc of silver.face_tracks; if there are none, try another seed: --set seed=1"
            )
        losses.append(value)
        run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
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
    if not run.best and not any((scene.of_faces("labels", -1) >= 0).any() for scene in scenes):
        return math.nan, math.nan
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
        tensors |= {"random.torch": torch.get_rng_state(), "random.chance": run.chance.get_state()}
        if run.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(run.device)
    curve = [asdict(one) for one in run.curve]
    return dump(tensors, {**about, "best_epoch": run.best_epoch, "curve": curve, "scaler": run.scaler.state_dict()})


def _go_on(run: _Run, data: bytes | None, told: dict[str, Any]) -> bool:
    """Put a training where its checkpoint was; is it finished? One that is damaged or of another training is ignored."""
    if data is None:
        return False
    try:
        tensors, about = parse(data, "a checkpoint")
    except WorkError:
        return False
    if any(about.get(name) != value for name, value in told.items()):
        return False

    def part(name: str) -> State:
        return {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}

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
    torch.set_rng_state(tensors["random.torch"])
    run.chance.set_state(tensors["random.chance"])
    if run.device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], run.device)
    return False


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


def _mixed(device: torch.device) -> torch.autocast:
    """Mixed precision, where there is a GPU."""
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16 if bf16 or device.type == "cpu" else torch.float16,
                          enabled=device.type == "cuda")  # fmt: skip


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from `seed` on, and the caller's own afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if device.type == "cuda":
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        yield
