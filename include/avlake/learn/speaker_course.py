"""All trainings of one run: which there are, what they learn from, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from avlake.errors import WorkError
from avlake.learn.base import Progress
from avlake.learn.speaker_data import AUDIBLE, Scene, Track
from avlake.learn.speaker_folds import Fold, talker_folds, video_folds
from avlake.learn.speaker_pretraining import FEWEST, MODEL
from avlake.learn.speaker_training import Fitted, Recipe, Workshop, fit
from avlake.learn.speaker_trial import Counter, Plan, Trial, folds_of, last, mixed, run
from avlake.thresholds import ActiveSpeakerThresholds

NETWORK = "network"
WITHOUT_AUGMENTATION = "network_without_augmentation"
WITH, WITHOUT = "network_with_pretraining", "network_without_pretraining"
VIDEOS, TALKERS, SPLIT = "videos", "talkers", "split"  # what tells the sides of a plan apart
TEST = "test"
MANY_VIDEOS, TEST_VIDEOS = 30, 3  # from which on gold's own split judges


@dataclass(frozen=True)
class Outcome:
    """What came of a course; `trial` has pre-training and the last training, too."""

    trial: Trial
    plans: Sequence[Plan]
    final: Plan

    def kept(self) -> Iterator[tuple[str, Plan, Fitted]]:
        """The networks to keep, by the file's name: the last, and those that were judged on videos not seen."""
        yield "model.safetensors", self.final, self.trial.fitted[self.final.name]
        for plan in self.plans:
            if plan.model == NETWORK and plan.by != TALKERS:
                yield f"checkpoints/{plan.name}.safetensors", plan, self.trial.fitted[plan.name]


@dataclass(frozen=True)
class Course:
    """What there is to learn from, and how."""

    tracks: Sequence[Track]
    scenes: Sequence[Scene]
    heads: Sequence[Scene]  # to pre-train on
    options: ActiveSpeakerThresholds
    workshop: Workshop

    def run(self, progress: Progress) -> Outcome:
        """Do all trainings there are.

        Raises:
            WorkError: if there is too little to learn from, or a loss is not finite.
        """
        plans = self.plans()
        main = [plan for plan in plans if plan.model == NETWORK and plan.by != TALKERS]
        before = replace(self.recipe, labels=False, patience=self.recipe.epochs)
        needed = any(plan.pretrained for plan in plans)
        counter = Counter(progress, self.recipe.epochs * (len(plans) + 1 + needed))
        fitted, start = dict[str, Fitted](), None
        if needed:
            fitted[MODEL] = fit(
                MODEL,
                self.heads,
                (),
                before,
                workshop=self.workshop,
                progress=lambda done: counter.tell(MODEL, "pre-train the network", done),
            )
            start = fitted[MODEL].state
        trial = run(plans, self.scenes, self.tracks, self.workshop, counter, start)
        final = last(trial, main, self.learnable)
        ended = run([final], self.scenes, self.tracks, self.workshop, counter, start)
        counter.finish()
        return Outcome(Trial({**fitted, **trial.fitted, **ended.fitted}, trial.scores), plans, final)

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=self.options.epochs, seed=self.options.seed, augment=self.options.augment)

    @property
    def can_pretrain(self) -> bool:
        return len(self.heads) >= FEWEST

    @cached_property
    def learnable(self) -> list[int]:
        """Places of scenes with a face to learn from."""
        return [i for i, scene in enumerate(self.scenes) if scene.learns().any()]

    def plans(self) -> list[Plan]:
        """Every training but the last one.

        What is compared is compared where the figure is looked at: on unseen talkers, where they are known. Nobody
        knows who a talking head shows, so that pre-training is no part of what is judged on unseen talkers.
        """
        sides = self.sides()
        judge = TALKERS if TALKERS in sides else next(iter(sides))
        begins = self.options.pretrain and self.can_pretrain
        found = []
        for by, folds in sides.items():
            pretrained = begins and by != TALKERS
            found += folds_of(NETWORK, by, folds, self.scenes, self.recipe, pretrained=pretrained)
            if self.options.compare and self.options.augment and by == judge:
                plain = replace(self.recipe, augment=False)
                found += folds_of(WITHOUT_AUGMENTATION, by, folds, self.scenes, plain, pretrained=pretrained)
            if self.options.compare and self.can_pretrain and by != TALKERS:
                model = WITHOUT if begins else WITH
                found += folds_of(model, by, folds, self.scenes, self.recipe, pretrained=not begins)
        return found

    def sides(self) -> dict[str, list[Fold]]:
        """What is learned from and what is judged, by what tells them apart.

        Raises:
            WorkError: if no honest way is left.
        """
        if not self.learnable:
            raise WorkError(
                "gold.active_speaker_frames has no labelled face to learn from: ingest a drop with annotations and its "
                "videos, or set smaller thresholds"
            )
        videos = [scene.video_id for scene in self.scenes]
        counts = np.array([counted(scene) for scene in self.scenes])
        test = np.flatnonzero([scene.split == TEST for scene in self.scenes])
        both = {videos[i] for i in test if counts[i].all()}
        found: dict[str, list[Fold]] = {}
        others = np.setdiff1d(np.arange(len(videos)), test)
        if len(set(videos)) >= MANY_VIDEOS and len(both) >= TEST_VIDEOS and mixed(self.scenes, others):
            found[SPLIT] = [Fold(frozenset(videos[i] for i in test), others, test)]
        else:
            found[VIDEOS] = video_folds(videos, counts[:, 0], counts[:, 1])
        folds = talker_folds([scene.talkers for scene in self.scenes])
        if able := [fold for fold in folds if mixed(self.scenes, fold.train)]:
            found[TALKERS] = able
        return found

    def about(self, plan: Plan, fitted: Fitted) -> dict[str, Any]:
        """What is to be known of the weights of a training."""
        learned = [self.scenes[i] for i in (*plan.train, *plan.validation)]
        best = fitted.best
        return {
            "name": plan.name,
            "drops": sorted({track.drop for scene in learned for track in scene.tracks}),
            "videos": sorted({scene.video_id for scene in learned}),
            "epoch": best.epoch,
            "validation_ap": best.validation_ap,
            "seed": plan.recipe.seed,
            "pretrained": plan.pretrained,
        }

    def counts(self) -> dict[str, int]:
        """What there is to learn from."""
        learned = [scene for scene in self.scenes if scene.learns().any()]
        talkers = {track.talker for scene in learned for track in scene.tracks if track.talker}
        faces = np.sum([counted(scene) for scene in learned], axis=0)
        return {
            "videos": len({scene.video_id for scene in learned}),
            "scenes": len(learned),
            "tracks": len({(*track.group, track.track_id) for scene in learned for track in scene.tracks}),
            "talkers": len(talkers),
            "audible_faces": int(faces[0]),
            "other_faces": int(faces[1]),
            "talking_heads": len(self.heads),
        }


def counted(scene: Scene) -> tuple[int, int]:
    """How many of its faces to learn from are heard, and how many are not."""
    heard = scene.of_faces("labels", -1)[scene.learns()] == AUDIBLE
    return int(heard.sum()), int((~heard).sum())
