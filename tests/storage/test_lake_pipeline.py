"""The whole way of the data with landing, lake, models and reports in each store."""

from __future__ import annotations

import tarfile
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
PIPELINE, DROP = "voxforge_gender", "2026-09-01"
# Two kinds of model and one step of elimination: the same way, faster.
FAST = replace(
    gender.LEARNER, candidates=CANDIDATES[:2], selection=Selection(offers=(("voice", gender.VOICE),), step=31)
)


def test_from_landing_to_a_model_once(
    store_root: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gender, "LEARNER", FAST)
    archives = sorted(write_drop(tmp_path, DROP, speakers=10, utterances=2, faults=["truncated"]).iterdir())
    landing = open_store(f"{store_root}/landing")
    for path in archives:
        landing.upload(path, f"voxforge/{DROP}/{path.name}")
    report = run(settings, pipeline=PIPELINE, source=landing.uri)
    done = report.drops[DROP]
    assert (done.files, done.quarantined, done.changed, report.trained) == (20, 1, True, True)
    with warehouse.connect(settings) as con:
        assert con.execute("SELECT count(DISTINCT path) FROM gold.gender_windows").fetchall() == [(20,)]

    store = open_store(settings.uri)
    assert store.exists(f"{artifacts.get_chosen(store, PIPELINE).folder}/model.skops")
    assert report.report_uri and report.report_uri.startswith(f"{settings.uri}/reports/{PIPELINE}/")
    assert b"</html>" in store.read(f"reports/{PIPELINE}/index.html")

    maintain(settings, retention_h=0)
    again = run(settings, pipeline=PIPELINE, source=landing.uri)
    assert not (again.drops[DROP].changed or again.gold.changed or again.trained)
    with tarfile.open(archives[0]) as archive:
        member = next(name for name in archive.getnames() if name.endswith(".wav"))
        archive.extract(member, tmp_path, filter="data")
    (row,) = predict(settings, pipeline=PIPELINE, files=[str(tmp_path / member)], jobs=1)
    assert row.answer["label"] in ("female", "male"), row
