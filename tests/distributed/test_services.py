"""The commands and health checks of docker-compose.yaml, each beside the service that it belongs to."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from stack import AIRFLOW, COMPOSE, ROOT, Stack, missing, until

pytestmark = pytest.mark.distributed
WORKER = "airflow-worker-1"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if why := missing():
        pytest.skip(why)
    stack = Stack(tmp_path_factory.mktemp("services"))
    try:
        stack.start_all()
        yield stack
    finally:
        stack.close()


def check(stack: Stack, name: str) -> bool:
    """A service's health check, with its environment, here; only ports change."""
    service = COMPOSE["services"][name]
    kind, *test = service["healthcheck"]["test"]
    command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
    for theirs, ours in (("8080", "airflow"), ("8974", "health")):
        command = [part.replace(f"127.0.0.1:{theirs}/", f"{stack.address(ours)[7:]}/") for part in command]
    # In a container Celery's own name for a worker is right; here two workers share a host.
    redis = f"redis-cli -p {stack.ports['redis']}"
    named = {"celery@$$HOSTNAME": f"{WORKER}@{socket.gethostname()}", "redis-cli": redis}
    for theirs, ours in named.items():
        command = [part.replace(theirs, ours) for part in command]
    environment = stack.environment(service) | {"PGPORT": str(stack.ports["postgres"])}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize("name", ["postgres", "redis", *AIRFLOW, "airflow-worker"])
def test_a_health_check_tells_a_living_service_from_a_dead_one(stack: Stack, name: str) -> None:
    until(lambda: check(stack, name), f"{name} is healthy")
    if name == "airflow-worker":
        process = stack.processes[WORKER]
        stack.stop(WORKER)
        assert process.returncode == 0  # a warm shutdown
        assert not check(stack, name)
    elif name not in ("postgres", "redis"):  # the rest could not do without these
        stack.kill(name)
        until(lambda: not check(stack, name), f"{name} is known to be dead", 60)
        stack.start(name, wait=False)
        until(lambda: check(stack, name), f"{name} is healthy again")


def test_redis_asks_for_the_password(stack: Stack) -> None:
    ping = ["redis-cli", "-p", str(stack.ports["redis"]), "ping"]
    environment = {name: value for name, value in os.environ.items() if name != "REDISCLI_AUTH"}
    said = subprocess.run(ping, env=environment, capture_output=True, text=True)
    assert "NOAUTH" in said.stdout + said.stderr


def test_workers_results_have_a_user_who_cannot_see_airflows_tables(stack: Stack) -> None:
    def connect(database: str) -> None:
        address: dict[str, Any] = {"host": "127.0.0.1", "port": stack.ports["postgres"], "dbname": database}
        psycopg2.connect(user="celery", password=stack.values["CELERY_DB_PASSWORD"], **address).close()

    connect("celery")
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        connect("airflow")


def test_init_may_run_again_and_sets_the_passwords_of_the_environment(stack: Stack, tmp_path: Path) -> None:
    service = COMPOSE["services"]["airflow-init"]
    changed = {"AIRFLOW_SERVICE_PASSWORD": "another-one"}
    done = subprocess.run(
        service["command"], env=stack.environment(service) | changed, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "user avlake, role User" in done.stdout
    assert not any(value in done.stdout + done.stderr for name, value in stack.values.items() if "PASSWORD" in name)
    with httpx.Client(base_url=stack.airflow_url) as http:
        old, new = stack.values["AIRFLOW_SERVICE_PASSWORD"], changed["AIRFLOW_SERVICE_PASSWORD"]
        answers = [http.post("/auth/token", json={"username": "avlake", "password": word}) for word in (old, new)]
        assert [answer.status_code for answer in answers] == [401, 201]
        token = {"Authorization": f"Bearer {answers[1].json()['access_token']}"}
        run = {"logical_date": None, "conf": {}}
        started = http.post("/api/v2/dags/maintain/dagRuns", json=run, headers=token)
        assert started.status_code == 200, started.text
        connection = {"connection_id": "x", "conn_type": "http"}
        assert http.post("/api/v2/connections", json=connection, headers=token).status_code == 403
