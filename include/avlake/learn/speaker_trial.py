"""Trainings beside each other: of every fold, of what is compared, and the last one on everything.

Each training is named, deterministic and alone with its checkpoint, so that they may run in any order, and those which
were finished before a kill are not done again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from avlake.learn.base import Progress
from avlake.learn.speaker_checkpoints import State, network
from avlake.learn.speaker_data import AUDIBLE, Array, Scene, Track
from avlake.learn.speaker_folds import Fold
from avlake.learn.speaker_judging import judge
from avlake.learn.speaker_training import Fitted, Recipe, Workshop, fit
from avlake.learn.splits import bucket

MOST_AT_ONCE = 8  # trainings
VALIDATION_SHARE = 0.15  # of the videos to learn from
MANY = 30  # videos; gold's own split is then enough for a side
FEWEST_VALIDATED = 4  # videos to learn from; of fewer, none can be spared


@dataclass(frozen=True)
class Plan:
    """One training of the network, and the scenes that it is asked about afterwards."""

    model: str  # network, network_without_augmentation, ...
    by: str  # what tells the two sides apart: videos | talkers | split | all
    number: int  # of `count`
    count: int
    train: Array  # places of scenes
    validation: Array
    test: Array
    recipe: Recipe
    pretrained: bool = False

    @property
    def name(self) -> str:
        return f"{self.model}_{self.by}" + (f"_{self.number}" if self.count > 1 else "")

    @property
    def words(self) -> str:
        fold = f", {self.by} fold {self.number} of {self.count}" if self.count > 1 else ""
        return f"train {self.model.replace('_', ' ')}{fold}"


@dataclass(frozen=True)
class Trial:
    """What came of plans: each training by its name, and what every model says of what it had not seen."""

    fitted: Mapping[str, Fitted]
    scores: Mapping[tuple[str, str], list[Array]]  # by model and `by`: (n,) of each track, NaN where nobody asked


class Stopped(Exception):
    """A training is not to go on."""


class Counter:
    """Epochs done of all trainings together, so that the time left is that of the whole."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._say, self._total, self._done = progress, total, dict[str, int]()
        self._lock, self._stopped = threading.Lock(), False

    def stop(self) -> None:
        """Let every training end with its epoch: another one has failed, or somebody wants no more."""
        self._stopped = True

    def tell(self, name: str, words: str, done: int) -> None:
        """Say how many epochs of a training are done.

        Raises:
            Stopped: if it is not to go on.
        """
        if self._stopped:
            raise Stopped
        with self._lock:
            self._done[name] = done
            self._say(words, min(self._total, sum(self._done.values())), self._total)

    def finish(self) -> None:
        """Say that all is done, whatever was left out."""
        self._say("train", self._total, self._total)


def folds_of(
    model: str, by: str, folds: Sequence[Fold], scenes: Sequence[Scene], recipe: Recipe, *, pretrained: bool
) -> list[Plan]:
    """A plan per fold."""
    plans = []
    for number, fold in enumerate(folds, 1):
        train, validation = spare(scenes, fold.train, recipe.seed)
        plans.append(Plan(model, by, number, len(folds), train, validation, fold.test, recipe, pretrained))
    return plans


def spare(scenes: Sequence[Scene], places: Array, seed: int) -> tuple[Array, Array]:
    """Scenes to learn from, and those of other videos that tell when to stop: with somebody heard on either side.

    Those that gold's split spares, where there are any. Of few videos none are spared: then every epoch is run.
    """
    places = np.array([i for i in places if scenes[i].learns().any()], dtype=int)
    videos = sorted({scenes[i].video_id for i in places}, key=lambda name: bucket(name, f"stop{seed}"))
    if len(videos) < FEWEST_VALIDATED:
        return places, places[:0]
    by_gold = {scenes[i].video_id for i in places if scenes[i].split == "validation"}
    enough = len(videos) >= MANY and by_gold
    spared = by_gold if enough else set(videos[: max(2, round(VALIDATION_SHARE * len(videos)))])
    inside = np.array([scenes[i].video_id in spared for i in places])
    train, validation = places[~inside], places[inside]
    if not all(mixed(scenes, side) for side in (train, validation)):
        return places, places[:0]
    return train, validation


def mixed(scenes: Sequence[Scene], places: Array) -> bool:
    """Is there, of what may be learned from, somebody who is heard and somebody who is not?"""
    seen = [set(np.unique(scenes[i].of_faces("labels", -1)[scenes[i].learns()] == AUDIBLE).tolist()) for i in places]
    return set().union(*seen) == {True, False}


def run(
    plans: Sequence[Plan],
    scenes: Sequence[Scene],
    tracks: Sequence[Track],
    workshop: Workshop,
    counter: Counter,
    start: State | None = None,
) -> Trial:
    """Do all of them, as many beside each other as there are cores.

    Args:
        start: pre-trained weights.

    Raises:
        WorkError: if the loss of one is not finite.
    """
    scores = {(plan.model, plan.by): [np.full(len(track), np.nan) for track in tracks] for plan in plans}
    place = {(*track.group, track.track_id): i for i, track in enumerate(tracks)}

    def one(plan: Plan) -> Fitted:
        fitted = fit(
            plan.name,
            [scenes[i] for i in plan.train],
            [scenes[i] for i in plan.validation],
            plan.recipe,
            workshop=workshop,
            start=start if plan.pretrained else None,
            progress=lambda done: counter.tell(plan.name, plan.words, done),
        )
        counter.tell(plan.name, plan.words, plan.recipe.epochs)  # it may have stopped early
        asked = [scenes[i] for i in plan.test]
        said = judge(network(fitted.state, plan.name), asked) if asked else []
        for scene, score in zip(asked, said, strict=True):  # no face is in two tests, so threads keep apart
            for track, faces, values in scene.to_faces(score):
                scores[plan.model, plan.by][place[*track.group, track.track_id]][faces] = values
        return fitted

    fitted: dict[str, Fitted] = {}
    with ThreadPoolExecutor(at_once()) as pool:
        waiting: dict[str, Future[Fitted]] = {plan.name: pool.submit(one, plan) for plan in plans}
        try:
            for name, future in waiting.items():
                fitted[name] = future.result()
        except BaseException:
            counter.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Trial(fitted, scores)


def at_once() -> int:
    """How many trainings run beside each other: as many as cores; one on a GPU."""
    if torch.cuda.is_available():
        return 1
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return min(cores, MOST_AT_ONCE)


def last(trial: Trial, plans: Sequence[Plan], places: Sequence[int]) -> Plan:
    """The training on everything, as `plans` and for the median of the epochs that were best in them."""
    best = [trial.fitted[plan.name].best_epoch for plan in plans if len(plan.validation)]
    one = plans[0]
    recipe = replace(one.recipe, epochs=round(float(np.median(best)))) if best else one.recipe
    none: Array = np.arange(0)
    return Plan(one.model, "all", 1, 1, np.array(places), none, none, recipe, one.pretrained)
