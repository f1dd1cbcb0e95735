"""`make run` and `make stop`: a local Airflow takes drops all the way to a model, and the terminal shows how."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from avlake.errors import AvlakeError, RequestError, WorkError
from avlake.orchestration.assets import POOL, WHOLE
from avlake.orchestration.client import Airflow
from avlake.orchestration.drops import Work, find_work, remove_stand_in
from avlake.orchestration.follow import Follower
from avlake.orchestration.server import Server
from avlake.orchestration.summary import Watch, print_summary
from avlake.pipelines import PIPELINES, get_pipeline
from avlake.settings import home, load_settings

PARSE_TIMEOUT_S = 120
CONCURRENT_DROPS = 2
LOG_TAIL = 8  # lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 the work failed, 2 the request was wrong."""
    asked = _parser().parse_args(arguments)
    try:
        return stop() if asked.command == "stop" else run(asked.pipeline, asked.source, asked.drop)
    except RequestError as error:
        _say(f"error: {error}")
        return 2
    except AvlakeError as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("\nAirflow works on; `make run` with the same SOURCE and DROP follows it again, `make stop` ends it")
        return 1


def run(pipeline: str, source: str | None, drop: str | None, *, folder: Path | None = None) -> int:
    """Take the drops through Airflow to a model and a report.

    Raises:
        RequestError: for a source or a drop that does not exist, or a model file that is missing.
        WorkError: when Airflow cannot be started or does not answer.
    """
    settings = load_settings()
    work = find_work(get_pipeline(pipeline), settings, source, drop)
    get_pipeline(pipeline).check_models(settings)
    _say(f"source   {work.note}")
    _say(f"drops    {', '.join(work.drops)}")
    if remove_stand_in(get_pipeline(pipeline), settings, work):
        _say("removed  the synthesised voices of an earlier run, so that no model learns from both")
    server = Server(folder)
    airflow = server.start({}, _say)
    _say(f"Airflow  {airflow.url}  user admin, password in {server.password_file}")
    prepare(airflow, pipeline, server.log)

    since = datetime.now(UTC)
    watch = Watch(pipeline, settings, work)
    _say(watch.announced())
    submit(airflow, pipeline, work)
    follower = Follower(airflow, pipeline, since, frozenset(work.drops))
    follower.drops()
    if _failed(follower, server):
        return 1
    counts = follower.counts("silver.plan")
    if not counts["to_measure"]:
        _say(f"nothing to extract: all {counts['unchanged'] + counts['reused']} files are already measured")
    # Asset events start these Dags. Where no event came, an earlier run may have been cut short after silver or gold
    # was committed, so they are started by hand; each knows from the lake whether there is anything to do.
    for dag in ("_gold", "_train"):
        if not follower.downstream(dag):
            airflow.trigger(f"{pipeline}{dag}", key=WHOLE)
            follower.downstream(dag)
        if dag == "_gold" and follower.rejected():
            _say("rejected: gold stays as it was, and nothing is trained")
            return 0
    if _failed(follower, server):
        return 1
    results = {task_id: follower.result("_train", task_id) for task_id in ("train", "report")}
    print_summary(pipeline, settings, server, work, results, watch)
    return 0


def stop() -> int:
    """End what `make run` started, and nothing else."""
    _say("Airflow is stopped" if Server().stop() else "nothing is running")
    return 0


def prepare(airflow: Airflow, pipeline: str, log: Path) -> None:
    """Wait until Airflow knows the Dags, and let them run."""
    airflow.ensure_pool(POOL, 1, "one at a time: whatever publishes or rebuilds whole tables")
    deadline = time.monotonic() + PARSE_TIMEOUT_S
    for dag_id in (pipeline, f"{pipeline}_gold", f"{pipeline}_train"):
        while not airflow.has_dag(dag_id):
            if time.monotonic() > deadline:
                errors = "\n  ".join(airflow.import_errors()) or "no import errors"
                raise WorkError(f"Airflow does not know the Dag {dag_id}; its log is {log}:\n  {errors}")
            time.sleep(0.5)
        airflow.pause(dag_id, False)


def submit(airflow: Airflow, pipeline: str, work: Work) -> None:
    if work.as_backfill:
        first, last = work.drops[0], work.drops[-1]
        number = airflow.backfill(pipeline, first=first, last=last, conf=work.conf, max_active_runs=CONCURRENT_DROPS)
        _say(f"backfill {number} of {pipeline}, {first} to {last}: {airflow.url}/dags/{pipeline}/backfills")
        return
    for drop in work.drops:
        started = airflow.trigger(pipeline, key=drop, conf=work.conf)
        _say(f"run      {airflow.url}/dags/{pipeline}/runs/{started}")


def _failed(follower: Follower, server: Server) -> bool:
    """Say which task failed, why, and where its whole log is."""
    if not (found := follower.failure()):
        return False
    task, log = found
    where = f"{task['dag_id']}.{task['task_id']}" + (f"[{task['map_index']}]" if task["map_index"] >= 0 else "")
    _say(f"FAILED: {where} of the run {task['dag_run_id']}, attempt {task['try_number']}")
    shown = [line for line in log if line.strip() and not line.startswith("::")]  # :: folds lines in Airflow's own page
    for line in shown[-LOG_TAIL:]:
        _say(f"    {line}")
    folder = server.folder / "logs" / f"dag_id={task['dag_id']}" / f"run_id={task['dag_run_id']}"
    _say(f"the whole log: {folder / ('task_id=' + task['task_id'])}")
    _say("mend the cause and give the same command again: what is done is not done twice")
    return True


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m avlake.orchestration.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    started = commands.add_parser("run", help="take drops to a model, through a local Airflow")
    started.add_argument("--pipeline", default="voxforge_gender", choices=sorted(PIPELINES))
    started.add_argument("--source", type=lambda text: text or None, help="folder, URI or http index with dated drops")
    started.add_argument("--drop", type=lambda text: text or None, metavar="YYYY-MM-DD", help="one drop; default: all")
    commands.add_parser("stop", help=f"end the Airflow of {home()}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
