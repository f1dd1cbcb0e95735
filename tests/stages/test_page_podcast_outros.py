"""The page on outros: what it says with labels and without, and clusters that can be listened to."""

from __future__ import annotations

import io
import re
import wave
from html.parser import HTMLParser
from pathlib import Path

import av
import pytest
from episodes import (
    DATASET,
    MUSIC_FROM,
    PATHS,
    PIPELINE,
    RUN,
    TABLE,
    make_lake,
    predictions,
    put_gold,
    put_model,
    said_of_itself,
)

from avlake import warehouse
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.batches import audit_batch
from avlake.stages.explored import explored
from avlake.stages.human import Said, submit
from avlake.stages.pages.outdated import remove_outdated
from avlake.stages.playlists import Playlist, write_playlists
from avlake.stages.report import report
from avlake.stages.takedowns import add, excluded

PLAYLISTS = f"reports/{PIPELINE}/playlists"


class Page(HTMLParser):
    """The text of a page, and everything that it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.loaded, self.pictures = "", [], 0
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "img"
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(settings: Settings, run_id: str = "shown") -> Page:
    return Page(Path(report(settings, pipeline=PIPELINE, run_id=run_id)).read_text())


def people_say(settings: Settings) -> None:
    """Two episodes are labelled, by where their outro starts."""
    put_gold(
        settings,
        label=lambda path, index: "music" if index >= MUSIC_FROM else "dialogue",
        label_source=lambda path, index: "human_outro" if path in PATHS[:2] else "machine",
    )


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_lake(tmp_path_factory.mktemp("page"))
    people_say(settings)
    put_model(settings)
    return settings


@pytest.fixture(scope="module")
def page(labelled: Settings) -> Page:
    return shown(labelled)


def test_names_are_shown_as_they_are(page):
    assert all(path in page.text for path in PATHS)


def test_it_stands_alone(page):
    assert page.pictures == 8
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in page.loaded)


@pytest.mark.parametrize(
    "said",
    [
        "An outro is found in 3 of 4 episodes. It is a test.",
        "macro-F1 of segments, music against dialogue0.920 [0.870, 0.970]",
        "The vote is not shown to beat random forest alone, for the interval holds 0: +0.020 in macro-F1, 95 % "
        "interval [-0.030, +0.070].",
        "This training has not been audited.",
        "Computed from 6 standardised features of 32 segments of 4 episodes",
        "The silhouette is highest at k = 2",
        "The same everywhere, and so left out: f_still.",
        "1.00 with people's labels (16 segments) and 1.00 with labels by the tags (16 segments)",
        "avlake labels next podcast_outros --to FOLDER",
    ],
)
def test_it_says(page, said):
    assert said in page.text


def test_mistakes_come_first(page):
    places = [page.text.index(f"{path}32.0") for path in (PATHS[2], PATHS[3], PATHS[0])]
    assert places == sorted(places)


def test_without_labels_nothing_is_claimed(tmp_path):
    settings = make_lake(tmp_path)
    put_model(settings, **said_of_itself(verified=False) | {"predictions.parquet": predictions(labelled=False)})
    page = shown(settings)
    assert "Uncalibrated: people have not labelled enough episodes" in page.text
    assert "Labels that the tags gave" in page.text and "Nothing to compare" in page.text
    assert "There are no two kinds of labels yet" in page.text
    assert "What people have said Nothing yet." in page.text
    assert "macro-F1" not in page.text and page.pictures == 6


def test_with_next_to_nothing_it_is_still_a_page(tmp_path):
    settings = make_lake(tmp_path, kept=lambda path, index: index < 1, reject_reason="too_short")
    put_model(settings, **said_of_itself(verified=False) | {"outros.json": b"[]"})
    page = shown(settings)
    assert "too few different segments to explore" in page.text and "No episode has been judged" in page.text
    assert "An outro is found in 0 of 0 episodes." in page.text


def test_every_cluster_plays(labelled, page):
    store = Lake.open(labelled).store
    names = [name for name in store.list(PLAYLISTS) if name.endswith(".m3u8")]
    assert names == [f"{PLAYLISTS}/cluster_1.m3u8", f"{PLAYLISTS}/cluster_2.m3u8"]
    for name, is_music in zip(names, (False, True), strict=True):
        assert name in page.text
        head, *lines = store.read(name).decode().splitlines()
        files = [line for line in lines if not line.startswith("#")]
        assert head == "#EXTM3U" and len(files) == 8 == sum(line.startswith("#EXTINF:4,") for line in lines)
        for file in files:
            data = store.read(f"{PLAYLISTS}/{file}")
            with av.open(io.BytesIO(data)) as sound:
                seconds = sum(frame.samples for frame in sound.decode(audio=0)) / 16_000
            assert abs(seconds - 4.0) < 0.01
            assert (float(re.findall(r"_(\d+)s\.wav", file)[0]) >= 4 * MUSIC_FROM) == is_music


def cut_clusters(settings: Settings) -> list[Playlist]:
    lake = Lake.open(settings)
    out = excluded(lake)
    with warehouse.connect(settings) as con:
        found = explored(lake, con, TABLE, out)
        assert found is not None
        return write_playlists(lake, con, PIPELINE, TABLE, found, out)


def test_clusters_are_cut_once(labelled, page):
    cut = next((Path(labelled.uri) / PLAYLISTS).glob("cluster_1/*.wav"))
    before = cut.stat().st_ino
    made = cut_clusters(labelled)
    assert [(one.cluster, one.segments) for one in made] == [(1, 8), (2, 8)] and cut.stat().st_ino == before
    cut.unlink()
    cut_clusters(labelled)
    with wave.open(str(cut)) as sound:
        assert sound.getnframes() == 64_000


def test_an_audit_is_shown_once_people_answer(labelled, tmp_path):
    drawn = audit_batch(labelled, pipeline=PIPELINE, to=str(tmp_path / "audit"), per_class=4).chosen
    music = [one for one in drawn if one.predicted == "music"]
    answers = [Said(one.path, "content", "music", one.start_s, one.end_s, f"audit-{RUN}") for one in music]
    submit(Lake.open(labelled), DATASET, answers, who="ann")
    put_model(labelled, run_id="train-2")
    text = shown(labelled, "trained again").text
    assert "train-1music444 100 % [51 %, 100 %]" in text and "train-1dialogue400 nobody has answered yet" in text
    assert "which is not the one in charge; that one is train-2" in text
    assert "The training in charge has not been audited." in text


def test_nobody_taken_down_is_shown_or_heard(tmp_path):
    settings = make_lake(tmp_path)
    put_model(settings)
    assert any(PATHS[1] in Lake.open(settings).store.read(one.name).decode() for one in cut_clusters(settings))
    add(settings, files=[f"{DATASET}/{PATHS[1]}"], reason="asked", who="ann")
    removed = remove_outdated(Lake.open(settings))[1]
    assert any(one.name.endswith(".wav") for one in removed)
    page = shown(settings, "after")
    assert PATHS[1] not in page.text and "An outro is found in 3 of 3 episodes" in page.text
    entries = b"".join(Lake.open(settings).store.read(f"{PLAYLISTS}/cluster_{k}.m3u8") for k in (1, 2))
    assert PATHS[1].encode() not in entries
