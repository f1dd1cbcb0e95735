"""Gold says of each row where it came from and on what terms, and does not depend on where that was mounted."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from avlake import warehouse
from avlake.datasets import synthetic
from avlake.learn.frame import content_hash
from avlake.runner import run
from avlake.settings import Settings

PIPELINE, DROP = "voxforge_gender", "2026-09-01"
ARCHIVES = {"synthetic01-20260901-syn.tgz", "synthetic02-20260901-syn.tgz"}


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    synthetic.write_drop(folder, DROP, speakers=2, utterances=1)
    loose = folder / "voxforge" / DROP / "etc" / "README"  # a delivered file that is no archive
    loose.parent.mkdir()
    loose.write_text("User Name:nobody\n")
    return folder


@pytest.fixture
def index(landing: Path) -> Iterator[str]:
    """The drop's archives behind an HTTP index."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    folder = landing / "voxforge" / DROP
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def gold(folder: Path, source: str) -> tuple[set[tuple[str, str, str]], str]:
    """(path, source, licence) of the gold made from a source, and the hash of what is learned from."""
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=2)
    run(settings, pipeline=PIPELINE, source=source, train=False)
    rows = warehouse.select(settings, "SELECT path, source, licence FROM gold.gender_windows")[1]
    with warehouse.connect(settings) as con:
        return {(str(path), str(source), str(licence)) for path, source, licence in rows}, content_hash(
            con, "gold.gender_windows"
        )


def test_a_member_of_a_folders_archive_comes_from_that_archive(landing: Path, tmp_path: Path) -> None:
    rows, _ = gold(tmp_path, str(landing))
    for path, source, licence in rows:
        assert source == f"voxforge/{DROP}/{path.split('/')[0]}"
        assert licence == "GPL-3.0-or-later"
    assert {source.rpartition("/")[2] for _, source, _ in rows} == ARCHIVES


def test_where_the_landing_zone_is_mounted_changes_nothing(landing: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(landing, tmp_path / "elsewhere" / "landing")
    assert gold(tmp_path / "a", str(landing)) == gold(tmp_path / "b", str(moved))


def test_an_http_source_is_its_address_and_no_reason_to_train_again(landing: Path, index: str, tmp_path: Path) -> None:
    from_folder, hash_of_folder = gold(tmp_path / "folder", str(landing))
    from_index, hash_of_index = gold(tmp_path / "index", index)
    assert {(path, source) for path, source, _ in from_index} == {
        (path, f"{index}{path.split('/')[0]}") for path, _, _ in from_folder
    }
    assert hash_of_index == hash_of_folder
