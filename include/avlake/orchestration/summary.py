"""What `make run` ends with: rows of gold, the model's figures, and where everything is."""

from __future__ import annotations

from avlake import warehouse
from avlake.orchestration.client import Airflow
from avlake.orchestration.drops import Work
from avlake.orchestration.server import USER, Server
from avlake.pipelines import get_pipeline
from avlake.settings import Settings

ROWS = """
SELECT subject_id, label, split, count(*) AS windows, count(DISTINCT file_id) AS files
FROM {table} WHERE kept GROUP BY ALL ORDER BY subject_id LIMIT 8
"""
METRICS = """
SELECT model, split, metric, value, ci_low, ci_high, n FROM gold.model_runs
WHERE pipeline = ? AND run_id = (SELECT run_id FROM gold.model_runs WHERE pipeline = ? ORDER BY created_at DESC LIMIT 1)
ORDER BY model, split, metric
"""


def print_summary(
    pipeline: str, settings: Settings, airflow: Airflow, server: Server, work: Work, *, report: str | None
) -> None:
    """Print to stdout what was made and what to try next."""
    table = f"gold.{get_pipeline(pipeline).gold[0]}"
    query = " ".join(ROWS.format(table=table).split())
    print(f"\n{query}\n")
    with warehouse.connect(settings) as con:
        print(con.sql(query))
        print("metrics of the newest model")
        print(con.sql(METRICS, params=[pipeline, pipeline]))
    print(f"report   {report}")
    print(f"Airflow  {airflow.url}  user {USER}, password in {server.password_file}")
    print("\ntry next")
    print('  .venv/bin/avlake sql "SELECT error_class, count(*) FROM ops.extractions GROUP BY ALL"')
    print(f"  .venv/bin/avlake predict {pipeline} FILE.wav")
    print(f"  make run SOURCE=FOLDER DROP={work.drops[-1]}")
