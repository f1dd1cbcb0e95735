"""Exports of a lake in a store, and into a store."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages.export import export
from avlake.storage import open_store

pytestmark = pytest.mark.storage


def test_an_export_into_a_store_is_that_into_a_folder(
    settings: Settings, landing_uri: str, store_uri: str, tmp_path: Path
) -> None:
    run(settings, pipeline="voxforge_gender", source=landing_uri, train=False)
    assert any(name.startswith("objects/") for name in Lake.open(settings).store.list())
    here, there = tmp_path / "here", f"{store_uri}-exports/there"
    store = open_store(there)
    open_store(f"{store_uri}-exports").write("beside", b"a folder has to be there")
    export(settings, table="gold.gender_windows", to=str(here), form="webdataset")
    export(settings, table="gold.gender_windows", to=there, form="webdataset")
    store.write("stale", b"from an older export")
    report = export(settings, table="gold.gender_windows", to=there, form="webdataset")
    names = sorted(path.name for path in here.iterdir())
    assert store.list() == names and report.rows
    assert all(store.read(name) == (here / name).read_bytes() for name in names if name.endswith(".tar"))
    assert json.loads(store.read("export.json"))["rows"] == report.rows
    with pytest.raises(RequestError, match=r"no hf export"):
        export(settings, table="gold.gender_windows", to=there, form="hf")
    export(settings, table="silver.media", to=f"{there}.parquet", form="parquet")
    with open_store(f"{store_uri}-exports").open("there.parquet") as file:
        assert pq.read_table(file).num_rows == 2
