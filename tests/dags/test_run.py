"""A drop through the drop Dag's own tasks, without a scheduler (`dag.test`)."""

import warnings

import pytest

from avlake.datasets.synthetic import write_drop
from avlake.tables import EXTRACTIONS
from clips import make_clip, moving_bar

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


@pytest.mark.usefixtures("database", "lake")
def test_what_annotations_come_to_stands_in_the_log_of_the_task_that_plans(tmp_path, dags, capfd):
    folder = tmp_path / "landing/ava" / DROP
    folder.mkdir(parents=True)
    (folder / "film.mp4").write_bytes(make_clip(moving_bar(), seconds=0.2))
    rows = ["film,0.0,0.1,0.1,0.9,0.9,NOT_SPEAKING,a", "gone,0.0,0.1,0.1,0.9,0.9,NOT_SPEAKING,a", "film,0.0"]
    (folder / "ava.csv").write_text("\n".join(rows))
    assert run(dags["active_speaker"], source=str(folder.parents[1]), drop=DROP).state == "success"
    said = "annotations: 1 box of 1 video; 1 box of 1 video that is not there; 1 malformed row"
    lines = "".join(capfd.readouterr()).splitlines()
    assert any(line.endswith(said) for line in lines)  # alone, not within what the task returned
