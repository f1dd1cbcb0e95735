"""What `discover_drops` compares: a drop as it lies in the landing zone, and as bronze holds it."""

import shutil
from pathlib import Path

from avlake.datasets.synthetic import write_drop
from avlake.lake import Lake
from avlake.orchestration.discover import bronze_fingerprints, fingerprint
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages.ingest import ingest

DROPS = ("2026-03-01", "2026-03-02")
VOXFORGE = get_pipeline("voxforge_gender").dataset


def delivered(landing: Path, drop: str, settings: Settings) -> str:
    entries = VOXFORGE.open_source(str(landing), settings).entries(drop)
    return fingerprint((entry.path, entry.version) for entry in entries)


def test_bronze_is_behind_until_a_delivery_is_ingested_and_again_when_it_comes_back(tmp_path):
    settings = Settings(uri=str(tmp_path / "lake"), jobs=1)
    landing, lake = tmp_path / "landing", Lake.open(settings)
    first, second = (write_drop(tmp_path / f"{n}", DROPS[0], speakers=2, utterances=1, seed=n) for n in (1, 2))
    write_drop(landing, DROPS[1], speakers=1, utterances=1, faults=["truncated"])
    (landing / "voxforge" / DROPS[1] / "notes.txt").write_text("a file beside the archives")
    assert bronze_fingerprints(lake, "voxforge") == {}

    def ingest_all() -> None:
        for drop in DROPS:
            ingest(settings, dataset="voxforge", source=str(landing), drop=drop, run_id="test")

    for delivery in (first, second, first):
        target = landing / "voxforge" / DROPS[0]
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(delivery, target)
        assert bronze_fingerprints(lake, "voxforge").get(DROPS[0]) != delivered(landing, DROPS[0], settings)
        ingest_all()
        assert bronze_fingerprints(lake, "voxforge") == {drop: delivered(landing, drop, settings) for drop in DROPS}
    assert bronze_fingerprints(lake, "another") == {}
