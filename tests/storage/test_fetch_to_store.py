"""Published files reach a landing on each store, and nobody sees the drop before all of them are there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from avlake.datasets.ava import AVA
from avlake.settings import Settings, load_settings
from avlake.stages.fetch import FetchReport, fetch
from avlake.stages.fetch_files import Wishes
from avlake.storage import open_store
from publisher import Publisher, publishing

DROP = "2026-09-01"


@pytest.fixture
def site() -> Iterator[Publisher]:
    with publishing() as it:
        yield it


def fetched(site: Publisher, settings: Settings, to: str) -> FetchReport:
    made = settings.model_copy(
        update={
            "ava_annotations": f"{site.address}/annotations/ava_{{split}}.tar.bz2",
            "ava_video_list": f"{site.address}/annotations/names.txt",
            "ava_videos": f"{site.address}/trainval/",
        }
    )
    return fetch(made, dataset="ava", to=to, drop=DROP, wishes=Wishes(backoff_s=0.001))


def seen(landing: str) -> list[str]:
    source = AVA.open_source(landing, load_settings())
    return [entry.path for drop in source.drops() for entry in source.entries(drop)]


def test_a_drop_comes_whole(site: Publisher, settings: Settings, store_root: str, tmp_path: Path) -> None:
    landing = f"{store_root}/landing"
    if "://" not in landing:
        Path(landing).mkdir(parents=True)
    site.rules["/trainval/ccc.webm"] = lambda request, _: request.status(503)
    half = fetched(site, settings, landing)
    assert not half.delivered and seen(landing) == []
    del site.rules["/trainval/ccc.webm"]
    whole = fetched(site, settings, landing)
    assert whole.delivered and whole.ok
    assert seen(landing) == [one.path for one in whole.files] and len(whole.files) == 5
    assert len(site.gets("/trainval/aaa.mkv")) == 1
    store = open_store(landing)
    for one in whole.files:
        assert hashlib.sha256(store.read(f"ava/{DROP}/{one.path}")).hexdigest() == one.sha256
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert {one.state for one in fetched(site, settings, landing).files} == {"there"}
