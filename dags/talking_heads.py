"""Clips of talking heads, from dated drops to those that are good enough to learn from; does choosing them help?

`talking_heads` takes one drop, whose date is the run's partition key, into bronze and silver. `talking_heads_gold`
decides over all silver, where asked only after a person has approved, and publishes; `talking_heads_train` waits until
both are quiet, compares models trained on all clips with models trained on those kept, and reports.
"""

from airflow.sdk import DAG

from avlake.orchestration import approval, assets, params, tasks

NAME = "talking_heads"

with DAG(NAME, schedule=assets.daily_drops(), params=params.drop_params(NAME), doc_md=__doc__, **tasks.PIPELINE_DAG):
    tasks.bronze(NAME) >> tasks.silver(NAME)

with DAG(
    f"{NAME}_gold",
    schedule=assets.fed_by(assets.silver(NAME)),
    params=params.gold_params(NAME),
    max_active_runs=1,
    doc_md=__doc__,
    **tasks.PIPELINE_DAG,
):
    preview, approve = approval.approve(NAME)
    tasks.scores(NAME) >> preview >> approve >> tasks.curate(NAME) >> tasks.publish(NAME, wakes=True)

with DAG(
    f"{NAME}_train",
    schedule=assets.fed_by(assets.warehouse(NAME)),
    max_active_runs=1,
    doc_md=__doc__,
    **tasks.PIPELINE_DAG,
):
    tasks.quiet(NAME) >> tasks.train(NAME) >> tasks.report(NAME) >> tasks.publish(NAME, wakes=False)
