"""Tracks and scenes: read from gold and the lake, cut, put side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from speaker_world import TABLE, World, measured, moving, two_talkers

from avlake.errors import WorkError
from avlake.learn.speaker_batch import batch_of
from avlake.learn.speaker_cache import read_tracks, read_unlabelled, tracks_of
from avlake.learn.speaker_data import Scene, scenes_of
from avlake.learn.speaker_judging import judge
from avlake.learn.speaker_net import SIDE, SpeakerNet, prepare
from avlake.learn.speaker_pretraining import different, talking_heads

N = 24


def scenes_in(world: World, folder: Path) -> list[Scene]:
    return scenes_of(read_tracks(world.con(), TABLE, world, folder))


def test_tracks_are_what_gold_and_the_lake_say(tmp_path: Path) -> None:
    world, opens = World(), moving(1, N)
    world.add("v", "a", opens=opens, heard=moving(2, N), audible=True, talker="ann", parts=3, problems=[4])
    world.add("v", "b", opens=moving(3, N), heard=moving(2, N), audible=False)
    world.add("w", "c", opens=opens, heard=opens, audible=None)  # nobody said anything of this video
    ann, other = read_tracks(world.con(), TABLE, world, tmp_path)
    assert (ann.video_id, ann.track_id, ann.talker, other.talker) == ("v", "a", "ann", None)
    assert ann.drop == "ava/2026-01-01" and (ann.audible == 1).all() and (other.audible == 0).all()
    assert np.allclose(np.diff(ann.times), 0.04) and len(ann) == len(other) == N
    assert np.flatnonzero(~ann.seen).tolist() == [4] == np.flatnonzero(~ann.kept).tolist()
    assert ann.looks().shape == (N, SIDE, SIDE) and not ann.looks()[4].any()
    dark = (ann.looks()[ann.seen] < 90).mean(axis=(1, 2))  # of an open mouth
    assert np.corrcoef(dark, opens[ann.seen])[0, 1] > 0.95
    level = ann.log_mel.mean(axis=(1, 2))
    assert ann.log_mel.shape == (N, 4, 40) and ann.mfcc.shape == (N, 4, 13)
    assert np.allclose(level, -10 + 8 * moving(2, N), atol=0.02)


def test_what_is_measured_lies_in_files_and_not_in_memory(tmp_path: Path) -> None:
    tracks = read_tracks((world := two_talkers(videos=4)).con(), TABLE, world, tmp_path)
    looks, sound = tracks[0].pixels.looks, tracks[0].pixels.sound
    assert isinstance(looks.base, np.memmap) or isinstance(looks, np.memmap)
    assert all(track.pixels.looks is looks for track in tracks)
    assert (tmp_path / "looks").stat().st_size == looks.nbytes == 4 * 2 * N * SIDE * SIDE
    assert (tmp_path / "sound").stat().st_size == sound.nbytes


def test_gold_of_tracks_that_the_lake_lacks_is_refused(tmp_path: Path) -> None:
    world = two_talkers(videos=2)
    del world.silver[1]
    with pytest.raises(WorkError, match=r"part 0 of track v0:1, which silver.face_tracks lacks: run the pipeline"):
        scenes_in(world, tmp_path)


def test_a_file_in_two_drops_is_read_from_the_one_that_gold_says(tmp_path: Path) -> None:
    world, old = World(), World()
    old.add("v", "a", opens=moving(1, N), heard=moving(7, N), audible=True)
    world.add("v", "a", opens=moving(1, N), heard=moving(8, N), audible=True)
    earlier = old.silver[0] | {"drop_date": "2025-01-01"}
    for order in ([earlier, *world.silver], [*world.silver, earlier]):
        (track,) = read_tracks(world.con(), TABLE, World(order, world.gold), tmp_path)
        assert np.allclose(track.log_mel.mean(axis=(1, 2)), -10 + 8 * moving(8, N), atol=0.02)
        (unknown,) = read_unlabelled(World(order), tmp_path, [])
        assert unknown.drop == "ava/2026-01-01"


def test_damaged_measurements_are_refused(tmp_path: Path) -> None:
    world = two_talkers(videos=2)
    world.silver[0]["log_mel"] = world.silver[0]["log_mel"][:-2]
    with pytest.raises(WorkError, match="do not fit its pictures and sound"):
        scenes_in(world, tmp_path)


def test_scenes_align_tracks_by_time(tmp_path: Path) -> None:
    """Of a face that comes later and leaves later, and of times that differ by rounding."""
    world, sound = World(), moving(9, 30)
    world.add("v", "a", opens=moving(1, 20), heard=sound[:20], audible=True)
    world.add("v", "b", opens=moving(2, 20), heard=sound[10:], audible=False, start_s=10 / 25 + 0.002)
    (scene,) = scenes_in(world, tmp_path)
    assert scene.at.shape == (2, 30) and np.allclose(np.diff(scene.times), 0.04, atol=0.003)
    assert scene.at[0].tolist() == [*range(20), *[-1] * 10]
    assert scene.at[1].tolist() == [*[-1] * 10, *range(20)]
    level = scene.sound()[:, :, :40].mean(axis=(1, 2))  # of whoever is there
    assert np.allclose(level[:20], -10 + 8 * sound[:20], atol=0.02)
    assert np.allclose(level[20:], -10 + 8 * sound[20:], atol=0.4)  # 2 ms of the next or last
    assert scene.learns().sum() == 40 and (scene.of_faces("labels", -1) == 2).sum() == 20


@pytest.mark.parametrize("fps", [50, 30, 24000 / 1001, 15, 12.5])
def test_films_of_any_frame_rate_are_seen_and_heard_alike(tmp_path: Path, fps: float) -> None:
    """At the moments of a film with 25 pictures a second, and each of its own faces is judged."""
    world, moments, times = World(), np.arange(0, 2.001, 0.04), np.arange(0, 2.001, 1 / fps)
    opened, level = moving(1, 51), moving(2, 51)
    for video, at, rate in (("as trained", moments, 25), ("other", times, fps)):
        heard = np.interp(at, moments, level)
        world.add(video, "a", opens=np.interp(at, moments, opened), heard=heard, audible=True, fps=rate)
        row = world.silver[-1]  # without a timbre, which would be another one
        steps = at[:, None] + (np.arange(4) - 1.5) * 0.01
        row["log_mel"] = np.repeat(np.interp(steps, moments, level)[..., None] * 8 - 10, 40, 2).astype("<f2").tobytes()
    trained, other = scenes_in(world, tmp_path)
    assert abs(other.at.shape[1] - trained.at.shape[1]) <= 1 and (other.at >= 0).all()
    n = min(other.at.shape[1], trained.at.shape[1])
    assert np.allclose(trained.times[:n], other.times[:n])
    dark = [(160.0 - scene.looks()[0, :n]).mean(axis=(1, 2)) for scene in (trained, other)]
    assert np.corrcoef(*dark)[0, 1] > (0.97 if fps > 20 else 0.85)
    loud = [scene.sound()[:n, :, 0].ravel() for scene in (trained, other)]
    assert np.corrcoef(*loud)[0, 1] > 0.98
    (scores,) = judge(SpeakerNet(), [other])
    ((track, faces, said),) = other.to_faces(scores)
    assert len(track) == len(faces) == len(said) == len(times) and np.isfinite(said).all()


def test_a_face_is_there_between_pictures_close_to_each_other(tmp_path: Path) -> None:
    world = World()
    world.add("v", "a", opens=moving(1, N), heard=moving(1, N), audible=True, problems=[4, 10, 11, 12, 13])
    (scene,) = scenes_in(world, tmp_path)
    assert np.flatnonzero(scene.at[0] < 0).tolist() == [10, 11, 12, 13]
    before, between, after = scene.looks()[0, 3:6].astype(int)
    assert np.abs(between - (before + after) / 2).max() <= 1
    ((_, faces, said),) = scene.to_faces(scene.times[None])
    assert np.allclose(said, scene.tracks[0].times[faces]) and len(faces) == N - 5


def test_long_scenes_are_cut_and_gaps_divide(tmp_path: Path) -> None:
    world = World()
    long = moving(1, 25 * 25)
    world.add("v", "a", opens=long, heard=long, audible=True)
    world.add("v", "b", opens=moving(2, 20), heard=moving(2, 20), audible=False, start_s=26.0)
    scenes = scenes_in(world, tmp_path)
    assert [len(scene.tracks) for scene in scenes] == [1, 1, 1, 1]
    assert all(scene.times[-1] - scene.times[0] <= 10 for scene in scenes)
    assert sum(scene.at.size for scene in scenes) == len(long) + 20  # each face is in one


def test_a_model_judges_what_is_measured_without_gold() -> None:
    world = World()
    world.add("v", "face_2", opens=moving(2, N), heard=moving(1, N), audible=None, parts=2)
    world.add("v", "face_1", opens=moving(1, N), heard=moving(1, N), audible=None)
    world.add("v", "face_3", opens=moving(3, N), heard=moving(1, N), audible=None, start_s=5.0)
    tracks = {track.track_id: track for track in tracks_of(measured(world.silver[::-1]))}
    assert {name: track.scene for name, track in tracks.items()} == {"face_1": 0, "face_2": 0, "face_3": 1}
    assert np.allclose(np.diff(tracks["face_2"].times), 0.04) and len(tracks["face_2"]) == N
    assert tracks["face_1"].face_px == pytest.approx(0.2 * 500)


def test_padding_changes_nothing(tmp_path: Path) -> None:
    """A scene says the same by itself as beside one that is longer and has more faces."""
    world = World()
    for name, n in (("a", 10), ("b", 10)):
        world.add("short", name, opens=moving(n + ord(name), n), heard=moving(1, n), audible=name == "a")
    for name in "cde":
        world.add("wide", name, opens=moving(ord(name), 30), heard=moving(2, 30), audible=name == "c")
    world.add("one", "f", opens=moving(5, 1 + 1)[:1] * 0, heard=np.ones(1), audible=True)
    scenes = scenes_in(world, tmp_path)
    torch.manual_seed(0)
    net = SpeakerNet().eval()
    together = {scene.video_id: score for scene, score in zip(scenes, judge(net, scenes), strict=True)}
    for scene in scenes:
        (alone,) = judge(net, [scene])
        assert np.isfinite(alone).all()
        assert np.allclose(alone, together[scene.video_id], atol=1e-5), scene.video_id
    batch = batch_of(scenes)
    assert batch.mask.sum(dim=(1, 2)).tolist() == [scene.at.size for scene in scenes]


def test_of_a_face_that_leaves_no_more_is_explained_than_there_is() -> None:
    """What is heard while it is there may be all that is heard: the evidence stays a number, at any lag."""
    torch.manual_seed(0)
    net, t, n = SpeakerNet().eval(), 200, 12
    signal = torch.randn(1, n, net.seen_joint.in_features)
    seen, heard = torch.zeros(1, t, signal.shape[-1]), torch.zeros(1, t, signal.shape[-1])
    seen[:, :n], heard[:, :n] = signal, signal
    net.heard_joint.load_state_dict(net.seen_joint.state_dict())
    known, times = torch.zeros(1, t, dtype=torch.bool), torch.ones(1, t, dtype=torch.bool)
    known[:, :n] = True
    assert torch.isfinite(net.agreement(seen, heard, known, times)).all()


def test_what_is_faint_throughout_is_silence(tmp_path: Path) -> None:
    """And is not made as loud as speech because nothing is louder."""
    torch.manual_seed(0)
    batch, audio = batch_of(scenes_in(two_talkers(videos=2), tmp_path)), SpeakerNet().eval().audio
    nothing = torch.full_like(batch.log_mel, -23.0)
    faint = nothing + torch.rand_like(nothing) * 3

    def heard(log_mel: torch.Tensor) -> torch.Tensor:
        return audio(log_mel, torch.zeros_like(batch.mfcc), batch.times)

    assert torch.allclose(heard(faint), heard(nothing))
    assert not torch.allclose(heard(faint + 20), heard(nothing), atol=0.01)


def test_the_network_sees_the_mouth_with_a_margin() -> None:
    crops = np.zeros((2, 112, 112), dtype=np.uint8)
    crops[1, 50:112, 24:88] = 200
    looks = prepare(crops)
    assert looks.shape == (2, SIDE, SIDE) and looks.dtype == np.uint8
    assert not looks[0].any() and (looks[1] == 200).all()


def test_pre_training_takes_faces_that_are_alone_and_unlabelled(tmp_path: Path) -> None:
    world = two_talkers(videos=2, heads=3)
    world.add("pair", "x", opens=moving(7, 60), heard=moving(7, 60), audible=None, dataset="voxceleb")
    world.add("pair", "y", opens=moving(8, 60), heard=moving(7, 60), audible=None, dataset="voxceleb")
    world.add("brief", "z", opens=moving(9, 40), heard=moving(9, 40), audible=None, dataset="voxceleb")
    world.add("long", "u", opens=moving(6, 120), heard=moving(6, 120), audible=None, dataset="voxceleb")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tracks = read_tracks(world.con(), TABLE, world, tmp_path / "a")
    heads = talking_heads(world, tmp_path / "b", tracks)
    assert [scene.video_id for scene in heads] == ["h0", "h1", "h2", "long", "long"]
    assert {scene.at.shape for scene in heads} == {(1, 50)}  # of one length, by which no sound is known
    assert heads[-1].times[0] == pytest.approx(heads[-2].times[0] + 2)


def test_pre_training_hears_no_recording_that_is_judged(tmp_path: Path) -> None:
    """A copy under another name, later and in a little noise, is told from another recording of as much speech."""
    rng = np.random.default_rng(0)
    spoken = [np.cumsum(rng.normal(0, 0.4, (4 * 60, 40)), axis=0) - 8 for _ in range(2)]
    world = World()
    for name, levels, start in (("told", spoken[0], 0), ("copy", spoken[0][16:], 16), ("other", spoken[1], 0)):
        n = len(levels) // 4
        world.add(name, "a", opens=moving(1, n), heard=moving(1, n), audible=True, start_s=start / 100)
        noisy = levels + rng.normal(0, 0.05, levels.shape)
        world.silver[-1]["log_mel"] = noisy.astype("<f2").tobytes()
    scenes = {scene.video_id: scene for scene in scenes_of(read_unlabelled(world, tmp_path, []))}
    left = different([scenes["copy"], scenes["other"]], [scenes["told"]])
    assert [scene.video_id for scene in left] == ["other"]
