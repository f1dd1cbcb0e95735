"""A drop through the drop Dag's own tasks, without a scheduler (`dag.test`)."""

import warnings

import pytest

from avlake.datasets.synthetic import write_drop
from avlake.tables import EXTRACTIONS

DROP = "2026-03-01"


def run(dag, **conf):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Airflow's own
        return dag.test(logical_date=None, run_conf=conf)


def states(dag_run) -> dict[str, str]:
    return {ti.task_id: ti.state for ti in dag_run.get_task_instances()}


@pytest.mark.usefixtures("database")
def test_a_drop_reaches_silver_and_a_second_run_changes_nothing(tmp_path, lake, dags, request):
    write_drop(tmp_path / "landing", DROP, speakers=2, utterances=2, faults=["truncated"])
    asked = {"source": str(tmp_path / "landing"), "drop": DROP, "files_per_task": 2}

    first = run(dags["voxforge_gender"], **asked)
    assert first.state == "success"
    measured = [ti for ti in first.get_task_instances() if ti.task_id == "silver.measure"]
    assert {ti.map_index for ti in measured} == {0, 1}
    rows = lake.rows(EXTRACTIONS, "voxforge", DROP).to_pylist()
    assert {row["path"] for row in rows if row["status"] == "quarantined"} == {"synthetic03-20260301-syn.tgz"}
    assert {row["run_id"] for row in rows} == {first.run_id.replace(":", "-").replace("+", "-")}

    version = lake.drop_version(EXTRACTIONS, "voxforge", DROP)
    second = run(request.getfixturevalue("dags")["voxforge_gender"], **asked)
    assert second.state == "success"
    assert states(second)["silver.commit"] == "skipped"
    assert lake.drop_version(EXTRACTIONS, "voxforge", DROP) == version


@pytest.mark.usefixtures("database")
def test_a_drop_that_was_asked_for_and_does_not_exist_fails(tmp_path, lake, dags):
    write_drop(tmp_path / "landing", DROP, speakers=1, utterances=1)
    done = run(dags["voxforge_gender"], source=str(tmp_path / "landing"), drop="2026-03-09")
    assert done.state == "failed"
    assert states(done)["bronze.ingest"] == "failed"
    assert states(done)["silver.commit"] == "upstream_failed"
