"""The whole way of the data with landing and lake in object storage; and the fence, on real conditional puts."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from avlake import warehouse
from avlake.errors import StaleRun
from avlake.lake import Lake
from avlake.runner import run
from avlake.settings import Settings
from avlake.tables import LABELS

pytestmark = pytest.mark.storage
PIPELINE, PLACE = "voxforge_gender", ("voxforge", "2026-09-01")


def test_from_landing_to_the_warehouse_once(landing_uri: str, settings: Settings) -> None:
    report = run(settings, pipeline=PIPELINE, source=landing_uri, train=False)
    done = report.drops["2026-09-01"]
    assert (done.files, done.quarantined, done.changed) == (2, 1, True)
    with warehouse.connect(settings) as con:
        paths = con.execute("SELECT DISTINCT path FROM gold.gender_windows").fetchall()
    assert len(paths) == 2
    again = run(settings, pipeline=PIPELINE, source=landing_uri, train=False)
    assert not again.drops["2026-09-01"].changed and not again.gold.changed


def test_of_racing_commits_exactly_one_wins(landing_uri: str, settings: Settings) -> None:
    def rows(value: str) -> pa.Table:
        row = {"file_id": "f", "dataset": PLACE[0], "drop_date": PLACE[1], "name": "gender", "value": value}
        return pa.Table.from_pylist([row], schema=LABELS.schema)

    lakes = [Lake.open(settings) for _ in range(4)]
    fragments = [[lake.write_fragment(LABELS, *PLACE, [rows(str(i))])] for i, lake in enumerate(lakes)]
    gate, outcomes = threading.Barrier(4), {}

    def commit(i: int) -> None:
        gate.wait()
        try:
            outcomes[i] = lakes[i].commit_drop(LABELS, *PLACE, fragments[i], expected_version=0)
        except StaleRun:
            outcomes[i] = False

    threads = [threading.Thread(target=commit, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [i for i, won in outcomes.items() if won]
    assert Lake.open(settings).rows(LABELS, *PLACE)["value"].to_pylist() == [str(winner)]
