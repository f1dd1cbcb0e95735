"""The whole way of the data with landing, lake, models and reports in each store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from avlake import warehouse
from avlake.datasets.synthetic import write_drop
from avlake.learn import artifacts, gender
from avlake.learn.candidates import CANDIDATES
from avlake.learn.compare import Selection
from avlake.runner import run
from avlake.settings import Settings
from avlake.stages.maintain import maintain
from avlake.stages.predict import predict
from avlake.storage import open_store

pytestmark = pytest.mark.storage  # other tests take a folder this way
PIPELINE = "voxforge_gender"
# One kind of model and one step of elimination: the same way, faster.
FAST = replace(
    gender.LEARNER, candidates=CANDIDATES[:1], selection=Selection(offers=(("voice", gender.VOICE),), step=31)
)


def test_from_landing_to_the_warehouse_once(landing_uri: str, settings: Settings) -> None:
    report = run(settings, pipeline=PIPELINE, source=landing_uri, train=False)
    done = report.drops["2026-09-01"]
    assert (done.files, done.quarantined, done.changed) == (2, 1, True)
    with warehouse.connect(settings) as con:
        paths = con.execute("SELECT DISTINCT path FROM gold.gender_windows").fetchall()
    assert len(paths) == 2
    maintain(settings)
    again = run(settings, pipeline=PIPELINE, source=landing_uri, train=False)
    assert not again.drops["2026-09-01"].changed and not again.gold.changed


def test_models_and_reports_are_kept_beside_the_tables(
    store_root: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gender, "LEARNER", FAST)
    archives = list(write_drop(tmp_path / "made", "2026-09-01", speakers=6, utterances=2).iterdir())
    landing = open_store(f"{store_root}/landing")
    for path in archives:
        landing.upload(path, f"voxforge/2026-09-01/{path.name}")
    done = run(settings, pipeline=PIPELINE, source=landing.uri)
    store = open_store(settings.uri)
    chosen = artifacts.get_chosen(store, PIPELINE)
    assert store.exists(f"{chosen.folder}/model.skops")
    assert done.report_uri and done.report_uri.startswith(f"{settings.uri}/reports/{PIPELINE}/")
    assert b"</html>" in store.read(f"reports/{PIPELINE}/index.html")
    maintain(settings, retention_h=0)
    (row,) = predict(settings, pipeline=PIPELINE, files=[str(archives[0])], jobs=1)
    assert row.label in ("female", "male"), row
