"""The Dags of each pipeline: who wakes whom, what may be asked of a run, and where only one at a time may work."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from airflow.sdk.exceptions import ParamValidationError

from avlake.orchestration.assets import POOL
from avlake.pipelines import PIPELINES


def test_every_pipeline_has_its_three_dags(dags):
    expected = {f"{name}{suffix}" for name in PIPELINES for suffix in ("", "_gold", "_train")}
    assert set(dags) == expected | {"discover_drops", "maintain"}
    # Made in a module of the package, each is still that of its own file, which Airflow shows and parses again.
    for name, dag in dags.items():
        assert Path(dag.fileloc).stem == name.removesuffix("_gold").removesuffix("_train")
        assert dag.doc_md


def test_every_pipeline_is_discovered_and_labels_where_people_label(dags):
    labelled = [f"{name}_labels" for name, pipeline in PIPELINES.items() if pipeline.labels]
    assert labelled and sorted(dags["discover_drops"].task_ids) == sorted([*PIPELINES, *labelled])


def test_airflow_can_store_every_dag_and_read_it_back(dags):
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in dags.values():
        stored = DagSerialization.to_dict(dag)
        assert DagSerialization.from_dict(stored).task_ids == dag.task_ids


@pytest.mark.parametrize("pipeline", PIPELINES)
class TestPipeline:
    def test_a_drop_run_has_its_date_as_partition_key(self, dags, pipeline):
        timetable = dags[pipeline].timetable
        assert type(timetable).__name__ == "CronPartitionTimetable"
        assert timetable.key_format == "%Y-%m-%d"

    def test_the_way_of_the_data(self, dags, pipeline):
        downstream = {task.task_id: task.downstream_task_ids for task in dags[pipeline].tasks}
        assert downstream == {
            "bronze.ingest": {"silver.plan"},
            "silver.plan": {"silver.shards", "silver.commit"},
            "silver.shards": {"silver.measure"},
            "silver.measure": {"silver.commit"},
            "silver.commit": {"silver.budget"},
            "silver.budget": set(),
        }
        before = ["scores", "preview", "approve"] if PIPELINES[pipeline].approvable else []
        after = ["list"] if PIPELINES[pipeline].lists else []
        assert [t.task_id for t in dags[f"{pipeline}_gold"].topological_sort()] == [
            *before,
            "curate",
            *after,
            "publish",
        ]
        assert [t.task_id for t in dags[f"{pipeline}_train"].topological_sort()] == [
            "quiet",
            "train",
            "report",
            "publish",
        ]

    def test_silver_wakes_gold_and_the_warehouse_wakes_training(self, dags, pipeline):
        fed = {
            f"{pipeline}_gold": dags[pipeline].get_task("silver.commit").outlets,
            f"{pipeline}_train": dags[f"{pipeline}_gold"].get_task("publish").outlets,
        }
        for consumer, outlets in fed.items():
            assert [asset.uri for asset in outlets] == [dags[consumer].timetable.asset_condition.uri]
            # Whatever drop the event is about, it means one and the same rebuild of whole tables.
            assert dags[consumer].timetable.default_partition_mapper.to_downstream("2026-01-01") == "all"
            assert dags[consumer].max_active_runs == 1
            assert dags[consumer].is_paused_upon_creation is False

    def test_publishing_what_training_made_does_not_wake_training(self, dags, pipeline):
        assert dags[f"{pipeline}_train"].get_task("publish").outlets == []

    def test_whole_tables_have_one_writer(self, dags, pipeline):
        writers = [
            dags[f"{pipeline}_gold"].get_task("curate"),
            dags[f"{pipeline}_gold"].get_task("publish"),
            dags[f"{pipeline}_train"].get_task("publish"),
        ]
        assert {task.pool for task in writers} == {POOL}

    def test_waiting_takes_no_workers_place(self, dags, pipeline):
        assert dags[f"{pipeline}_train"].get_task("quiet").mode == "reschedule"


def test_every_task_outlives_a_dead_worker_and_none_hangs_for_ever(dags):
    compose = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yaml").read_text())
    environment = compose["x-airflow"]["environment"]
    # Redis offers a message to a second worker when its time is over: every task has to have ended by then.
    offered_again_s = int(environment["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"])
    for dag in dags.values():
        for task in dag.tasks:
            waits = [task.retry_delay * task.retry_exponential_backoff**i for i in range(task.retries)]
            assert sum(waits, timedelta()) >= timedelta(minutes=1), task
            assert task.execution_timeout.total_seconds() < offered_again_s, task


def test_the_form_of_a_drop_run(dags):
    params = dags["voxforge_gender"].params
    assert {"source", "drop", "limit", "files_per_task"} <= set(params)
    schema = params.get_param("files_per_task").schema
    assert (schema["type"], schema["minimum"], schema["title"]) == ("integer", 1, "Files per task")
    assert params.get_param("drop").schema["type"] == ["string", "null"]
    assert params.get_param("drop").schema["format"] == "date"
    assert any(name.startswith("voice_features.") for name in params)


def test_a_drop_run_may_sample_and_unasked_leaves_the_sample_as_it_is(dags):
    params = dags["talking_heads"].params
    assert {"standardised.fit", "video_quality.stride"} <= set(params)
    sampling = params.get_param("sampling")
    assert sampling.value is None and sampling.resolve("per_speaker") == "per_speaker"
    assert params.get_param("sample_clips").resolve(None) is None
    with pytest.raises(ParamValidationError):
        sampling.resolve("some")
    assert "sampling" not in dags["voxforge_gender"].params


@pytest.mark.parametrize(
    ("pipeline", "more"),
    [("voxforge_gender", set()), ("active_speaker", set()), ("talking_heads", {"approval", "scores"})],
)
def test_the_form_of_a_gold_run_is_the_pipelines_thresholds(dags, pipeline, more):
    params = dags[f"{pipeline}_gold"].params
    assert set(params) == set(PIPELINES[pipeline].thresholds.model_fields) | more
    assert not more or (params["approval"], params["scores"]) == (False, None)


def test_the_form_of_faces_has_what_is_kept_and_how_to_train(dags):
    params = dags["active_speaker_gold"].params
    for name, refused in (("min_face_px", -1), ("max_negatives", 0), ("epochs", 0), ("seed", -1), ("pretrain", "some")):
        with pytest.raises(ParamValidationError):
            params.get_param(name).resolve(refused)
    assert params.get_param("max_negatives").resolve(None) is None  # not balanced
    assert params.get_param("max_negatives").resolve(2.5) == 2.5
    training = {name for name in params if params.get_param(name).schema["title"].startswith("Training: ")}
    assert training == PIPELINES["active_speaker"].thresholds.of_training
    assert "face_tracks.jpeg_quality" in dags["active_speaker"].params


def test_approval_asks_for_the_thresholds_and_no_answer_is_a_rejection(dags):
    asked = dags["talking_heads_gold"].get_task("approve")
    assert set(asked.params) == set(PIPELINES["talking_heads"].thresholds.model_fields)
    assert (asked.options, asked.defaults) == (["Approve", "Reject"], ["Reject"])
    # A training waits for gold no longer than this: see the sensor `quiet`.
    assert asked.response_timeout < timedelta(seconds=dags["talking_heads_train"].get_task("quiet").timeout)
