"""discover_drops: every 15 minutes, start a run for each new or changed drop in the landing zone (AVLAKE_LANDING), and
one of a pipeline's gold where people's labels wait for it."""

from airflow.sdk import DAG

from avlake.orchestration import tasks
from avlake.pipelines import PIPELINES

with DAG("discover_drops", schedule="*/15 * * * *", max_active_runs=1, doc_md=__doc__, **tasks.DAG):
    for name, pipeline in PIPELINES.items():
        tasks.discover(name)
        if pipeline.labels:
            tasks.discover_labels(name)
