"""The training loop: it learns, says the same twice, stops early, and goes on after a kill as if nothing had been."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from speaker_world import TABLE, two_talkers

from avlake.errors import WorkError
from avlake.learn.average_precision import average_precision
from avlake.learn.speaker_cache import read_tracks, read_unlabelled
from avlake.learn.speaker_checkpoints import dump, network, parse
from avlake.learn.speaker_data import Scene, scenes_of
from avlake.learn.speaker_judging import judge
from avlake.learn.speaker_training import Fitted, Recipe, Workshop, fit
from avlake.storage import open_store

SHORT = Recipe(epochs=6, scenes=4, patience=6)


def made(videos: int = 6) -> list[Scene]:
    world = two_talkers(videos=videos, n=16)
    with tempfile.TemporaryDirectory() as folder:  # what is mapped stays readable
        return scenes_of(read_tracks(world.con(), TABLE, world, Path(folder)))


def workshop(folder: Path) -> Workshop:
    return Workshop(open_store(str(folder)), "_training", every_s=0)


def short(folder: Path | None = None, recipe: Recipe = SHORT, seen: list[int] | None = None) -> Fitted:
    scenes = made()
    told = seen if seen is not None else []
    kept = Workshop() if folder is None else workshop(folder)
    return fit("some_fold", scenes[:4], scenes[4:], recipe, workshop=kept, progress=told.append)


def same(one: Fitted, other: Fitted) -> bool:
    return all(torch.equal(one.state[name], other.state[name]) for name in one.state) and one.best_epoch == (
        other.best_epoch
    )


@pytest.fixture(scope="module")
def uninterrupted() -> Fitted:
    return short()


def test_it_learns_whose_mouth_goes_with_the_sound() -> None:
    scenes = made(20)
    fitted = fit("n", scenes[:14], scenes[14:16], Recipe(epochs=12), workshop=Workshop())
    assert fitted.curve[-1].loss < fitted.curve[0].loss * 0.6
    y = np.concatenate([(scene.of_faces("labels", -1) == 2).ravel() for scene in scenes[16:]])
    said = np.concatenate([score.ravel() for score in judge(network(fitted.state, "n"), scenes[16:])])
    assert average_precision(y, said) > 0.8 > 0.55 > y.mean()


def test_the_same_twice_and_beside_others(uninterrupted: Fitted) -> None:
    with ThreadPoolExecutor(2) as pool:
        other_seed = pool.submit(short, None, replace(SHORT, seed=1))
        again = pool.submit(short)
    assert same(uninterrupted, again.result())
    assert not same(uninterrupted, other_seed.result())


def test_loading_weights_draws_none(uninterrupted: Fitted) -> None:
    """First weights are drawn from numbers that all threads share; another that loads a network takes none of them."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    network(uninterrupted.state, "n")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_best_epoch_is_kept_and_none_better_ends_it(uninterrupted: Fitted) -> None:
    losses = [epoch.validation_loss or math.inf for epoch in uninterrupted.curve]
    assert uninterrupted.best_epoch == int(np.argmin(losses)) + 1
    impatient = short(recipe=replace(SHORT, epochs=30, patience=1, rate=0.03))
    assert len(impatient.curve) < 30 and impatient.best_epoch == len(impatient.curve) - 1


def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(tmp_path: Path, uninterrupted: Fitted) -> None:
    code = "import sys; from pathlib import Path; from test_speaker_training import short; short(Path(sys.argv[1]))"
    where = {"cwd": Path(__file__).parent, "env": {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}}
    running = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **where)
    checkpoint, deadline = tmp_path / "_training" / "some_fold.safetensors", time.monotonic() + 120
    while not checkpoint.exists():
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    _, about = parse(checkpoint.read_bytes(), "checkpoint")
    assert 1 <= len(about["curve"]) < SHORT.epochs and not about["finished"]
    seen: list[int] = []
    went_on = short(tmp_path, seen=seen)
    assert seen == list(range(len(about["curve"]), SHORT.epochs + 1))  # and not from the beginning
    assert same(went_on, uninterrupted)
    assert [epoch.loss for epoch in went_on.curve] == [epoch.loss for epoch in uninterrupted.curve]


def test_what_is_finished_is_not_trained_again(tmp_path: Path, uninterrupted: Fitted) -> None:
    one = short(tmp_path)
    seen: list[int] = []
    assert same(one, short(tmp_path, seen=seen)) and seen == [SHORT.epochs]
    assert same(one, uninterrupted)


@pytest.mark.parametrize("spoil", ["cut", "not finite", "of another recipe"])
def test_a_checkpoint_that_is_not_its_own_is_passed_over(tmp_path: Path, uninterrupted: Fitted, spoil: str) -> None:
    short(tmp_path, recipe=replace(SHORT, seed=5) if spoil == "of another recipe" else SHORT)
    (checkpoint,) = (tmp_path / "_training").iterdir()
    if spoil == "cut":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    if spoil == "not finite":
        tensors, about = parse(checkpoint.read_bytes(), "checkpoint")
        next(tensor for name, tensor in tensors.items() if name.startswith("best.")).fill_(math.nan)
        checkpoint.write_bytes(dump(tensors, about))
    seen: list[int] = []
    assert same(short(tmp_path, seen=seen), uninterrupted) and seen[0] == 0


def test_a_loss_that_is_not_finite_ends_it_with_the_next_step() -> None:
    scenes = made(4)
    broken = [replace(scene, tracks=tuple(silenced(scene))) for scene in scenes]
    with pytest.raises(WorkError, match=r"training n: the loss is nan in epoch 1.*--set seed=1"):
        fit("n", broken, (), SHORT, workshop=Workshop())


def silenced(scene: Scene) -> Sequence[object]:
    for track in scene.tracks:
        sound = np.full_like(track.pixels.sound, np.nan)
        yield replace(track, pixels=replace(track.pixels, sound=sound))


def test_synchrony_is_learned_without_labels() -> None:
    world = two_talkers(videos=2, heads=16)
    with tempfile.TemporaryDirectory() as folder:
        heads = [s for s in scenes_of(read_unlabelled(world, Path(folder), ["v0", "v1"])) if len(s.tracks) == 1]
        fitted = fit("heads", heads, (), Recipe(epochs=10, labels=False), workshop=Workshop())
    assert fitted.best_epoch == 10 and fitted.curve[-1].loss < fitted.curve[0].loss * 0.7
    assert fitted.curve[-1].validation_loss is None
