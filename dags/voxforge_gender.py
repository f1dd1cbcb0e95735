"""VoxForge speech, from dated drops to a model of the speaker's gender.

`voxforge_gender` takes one drop, whose date is the run's partition key, into bronze and silver. `voxforge_gender_gold`
rebuilds gold from all silver and publishes it; `voxforge_gender_train` waits until both are quiet, trains and reports.
"""

from airflow.sdk import DAG

from avlake.orchestration import assets, params, tasks

NAME = "voxforge_gender"

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
    tasks.curate(NAME) >> tasks.publish(NAME, wakes=True)

with DAG(
    f"{NAME}_train",
    schedule=assets.fed_by(assets.warehouse(NAME)),
    max_active_runs=1,
    doc_md=__doc__,
    **tasks.PIPELINE_DAG,
):
    tasks.quiet(NAME) >> tasks.train(NAME) >> tasks.report(NAME) >> tasks.publish(NAME, wakes=False)
