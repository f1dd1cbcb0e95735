"""No secret is written where people, logs or other systems read. Run after the faults, whose errors count too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql
from stack import until
from world import PIPELINE, World

from avlake.storage import open_store

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(300)]

DROP = "2026-05-01"
SECRETS = ("PASSWORD", "SECRET", "KEY", "token")  # the ends of the names of what may not be seen


def secrets_of(world: World) -> dict[str, bytes]:
    found = {name: value for name, value in world.stack.values.items() if name.endswith(SECRETS)}
    assert {"AWS_SECRET_ACCESS_KEY", "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "motherduck_token"} <= found.keys()
    assert {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "AIRFLOW_SERVICE_PASSWORD"} <= found.keys()
    return {name: value.encode() for name, value in found.items() if name != "AWS_ACCESS_KEY_ID"}


def seen(secrets: dict[str, bytes], where: str, data: bytes) -> list[str]:
    return [f"{name} in {where}" for name, value in secrets.items() if value in data]


def rows(world: World, database: str) -> Iterator[tuple[str, bytes]]:
    """Every row of every table as text, binary columns as they are."""
    password, port = world.stack.values["POSTGRES_PASSWORD"], world.stack.ports["postgres"]
    with psycopg.connect(host="127.0.0.1", port=port, dbname=database, user="airflow", password=password) as con:
        tables = con.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            for row in con.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))):
                yield table, b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in row)


def test_discovery_starts_a_run_as_a_user_who_may_do_little_else(world: World) -> None:
    world.deliver(DROP, speakers=1, utterances=1)
    since = datetime.now(UTC)
    world.airflow.pause("discover_drops", False)
    world.airflow.trigger("discover_drops", key=None)

    def drop_run() -> bool:
        runs = world.airflow.runs(PIPELINE, since)
        assert all(run["partition_key"] == DROP for run in runs), "bronze holds the other drops"
        return any(
            run["dag_run_id"].startswith(f"discovered__{DROP}__0-") and run["state"] == "success" for run in runs
        )

    until(drop_run, "the new drop's run is over")
    world.airflow.pause("discover_drops", True)


def test_no_secret_is_in_logs_tables_objects_or_command_lines(world: World) -> None:
    secrets, found, looked_at = secrets_of(world), [], set()
    for file in (world.folder / "logs").rglob("*"):
        if file.is_file():
            found += seen(secrets, str(file.relative_to(world.folder)), file.read_bytes())
            looked_at.add(file.suffix)
    for database in ("airflow", "celery"):
        for table, row in rows(world, database):
            found += seen(secrets, f"{database}.{table}", row)
            looked_at.add(table)
    for uri in (world.stack.values["AVLAKE_URI"], world.stack.values["AVLAKE_LANDING"]):
        store = open_store(uri)
        for name in store.list():
            found += seen(secrets, f"{uri}/{name}", store.read(name))
            looked_at.add(name.split("/")[0])
    for name in world.stack.processes:
        for process in world.stack.tree(name):
            found += seen(secrets, f"the command line of {name}", "\0".join(process.cmdline()).encode())
    assert found == []
    # It did look: at task logs, components' logs, what tasks hand on, what was rendered, and the lake.
    expected = {".log", ".out", "xcom", "rendered_task_instance_fields", "log", "task_instance", "celery_taskmeta"}
    assert expected | {"bronze", "silver", "gold", "ops", "models", "_work", "_probe", "params"} <= looked_at


def test_the_search_would_find_one(world: World) -> None:
    """A table and a log that do hold a secret are noticed: what is searched is what was written."""
    secrets = secrets_of(world)
    name, value = next(iter(secrets.items()))
    password, port = world.stack.values["POSTGRES_PASSWORD"], world.stack.ports["postgres"]
    with psycopg.connect(host="127.0.0.1", port=port, dbname="airflow", user="airflow", password=password) as con:
        con.execute("CREATE TABLE held AS SELECT %s::bytea AS one, %s AS other", [value, value.decode()])
    hits = [hit for table, row in rows(world, "airflow") for hit in seen(secrets, table, row)]
    assert hits == [f"{name} in held"]
