"""What `make run` ends with: rows of gold, the models' figures or the verdict, and where everything is."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from avlake import warehouse
from avlake.errors import AvlakeError
from avlake.lake import Lake
from avlake.learn.base import VERDICT, learner_of
from avlake.orchestration.drops import Work
from avlake.orchestration.server import USER, Server
from avlake.overview import chosen
from avlake.pipelines import Pipeline, get_pipeline
from avlake.settings import Settings
from avlake.stages import actual
from avlake.stages.curate import GoldSql

if TYPE_CHECKING:
    import duckdb

ROWS = """
SELECT {facts}, split, count(*) AS rows, count(DISTINCT path) AS files
FROM gold.{name} WHERE kept GROUP BY ALL ORDER BY ALL LIMIT 8
"""
DECISIONS = """
SELECT kept, reject_reason, count(*) AS n FROM gold.{name}
GROUP BY ALL ORDER BY kept DESC, n DESC, reject_reason LIMIT 12
"""
FOUND = """
SELECT * EXCLUDE (file_id, dataset, drop_date, split, kept, reject_reason, run_id)
FROM {name} ORDER BY path LIMIT 12
"""
METRICS = """
SELECT model, split, metric, format('{:.3f}', value) AS value,
    format('{:.3f} to {:.3f}', ci_low, ci_high) AS "95 % interval", n
FROM gold.model_runs
WHERE metric LIKE '%balanced_accuracy' AND pipeline = ?
    AND run_id = (SELECT run_id FROM gold.model_runs WHERE pipeline = ? ORDER BY created_at DESC LIMIT 1)
ORDER BY split, metric, model_runs.value DESC
"""


class Watch:
    """What a run through Airflow is expected to take, and what it took, training included in its time."""

    def __init__(self, pipeline: str, settings: Settings, work: Work) -> None:
        self._pipeline, self._settings, self._source = get_pipeline(pipeline), settings, work.source
        self.expected = None
        with contextlib.suppress(AvlakeError):  # the run itself says what is wrong with its source
            drop = work.drops[0] if len(work.drops) == 1 else None
            self.expected = actual.expect(settings, self._pipeline, self._source, drop=drop)
        self._began, self._since = time.perf_counter(), datetime.now(UTC)

    def announced(self) -> str:
        return actual.in_words(self.expected, self._source, self._pipeline.name)

    def compared(self) -> list[str]:
        """The lines that set what it took beside the forecast, which is without Airflow and training."""
        if self.expected is None:
            return [self.announced()]
        rows = actual.run_rows(Lake.open(self._settings))
        own = [r for r in rows if r["started_at"] >= self._since and r["pipeline"] == self._pipeline.name]
        took = actual.measured_in(own) | {"wall_s": time.perf_counter() - self._began}
        return actual.compare(self.expected, took)


def print_summary(
    pipeline: str, settings: Settings, server: Server, work: Work, results: Mapping[str, Any], watch: Watch
) -> None:
    """Print to stdout what was made and what to try next; `results`: what the tasks `train` and `report` returned."""
    lake, made = Lake.open(settings), get_pipeline(pipeline)
    predicts = learner_of(made.learner).predicts
    verdict = f"{chosen(lake, pipeline)['folder']}/{VERDICT}"
    again = f"make run PIPELINE={pipeline} SOURCE={work.source}"
    if lake.store.exists(verdict):
        _decisions(made, settings, json.loads(lake.store.read(verdict))["words"])
    else:
        _models(made, settings)
        again = f"make run SOURCE=FOLDER DROP={work.drops[-1]}"
    print("\n".join(watch.compared()))
    print(f"{'model' if predicts else 'verdict':8} {results['train']['model']}, {results['train']['model_uri']}")
    print(f"report   {results['report']}")
    if made.lists:
        print(f"list     {lake.store.uri_of(f'exports/{pipeline}/{made.lists}')}")
    print(f"Airflow  {server.client().url}  user {USER}, password in {server.password_file}")
    print("\ntry next")
    print('  .venv/bin/avlake sql "SELECT status, error_class, count(*) AS n FROM ops.extractions GROUP BY ALL"')
    if made.labels:
        print(f"  .venv/bin/avlake labels import FILE --by NAME --pipeline {pipeline}")
    if predicts:
        print(f"  .venv/bin/avlake predict {pipeline} FILE")
    else:
        print(
            f"  .venv/bin/avlake run {pipeline} --source {work.source} --set THRESHOLD=VALUE  # decodes nothing again"
        )
    print(f"  {again}")


def _models(pipeline: Pipeline, settings: Settings) -> None:
    gold = GoldSql.load(pipeline.gold[0])
    facts = ", ".join(filter(None, (*gold.groups, gold.label)))
    with warehouse.connect(settings) as con:
        _query(con, ROWS.format(facts=facts, name=gold.name))
        print("balanced accuracy of the models compared; split leaky_random has speakers on both sides: no result")
        con.sql(METRICS, params=[pipeline.name, pipeline.name]).show(max_rows=60, max_width=160)


def _decisions(pipeline: Pipeline, settings: Settings, verdict: Sequence[str]) -> None:
    """What was decided over the clips or parts, what the model found in them, and what it all came to, in words."""
    with warehouse.connect(settings) as con:
        _query(con, DECISIONS.format(name=pipeline.gold[-1]))
        if pipeline.finds and pipeline.finds.name in warehouse.tables(con):
            _query(con, FOUND.format(name=pipeline.finds.name))
    print("\n".join([*verdict, ""]))


def _query(con: duckdb.DuckDBPyConnection, query: str) -> None:
    query = " ".join(query.split())
    print(f"\n{query}\n")
    con.sql(query).show(max_rows=60, max_width=160)
