"""Clusters of near duplicates: copies however changed are found, two sentences before one backdrop are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from avlake.extractors import base
from avlake.extractors.fingerprints import EXTRACTOR
from avlake.media.clip import SAMPLE_RATE, Clip
from avlake.media.video import Frame
from avlake.stages import bounded
from avlake.stages.duplicates import Groups, near_duplicates, split_groups
from avlake.stages.library import LAGS, PAIRS
from avlake.stages.matching import Prints, match, sound_share
from avlake.tables import BRONZE_FILES, LABELS
from clips import make_clip, noise_pictures

VOXCELEB = Path(__file__).parents[2].parent / "shared/data/landing/voxceleb"
SECONDS = 6.0
Draw = Callable[[float], np.ndarray]


@cache
def talk(seed: int) -> np.ndarray:
    """6 s of noise through formants that jump eight times a second, with pauses between."""
    rng = np.random.default_rng(seed)
    step = SAMPLE_RATE // 8
    pieces = []
    for _ in range(round(8 * SECONDS)):
        sound = rng.standard_normal(step) * rng.choice([0.0, 0.3, 1.0], p=[0.15, 0.35, 0.5])
        for formant_hz in rng.uniform((300, 900), (900, 2400)):
            sound = lfilter([1], [1, -1.9 * np.cos(2 * np.pi * formant_hz / SAMPLE_RATE), 0.9025], sound)
        pieces.append(sound)
    samples = np.concatenate(pieces)
    return (0.3 * samples / np.abs(samples).max()).astype(np.float32)


def head(seed: int) -> Draw:
    """A backdrop that stays, before which a mouth moves."""
    backdrop = noise_pictures(seed, every_s=1e9)

    def draw(time_s: float) -> np.ndarray:
        picture = backdrop(0.0).copy()
        picture[80 : 84 + int(6 * np.sin(20 * time_s) ** 2), 70:90] = 0
        return picture

    return draw


def film(
    draw: Draw | None, samples: np.ndarray | None, *, start_s: float = 0.0, stop_s: float = SECONDS, **options: Any
) -> bytes:
    """A part of a recording as a file of its own."""
    return make_clip(
        draw and (lambda time_s: draw(start_s + time_s)),
        None if samples is None else samples[round(start_s * SAMPLE_RATE) : round(stop_s * SAMPLE_RATE)],
        seconds=stop_s - start_s,
        **options,
    )


def prints(data: bytes | Path) -> Prints:
    clip, extractor = Clip(data), EXTRACTOR()
    base.register(clip, [extractor], streams=())
    columns = extractor.measure(clip)
    words, pictures = columns["audio_hashes"][0], columns["frame_hashes"][0]
    return Prints(
        None if words is None else words.view(np.uint32), None if pictures is None else pictures.view(np.uint64)
    )


class World:
    """A database as `curate` prepares it: paths <drop>/<subject>/<video>/<clip> with fingerprints, or without."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self.files: list[dict[str, Any]] = []
        self.labels: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []

    def add(self, path: str, found: Prints | None, *, sha256: str = "", size_bytes: int = 1) -> None:
        drop, subject, video, _ = path.split("/")
        key = {"file_id": f"id of {path}", "dataset": "films", "drop_date": drop}
        self.files.append({**key, "path": path[11:], "sha256": sha256 or path, "size_bytes": size_bytes})
        self.labels.append({**key, "subject_id": subject, "name": "video", "value": video})
        if found:
            words, pictures = found.words, found.pictures
            hashes = {
                "audio_hashes": None if words is None else words.view(np.int32),
                "frame_hashes": None if pictures is None else pictures.view(np.int64),
            }
            self.rows.append(key | hashes)

    def clusters(self) -> dict[str, str]:
        """Path → path of the clip that its cluster is named for."""
        self.con.execute("CREATE SCHEMA silver")
        tables = (
            ("current_files", self.files, BRONZE_FILES.schema),
            ("silver.labels", self.labels, LABELS.schema),
            ("silver.fingerprints", self.rows, EXTRACTOR.table.schema),
        )
        for name, rows, schema in tables:
            self.con.register("made", pa.Table.from_pylist(rows, schema))
            self.con.execute(f"CREATE TABLE {name} AS FROM made")
        near_duplicates(self.con, "films")
        found = self.con.execute("FROM near_duplicates").fetchall()
        assert len(found) == len({file_id for file_id, _ in found})
        return {file_id.removeprefix("id of "): cluster.removeprefix("id of ") for file_id, cluster in found}

    def groups(self) -> dict[str, str]:
        """Subject/video → group."""
        split_groups(self.con, "films")
        return {f"{s}/{v}": group for s, v, group in self.con.execute("FROM split_groups").fetchall()}


@pytest.fixture
def world() -> Iterator[World]:
    with bounded.connect() as con:
        yield World(con)


COPIES = {
    "bit rate and size": (lambda: noise_pictures(1, 96, 72), {"crf": 38}),
    "container": (lambda: noise_pictures(1), {"container": "mkv"}),
    "29.97 to 25 a second": (lambda: noise_pictures(1), {"rate_hz": 30_000 / 1001}),
    "12 a second": (lambda: noise_pictures(1), {"rate_hz": 12.0}),
    "without its start": (lambda: noise_pictures(1), {"start_s": 0.87}),
    "without its end": (lambda: noise_pictures(1), {"stop_s": 5.0}),
    "without its start and its end": (lambda: noise_pictures(1), {"start_s": 0.43, "stop_s": 5.41}),
    "a letterbox": (lambda: lambda t: np.pad(noise_pictures(1)(t), ((16, 16), (0, 0), (0, 0))), {}),
}


@pytest.mark.parametrize("change", [*COPIES, "volume"])
def test_a_changed_copy_is_found(world, change):
    draw, options = COPIES.get(change, (lambda: noise_pictures(1), {}))
    world.add("2026-09-02/a/v/copy", prints(film(draw(), talk(1) * (0.2 if change == "volume" else 1), **options)))
    world.add("2026-09-01/a/v/first", prints(film(noise_pictures(1), talk(1))))
    world.add("2026-09-01/b/w/other", prints(film(noise_pictures(2), talk(2))))
    first, other = "2026-09-01/a/v/first", "2026-09-01/b/w/other"
    assert world.clusters() == {first: first, "2026-09-02/a/v/copy": first, other: other}


def test_sound_and_picture_must_both_agree(world):
    clips = {
        "1/first": film(head(1), talk(1)),
        "2/another sentence": film(head(1), talk(2)),
        "3/another picture": film(head(2), talk(1)),
        "4/no picture": film(None, talk(1)),
        "5/no sound": film(head(1), None),
        "6/silent": film(head(1), 0 * talk(1)),
        "7/two thirds": film(
            lambda t: head(1 if t < 4 else 3)(t), np.where(np.arange(96_000) < 64_000, talk(1), talk(3))
        ),
    }
    for path, data in clips.items():
        world.add(f"2026-09-01/a/{path}", prints(data))
    found = world.clusters()
    assert len(found) == 7 and all(path == cluster for path, cluster in found.items())


def test_a_still_talker_with_the_same_sentence_is_a_duplicate(world):
    world.add("2026-09-01/a/v/1", prints(film(head(1), talk(1))))
    world.add("2026-09-01/a/v/2", prints(film(head(1), talk(1), crf=32, start_s=0.5)))
    assert set(world.clusters().values()) == {"2026-09-01/a/v/1"}


def test_what_agrees_must_do_so_at_one_offset(world):
    """The same sound over the same pictures, but the pictures come two seconds later."""
    draw = noise_pictures(1)
    world.add("2026-09-01/a/v/1", prints(film(draw, talk(1))))
    world.add("2026-09-01/a/v/2", prints(film(lambda t: draw(max(0.0, t - 2)), talk(1))))
    assert len(set(world.clusters().values())) == 2


@pytest.mark.parametrize("samples", [None, 0 * talk(1)], ids=["no sound", "silence"])
def test_without_sound_only_pictures_that_change_prove_anything(world, samples):
    for n, draw in enumerate((noise_pictures(1), noise_pictures(1, 96, 72), noise_pictures(2))):
        world.add(f"2026-09-01/a/v/{n} moves", prints(film(draw, samples, start_s=0.4 * n)))
    for n in range(3):
        world.add(f"2026-09-01/b/v/{n} talks", prints(film(head(1), samples, start_s=0.4 * n)))
        world.add(f"2026-09-01/c/v/{n} black", prints(film(lambda t: np.zeros((120, 160, 3), np.uint8), samples)))
    clusters = world.clusters()
    assert clusters.pop("2026-09-01/a/v/1 moves") == "2026-09-01/a/v/0 moves"
    assert len(clusters) == 8 and all(path == cluster for path, cluster in clusters.items())


def test_equal_bytes_are_duplicates_whatever_is_known_of_them(world):
    world.add("2026-09-02/a/v/1", None, sha256="same")
    world.add("2026-09-01/b/w/2", Prints(np.zeros(9, np.uint32), None), sha256="same")
    world.add("2026-09-01/b/w/3", Prints(np.zeros(9, np.uint32), None))
    world.add("2026-09-01/b/w/empty 1", None, sha256="nothing", size_bytes=0)
    world.add("2026-09-01/b/w/empty 2", None, sha256="nothing", size_bytes=0)
    one, other = "2026-09-01/b/w/2", "2026-09-01/b/w/3"
    assert world.clusters() == {"2026-09-02/a/v/1": one, one: one, other: other}


def test_a_lake_without_fingerprints_has_no_clusters(world):
    assert world.clusters() == {} and world.groups() == {}


def hashes(seed: int, count: int, dtype: type = np.uint32) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, count, dtype)


def copy_of(whole: Prints, start: int, stop: int, *, wrong: float, seed: int) -> Prints:
    """An excerpt, in pictures, with a share of the sound's bits wrong."""
    rng = np.random.default_rng(seed)
    words = whole.words[5 * start : 5 * stop]
    flips = np.packbits(rng.random((len(words), 32)) < wrong, axis=1).view(">u4")[:, 0].astype(np.uint32)
    return Prints(words ^ flips, whole.pictures[start:stop])


def test_videos_that_a_chain_of_clusters_links_are_one_group(world):
    whole = {name: Prints(hashes(n, 200), hashes(n, 40, np.uint64)) for n, name in enumerate("pqrs")}
    world.add("2026-09-02/b/v/1", whole["p"])
    world.add("2026-09-02/b/v/2", whole["q"])
    world.add("2026-09-02/a/v/1", copy_of(whole["p"], 2, 40, wrong=0.1, seed=1))
    world.add("2026-09-01/c/z/1", copy_of(whole["q"], 0, 36, wrong=0.1, seed=2))
    world.add("2026-09-03/a/other/1", whole["r"])
    world.add("2026-09-03/d/no prints/1", None)
    assert len(set(world.clusters().values())) == 3
    assert world.groups() == {
        "a/v": "c/z",
        "b/v": "c/z",
        "c/z": "c/z",
        "a/other": "a/other",
        "d/no prints": "d/no prints",
    }


def test_a_video_of_youtube_is_one_group_whoever_speaks_in_it(world):
    for path in (
        "b/21Uxsk56VDQ",
        "a/21Uxsk56VDQ",
        "a/00001",
        "b/00001",
        "a/video-00001",
        "b/video-00001",
        "a/1Uxsk56VDQ",
    ):
        world.add(f"2026-09-0{1 + (path[0] == 'a')}/{path}/1", None)
    world.clusters()
    groups = world.groups()
    assert groups.pop("a/21Uxsk56VDQ") == groups["b/21Uxsk56VDQ"] == "b/21Uxsk56VDQ"
    assert len(groups) == 6 and all(video == group for video, group in groups.items())


def test_excerpts_of_one_recording_are_one_cluster_though_they_share_nothing(world):
    whole = Prints(hashes(1, 500), hashes(1, 100, np.uint64))
    world.add("2026-09-01/a/v/1", copy_of(whole, 0, 50, wrong=0.0, seed=1))
    world.add("2026-09-01/a/v/2", copy_of(whole, 50, 100, wrong=0.0, seed=2))
    world.add("2026-09-01/a/v/3", whole)
    assert set(world.clusters().values()) == {"2026-09-01/a/v/1"}


def test_copies_among_many_are_found_and_nothing_else(world):
    """2,000 clips, a tenth of them copies; and 100 copies of one, which share their words with too many to link all."""
    for n in range(1800):
        world.add(f"2026-09-01/a/{n:04}/1", Prints(hashes(n, 150), hashes(n, 30, np.uint64)))
    for n in range(200):
        of = Prints(hashes(n, 150), hashes(n, 30, np.uint64))
        world.add(f"2026-09-02/a/{n:04}/2", copy_of(of, n % 6, 30, wrong=0.1, seed=n))
    for n in range(100):
        of = Prints(hashes(5000, 150), hashes(5000, 30, np.uint64))
        world.add(f"2026-09-03/b/{n:04}/1", copy_of(of, 0, 30, wrong=0.05, seed=n))
    clusters = world.clusters()
    expected = {path: path for path in clusters if path[:10] == "2026-09-01"}
    expected |= {path: f"2026-09-01/a/{path[13:17]}/1" for path in clusters if path[:10] == "2026-09-02"}
    expected |= {path: "2026-09-03/b/0000/1" for path in clusters if path[:10] == "2026-09-03"}
    assert clusters == expected


@given(seed=st.integers(0, 99), start=st.integers(0, 6), length=st.integers(30, 34), wrong=st.floats(0, 0.2))
def test_an_excerpt_with_wrong_bits_matches_and_another_recording_does_not(seed, start, length, wrong):
    whole = Prints(hashes(seed, 200), hashes(seed, 40, np.uint64))
    copy = copy_of(whole, start, start + length, wrong=wrong, seed=seed)
    assert match(whole, copy, [-5 * start])
    assert match(copy, whole, [5 * start + 1])
    assert not match(whole, copy, [-5 * start + 25])
    assert not match(Prints(hashes(seed + 100, 200), whole.pictures), copy, [-5 * start])


@given(
    one=st.lists(st.sampled_from([0, 1, 2**31, 2**32 - 1]), max_size=60),
    other=st.lists(st.sampled_from([0, 1, 2**31, 2**32 - 1]), max_size=60),
    lag=st.integers(-80, 80),
)
def test_agreement_is_a_share_and_does_not_depend_on_the_order(one, other, lag):
    left, right = np.array(one, np.uint32), np.array(other, np.uint32)
    share = sound_share(left, right, lag)
    assert 0 <= share <= 1
    assert share == sound_share(right, left, -lag)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_groups_are_what_links_connect(case):
    count, links = case
    groups, reached = Groups(range(count)), np.eye(count, dtype=bool)
    for a, b in links:
        groups.join(a, b)
        reached[a, b] = reached[b, a] = True
    for _ in range(count):
        reached = reached @ reached
    np.testing.assert_array_equal(groups.least(), reached.argmax(axis=1))


class Copy:
    """Every frame of a real clip, small."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, np.ndarray]] = []

    def see(self, frame: Frame) -> None:
        self.frames.append((frame.time_s, frame.rgb(160, 128)))

    def draw(self, time_s: float) -> np.ndarray:
        return max((f for f in self.frames if f[0] <= time_s + 1e-6), key=lambda f: f[0], default=self.frames[0])[1]


@pytest.mark.skipif(not VOXCELEB.exists(), reason="no shared/data beside the checkout")
def test_real_clips_have_no_near_duplicates_but_their_copies(world):
    """48 clips, many of one talker before one backdrop; of each such talker one clip is encoded again, a part of it."""
    paths = sorted(VOXCELEB.glob("*/dev/mp4/*/*/*"))
    for path in paths:
        drop, _, _, subject, video, clip = path.relative_to(VOXCELEB).parts
        world.add(f"{drop}/{subject}/{video}/{clip}", prints(path))
    copied = {path.parts[-3]: path for path in paths if path.suffix == ".mpg"}
    for subject, path in copied.items():
        clip, copy = Clip(path), Copy()
        clip.show_to("copy", copy)
        clip.seen("copy")
        samples = 0.5 * clip.audio.samples
        data = film(copy.draw, samples, start_s=0.21, stop_s=len(samples) / SAMPLE_RATE, crf=34, rate_hz=20.0)
        world.add(f"2026-09-03/{subject}/again/{path.parts[-2]}", prints(data))
    clusters = world.clusters()
    first = {path: cluster for path, cluster in clusters.items() if not path.startswith("2026-09-03")}
    assert len(first) == 48 and all(path == cluster for path, cluster in first.items())
    again = {path.split("/")[1]: cluster.split("/")[1:] for path, cluster in clusters.items() if path not in first}
    assert again == {subject: list(path.parts[-3:]) for subject, path in copied.items()}


def test_pairs_that_match_at_many_lags_fit_into_little_memory() -> None:
    """As what repeats itself does; sorting all of a pair's lags at once took 48 KB for each pair."""
    pairs, lags = 4_000, 40
    with bounded.connect("100MB") as con:
        con.execute(
            f"""CREATE TABLE dup_hits AS
            SELECT (i // {lags})::INT AS a, (i // {lags} + 1)::INT AS b, (10 * (i % {lags}))::INT AS lag
            FROM range({pairs * lags}) AS rows(i), range(2)"""
        )
        found = con.sql(PAIRS).fetchall()
    assert found == [(a, a + 1, [0, 10, 20][:LAGS]) for a in range(pairs)]
