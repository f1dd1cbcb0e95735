"""The three Dags that every pipeline has, made of its tasks; a file in `dags/` asks for those of one pipeline."""

from __future__ import annotations

from airflow.sdk import DAG, chain

from avlake.orchestration import approval, assets, params, tasks
from avlake.pipelines import get_pipeline


def pipeline_dags(name: str, doc: str | None) -> None:
    """Make a pipeline's Dags; Airflow registers them for the Dag file that calls this.

    `<name>` takes one drop, whose date is the run's partition key, into bronze and silver. `<name>_gold` rebuilds gold
    from all silver, where the pipeline can ask for it only after a person has approved, writes its list if it has one,
    and publishes. `<name>_train` waits until both are quiet, trains and reports.

    Args:
        doc: Markdown for Airflow's pages.

    Raises:
        RequestError: for a pipeline that does not exist.
    """
    pipeline = get_pipeline(name)
    same = {"doc_md": doc, **tasks.PIPELINE_DAG}
    with DAG(name, schedule=assets.daily_drops(), params=params.drop_params(name), **same):
        tasks.bronze(name) >> tasks.silver(name)

    woken = assets.fed_by(assets.silver(name))
    with DAG(f"{name}_gold", schedule=woken, params=params.gold_params(name), max_active_runs=1, **same):
        before = [tasks.scores(name)] if pipeline.takes_scores else []
        before += approval.approve(name) if pipeline.approvable else []
        after = [tasks.listing(name)] if pipeline.lists else []
        chain(*before, tasks.curate(name), *after, tasks.publish(name, wakes=True))

    woken = assets.fed_by(assets.warehouse(name))
    with DAG(f"{name}_train", schedule=woken, max_active_runs=1, **same):
        tasks.quiet(name) >> tasks.train(name) >> tasks.report(name) >> tasks.publish(name, wakes=False)
