"""maintain: every week, compact the lake's small files and remove those that nobody has referred to for a week."""

from airflow.sdk import DAG

from avlake.orchestration import tasks

with DAG("maintain", schedule="@weekly", max_active_runs=1, doc_md=__doc__, **tasks.DAG):
    tasks.maintain()
