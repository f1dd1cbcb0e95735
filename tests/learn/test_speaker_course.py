"""What each training of a run may learn from: nothing of what it is then judged on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from speaker_world import TABLE, World, moving

from avlake.learn.speaker_cache import read_tracks
from avlake.learn.speaker_course import SPLIT, TALKERS, VIDEOS, Course
from avlake.learn.speaker_data import Scene, scenes_of
from avlake.learn.speaker_pretraining import talking_heads
from avlake.learn.speaker_training import Workshop
from avlake.thresholds import ActiveSpeakerThresholds

PAIRS = (("ann", "bob"), ("cy", "di"), ("eve", "flo"), ("ann", "cy"), ("bob", "eve"), ("di", "flo"))


def course(folder: Path, videos: int, **options: object) -> Course:
    """Videos of two scenes each, of other people; some are in gold's test and validation splits."""
    world = World()
    for video in range(videos):
        split = "test" if video % 5 == 4 else "validation" if video % 5 == 3 else "train"
        for scene in (0, 1):
            for k, name in enumerate(PAIRS[(video + 2 * scene) % len(PAIRS)]):
                world.add(
                    f"v{video}", f"v{video}:{scene}:{k}", opens=moving(video, 8), heard=moving(video, 8),
                    audible=k == scene, start_s=5.0 * scene, talker=name, split=split,
                )  # fmt: skip
                for row in world.gold[-8:]:
                    row["scene"] = scene
    for head in range(8):
        world.add(f"h{head}", "f", opens=moving(head, 60), heard=moving(head, 60), audible=None, dataset="voxceleb")
    tracks = read_tracks(world.con(), TABLE, world, folder)
    (folder / "heads").mkdir()
    heads = talking_heads(world, folder / "heads", tracks)
    return Course(tracks, scenes_of(tracks), heads, ActiveSpeakerThresholds(**options), Workshop())


def videos_of(scenes: Sequence[Scene]) -> set[str]:
    return {scene.video_id for scene in scenes}


@pytest.mark.parametrize("pretrain", [True, False])
@pytest.mark.parametrize("videos", [12, 30])
def test_nothing_that_is_judged_is_learned_from(tmp_path: Path, videos: int, pretrain: bool) -> None:
    one = course(tmp_path, videos, pretrain=pretrain)
    plans = one.plans()
    assert {plan.by for plan in plans} == {TALKERS, VIDEOS if videos < 30 else SPLIT}
    assert any(plan.pretrained for plan in plans) and len({plan.model for plan in plans}) == 3
    for plan in plans:
        train, validation, test = ([one.scenes[i] for i in some] for some in (plan.train, plan.validation, plan.test))
        assert train and validation and test
        assert not videos_of(train) & videos_of(validation)
        if plan.by == TALKERS:
            known = frozenset().union(*(scene.talkers or () for scene in (*train, *validation)))
            assert not any(known & (scene.talkers or known) for scene in test)
            assert not plan.pretrained  # nobody knows who the talking heads are
        else:
            assert not videos_of(test) & (videos_of(train) | videos_of(validation) | videos_of(one.heads))
    for key in {(plan.model, plan.by) for plan in plans}:
        judged = [i for plan in plans if (plan.model, plan.by) == key for i in plan.test]
        assert len(judged) == len(set(judged))  # by one network each
