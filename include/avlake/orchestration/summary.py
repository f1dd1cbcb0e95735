"""What `make run` ends with: rows of gold, the model's figures, and where everything is."""

from __future__ import annotations

from avlake import warehouse
from avlake.orchestration.client import Airflow
from avlake.orchestration.drops import Work
from avlake.orchestration.server import USER, Server
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages.curate import GoldSql

ROWS = """
SELECT {facts}, split, count(*) AS rows, count(DISTINCT path) AS files
FROM gold.{name} WHERE kept GROUP BY ALL ORDER BY ALL LIMIT 8
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
    gold = GoldSql.load(get_pipeline(pipeline).gold[0])
    facts = ", ".join(filter(None, (gold.group, gold.label)))
    query = " ".join(ROWS.format(facts=facts, name=gold.name).split())
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
