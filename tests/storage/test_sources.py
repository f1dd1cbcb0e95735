"""A landing on each store: drops are found and ingested alike."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from avlake.datasets.voxforge import VOXFORGE
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.contents import object_name
from avlake.stages.ingest import archive_failures, ingest
from avlake.storage import open_store
from avlake.tables import BRONZE_FILES

pytestmark = pytest.mark.storage
DROP = "2026-09-01"


@pytest.mark.parametrize("below", ["", "/voxforge", f"/voxforge/{DROP}"])
def test_drops_are_found_from_every_level(landing_uri: str, settings: Settings, below: str) -> None:
    source = VOXFORGE.open_source(landing_uri + below, settings)
    assert source.drops() == [DROP]
    entries = source.entries(DROP)
    assert [e.path for e in entries] == [f"synthetic0{k}-20260901-syn.tgz" for k in (1, 2, 3)]
    assert entries[0].uri == f"{landing_uri}/voxforge/{DROP}/synthetic01-20260901-syn.tgz"
    assert all(e.version and e.size_bytes for e in entries)


def test_a_drop_is_ingested_once_and_what_changed_again(landing_uri: str, settings: Settings, tmp_path: Path) -> None:
    place = {"dataset": "voxforge", "source": landing_uri, "drop": DROP, "run_id": "r"}
    report = ingest(settings, **place)
    assert (report.archives, report.quarantined, report.changed) == (3, 1, True)
    lake = Lake.open(settings)
    rows = lake.rows(BRONZE_FILES, "voxforge", DROP).to_pylist()
    large = [row for row in rows if row["uri"]]
    assert large and all(row["uri"].startswith(f"{lake.store.uri}/objects/") for row in large)
    for row in large:
        with lake.store.local_copy(object_name(row["sha256"])) as path:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
    failures = archive_failures(lake, "voxforge", DROP, settings)
    assert [error.error_class for error in failures.values()] == ["truncated_archive"]
    assert not ingest(settings, **place).changed
    assert not [path for path in (tmp_path / "downloads").glob("*") if path.is_dir()]

    open_store(landing_uri).write(f"voxforge/{DROP}/a.wav", b"RIFF new")
    again = ingest(settings, **place)
    assert (again.files, again.changed) == (report.files + 1, True)
