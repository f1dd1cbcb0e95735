"""What is asked of the network beside the labels of each scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from speaker_world import TABLE, World, moving

from avlake.learn.speaker_batch import batch_of
from avlake.learn.speaker_cache import read_tracks
from avlake.learn.speaker_data import AUDIBLE, Scene, scenes_of
from avlake.learn.speaker_judging import judge
from avlake.learn.speaker_loss import covered, off_screen
from avlake.learn.speaker_net import SpeakerNet


def scenes_in(world: World, folder: Path) -> list[Scene]:
    return scenes_of(read_tracks(world.con(), TABLE, world, folder))


def alone(scene: Scene, k: int) -> Scene:
    return replace(scene, tracks=scene.tracks[k : k + 1], faces=scene.faces[k : k + 1], at=scene.at[k : k + 1])


def with_sound(scene: Scene, other: Scene) -> Scene:
    """As if the other's sound were heard in it, from its beginning."""
    tracks = []
    for track in scene.tracks:
        sound = np.array(track.pixels.sound)
        sound[track.rows] = other.tracks[0].pixels.sound[other.tracks[0].rows[: len(track)]]
        tracks.append(replace(track, pixels=replace(track.pixels, sound=sound)))
    return replace(scene, tracks=tuple(tracks))


def missed(scores: np.ndarray, truth: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(-np.log(np.where(truth, scores, 1 - scores)).mean())


def test_speakers_may_be_off_screen(tmp_path: Path) -> None:
    """Each face alone, by its label; each scene with the next one's sound, where that is another, by nobody."""
    world = World()
    for video, sound in (("a", 1), ("b", 2), ("c", 1)):
        for k in (0, 1):
            world.add(video, f"{k}", opens=moving(10 * k + ord(video), 20), heard=moving(sound, 20), audible=not k)
    scenes = scenes_in(world, tmp_path)
    torch.manual_seed(0)
    net, batch = SpeakerNet().eval(), batch_of(scenes)
    with torch.inference_mode():
        asked = float(off_screen(net, *net.streams(batch), net(batch).every, batch))
    single = [alone(scene, k) for scene in scenes for k in (0, 1)]
    truth = np.concatenate([(scene.of_faces("labels", -1) == AUDIBLE).ravel() for scene in single])
    own = missed(np.concatenate([score.ravel() for score in judge(net, single)]), truth)
    strange = judge(net, [with_sound(scenes[0], scenes[1]), with_sound(scenes[1], scenes[2])])  # c is followed by a
    nobody = np.concatenate([score.ravel() for score in strange])
    assert asked == pytest.approx(own + missed(nobody, np.zeros(len(nobody), bool)), rel=1e-4)


def test_no_sound_is_known_by_its_length(tmp_path: Path) -> None:
    world = World()
    for video, n in (("long", 30), ("short", 10)):
        world.add(video, "a", opens=moving(1, n), heard=moving(1, n), audible=True)
    assert covered(batch_of(scenes_in(world, tmp_path))).tolist() == [[True, False], [True, True]]
