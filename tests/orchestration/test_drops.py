"""What `make run` works on."""

import functools
import http.server
import threading

import pytest

from avlake.datasets import voxforge
from avlake.datasets.synthetic import write_drop
from avlake.errors import RequestError, UnknownDrop
from avlake.lake import Lake
from avlake.orchestration import drops
from avlake.orchestration.drops import MAX_ARCHIVES, SYNTHETIC_DROP, Work, find_work, remove_stand_in
from avlake.pipelines import get_pipeline
from avlake.runner import run
from avlake.settings import Settings

PIPELINE = get_pipeline("voxforge_gender")
NOBODY_LISTENS = "http://127.0.0.1:9/"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(drops, "home", lambda: tmp_path)
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), landing=None, jobs=1)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """VoxForge's index as a local server: eleven archives of one date, one of a later date."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [*(f"user{i}-20200101-abc.tgz" for i in range(MAX_ARCHIVES + 1)), "user0-20200102-abc.tgz"]:
        (folder / name).write_bytes(b"")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(voxforge, "INDEX_URL", url)
        yield url
        server.shutdown()


def test_every_drop_of_a_folder(tmp_path, settings):
    for drop in ("2026-03-02", "2026-03-01"):
        write_drop(tmp_path / "mine", drop, speakers=1, utterances=1)
    work = find_work(PIPELINE, settings, str(tmp_path / "mine"), None)
    assert work.drops == ("2026-03-01", "2026-03-02")
    assert work.conf == {"source": str(tmp_path / "mine")}
    with pytest.raises(UnknownDrop, match="2026-03-01, 2026-03-02"):
        find_work(PIPELINE, settings, str(tmp_path / "mine"), "1999-01-01")


def test_unasked_it_takes_ten_archives_of_one_date_from_the_index(settings, index):
    work = find_work(PIPELINE, settings, None, None)
    assert work.source == index
    assert work.drops == ("2020-01-01",)
    assert work.conf["max_archives"] == 10


def test_without_a_network_it_synthesises_voices_and_says_so(settings, monkeypatch):
    monkeypatch.setattr(voxforge, "INDEX_URL", NOBODY_LISTENS)
    work = find_work(PIPELINE, settings, None, None)
    assert work.drops == (SYNTHETIC_DROP,)
    assert "SYNTHETIC" in work.note
    assert find_work(PIPELINE, settings, None, None) == work


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (["2026-09-01"], False),
        (["2026-09-01", "2026-09-02", "2026-09-03"], True),
        (["2007-01-01", "2018-01-01"], False),
    ],
)
def test_only_neighbouring_days_make_a_backfill(dates, expected):
    assert Work("anywhere", tuple(dates), {}, "").as_backfill is expected


def test_synthesised_voices_leave_when_real_ones_come(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(voxforge, "INDEX_URL", NOBODY_LISTENS)
    stand_in = find_work(PIPELINE, settings, None, None)
    run(settings, pipeline=PIPELINE.name, source=stand_in.source, train=False)
    lake = Lake.open(settings)
    assert lake.drops() == [("voxforge", SYNTHETIC_DROP)]
    assert not remove_stand_in(PIPELINE, settings, stand_in)

    write_drop(tmp_path / "mine", "2026-03-01", speakers=1, utterances=1)
    real = find_work(PIPELINE, settings, str(tmp_path / "mine"), None)
    assert remove_stand_in(PIPELINE, settings, real)
    assert lake.drops() == []
    assert lake.scan("silver.voice_features").count_rows() == 0
    assert not remove_stand_in(PIPELINE, settings, real)


def test_synthesised_voices_do_not_join_real_drops(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(voxforge, "INDEX_URL", NOBODY_LISTENS)
    write_drop(tmp_path / "mine", "2026-03-01", speakers=1, utterances=1)
    run(settings, pipeline=PIPELINE.name, source=str(tmp_path / "mine"), train=False)
    with pytest.raises(RequestError, match=r"2026-03-01.*make run SOURCE="):
        find_work(PIPELINE, settings, None, None)


def test_where_nothing_can_stand_in_a_source_has_to_be_named(tmp_path, settings):
    heads = get_pipeline("talking_heads")
    with pytest.raises(RequestError, match=r"make run PIPELINE=talking_heads SOURCE=FOLDER.*voxceleb/YYYY-MM-DD"):
        find_work(heads, settings, None, None)
    clip = tmp_path / "mine" / "voxceleb" / "2026-03-01" / "mp4" / "ann" / "v1" / "00001.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"clip")
    assert find_work(heads, settings, str(tmp_path / "mine"), None).drops == ("2026-03-01",)
