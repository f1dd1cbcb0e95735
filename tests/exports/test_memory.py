"""An export of any size takes the same memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shelf import DROP, settings_of, write_wav

from avlake.settings import MIB, Settings
from avlake.stages.commit import commit
from avlake.stages.extract import measure_shard, plan
from avlake.stages.ingest import ingest
from avlake.stages.publish import publish

FILES, FILE_BYTES, LARGE_BYTES = 300, 700_000, 100 * MIB
CODE = """
import sys
from avlake.settings import Settings
from avlake.stages.export import export
uri, warehouse, to, form, where = sys.argv[1:]
export(Settings(uri=uri, warehouse=warehouse), table="bronze.files", to=to, form=form, where=where)
hwm = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss starts as the parent's
print(int(hwm.split()[1]) // 1024)
"""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """210 MB in 300 small files, rows of bronze.contents; and one object of 100 MiB."""
    folder = tmp_path_factory.mktemp("big")
    landing = folder / "landing" / "voxforge" / DROP
    landing.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(FILES):
        (landing / f"{i:04d}.wav").write_bytes(rng.bytes(FILE_BYTES))
    write_wav(landing / "0.wav", rng.integers(-9000, 9000, (16_000, 1)), 16_000)  # what is measured makes the drop
    (landing / "large.wav").write_bytes(rng.bytes(LARGE_BYTES))
    settings = settings_of(folder).model_copy(update={"inline_max_bytes": MIB})
    ingest(settings, dataset="voxforge", source=str(folder / "landing"), drop=DROP, run_id="made")
    made = plan(settings, pipeline="voxforge_gender", drop=DROP, run_id="made", limit=1)
    measure_shard(settings, plan=made.plan, shard=0, run_id="made")
    commit(settings, plan=made.plan, run_id="made")
    publish(settings, run_id="made")
    return settings


@pytest.mark.parametrize("form", ["hf", "webdataset"])
def test_memory_does_not_grow_with_the_export(big: Settings, tmp_path: Path, form: str) -> None:
    def peak_mb(name: str, where: str) -> int:
        command = [sys.executable, "-c", CODE, big.uri, big.warehouse, str(tmp_path / name), form, where]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    few = peak_mb("few", "path < '0030.wav'")
    many = peak_mb("many", "path < 'l'")
    all_of_them = peak_mb("all", "true")
    print(f"{form}: {few} MB for 21 MB, {many} MB for 210 MB, {all_of_them} MB with one file of 105 MB more")
    assert sum(p.stat().st_size for p in (tmp_path / "many").rglob("*") if p.is_file()) > FILES * FILE_BYTES
    assert many < few + 60
    # A Parquet cell is written from memory, in some copies; a tar member is passed on in pieces.
    assert all_of_them < many + (5 * LARGE_BYTES // MIB if form == "hf" else 60)
