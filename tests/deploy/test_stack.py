"""The commands, settings and health checks of docker-compose.yaml, run without Docker.

Each service is a process here, with the environment that compose gives it; only addresses and folders are replaced.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compose
import httpx
import pytest

from avlake.orchestration.client import Airflow

pytestmark = pytest.mark.distributed
AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-worker")
START_S = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(until: Callable[[], Any], what: str, seconds: float = START_S) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < deadline, what
        time.sleep(1)
    return found


class Stack:
    """The services of docker-compose.yaml as processes of this machine."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self.variables = folder, variables
        self.services = compose.services(variables)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.postgres, self.redis, self.api, self.health, self.s3 = (free_port() for _ in range(5))
        self.replaced = {
            "@postgres/": f"@127.0.0.1:{self.postgres}/",
            "redis:6379": f"127.0.0.1:{self.redis}",
            "airflow-api-server:8080": f"127.0.0.1:{self.api}",
            "127.0.0.1:8080": f"127.0.0.1:{self.api}",
            "127.0.0.1:8974": f"127.0.0.1:{self.health}",
            "minio:9000": f"127.0.0.1:{self.s3}",
            "/tmp/redis.conf": str(folder / "redis.conf"),
            "dir /data\\n": f"dir {folder}\\nbind 127.0.0.1\\nport {self.redis}\\n",
            "/data/": f"{folder}/",
        }
        for name in ("logs", "warehouse", "scratch", "models"):
            (folder / name).mkdir()

    def here(self, text: str) -> str:
        for theirs, ours in self.replaced.items():
            text = text.replace(theirs, ours)
        return text

    def environment(self, name: str) -> dict[str, str]:
        given = {k: v for k, v in self.services[name].get("environment", {}).items()}
        passed_on = {k: self.variables[k] for k, v in given.items() if v is None and k in self.variables}
        given = {k: v for k, v in given.items() if v is not None} | passed_on
        home = self.folder / "homes" / name
        home.mkdir(parents=True, exist_ok=True)
        system = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home)}
        image = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(compose.ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(compose.ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "OMP_NUM_THREADS": "1",
            "HOSTNAME": socket.gethostname(),
        }
        ports = {
            "AIRFLOW__API__PORT": str(self.api),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.health),
        }
        return system | image | {k: self.here(str(v)) for k, v in given.items()} | ports

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """A service that does its work and ends."""
        command = [self.here(part) for part in self.services[name]["command"]]
        return subprocess.run(
            command, env=self.environment(name), cwd=compose.ROOT, capture_output=True, text=True, timeout=300
        )

    def start(self, name: str) -> None:
        command = [self.here(part) for part in self.services[name]["command"]]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment(name), cwd=compose.ROOT, stdout=log, stderr=log, start_new_session=True
            )

    def is_healthy(self, name: str) -> bool:
        """What Docker would do: run the health check beside the service, in its environment."""
        kind, *test = self.services[name]["healthcheck"]["test"]
        command = ["sh", "-c", self.here(test[0])] if kind == "CMD-SHELL" else [self.here(part) for part in test]
        done = subprocess.run(command, env=self.environment(name), cwd=compose.ROOT, capture_output=True)
        return done.returncode == 0

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def client(self, user: str) -> Airflow:
        password = {"admin": "AIRFLOW_ADMIN_PASSWORD", "avlake": "AIRFLOW_SERVICE_PASSWORD"}[user]
        return Airflow(f"http://127.0.0.1:{self.api}", user, self.variables[password])


def binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if not shutil.which("initdb") else []
    if not found and not shutil.which("initdb"):
        pytest.skip("no Postgres here (Debian: apt install postgresql)")
    if not shutil.which("redis-server"):
        pytest.skip("no Redis here (Debian: apt install redis-server)")
    return found[-1] if found else Path(str(shutil.which("initdb"))).parent


def as_nobody_else(command: list[str]) -> list[str]:
    """Postgres does not run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Iterator[Stack]:
    where = binaries()
    folder = tmp_path_factory.mktemp("stack")
    stack = Stack(folder, variables)
    try:
        start_postgres(stack, where)
        stack.start("redis")
        with (folder / "s3.log").open("ab") as log:
            server = [sys.executable, "-m", "moto.server", "-p", str(stack.s3)]
            stack.processes["s3"] = subprocess.Popen(server, stdout=log, stderr=log, start_new_session=True)
        wait(lambda: answers(stack.s3), "moto's S3")
        yield stack
    finally:
        for name in [n for n in stack.processes if n != "postgres"][::-1]:
            stack.stop(name)
        if "postgres" in stack.processes:
            stack.stop("postgres", signal.SIGINT)  # Postgres's own word for: end every session now
        shutil.rmtree(folder / "database", ignore_errors=True)


def start_postgres(stack: Stack, where: Path) -> None:
    """A cluster with the passwords of .env, made ready by the script that compose mounts."""
    folder = stack.folder / "database"
    folder.mkdir(mode=0o700)
    for above in [folder, *folder.parents][1:4]:
        above.chmod(above.stat().st_mode | 0o011)  # pytest's folders are this user's own
    password = stack.folder / "password"
    password.write_text(stack.variables["POSTGRES_PASSWORD"])
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        shutil.chown(password, "postgres")
    initdb = [str(where / "initdb"), "-D", str(folder), "-U", "airflow", f"--pwfile={password}", "-A", "scram-sha-256"]
    subprocess.run(as_nobody_else(initdb), check=True, capture_output=True, cwd="/")
    options = ["-D", str(folder), "-p", str(stack.postgres), "-h", "127.0.0.1", "-k", str(folder)]
    with (stack.folder / "postgres.log").open("ab") as log:
        command = as_nobody_else([str(where / "postgres"), *options])
        stack.processes["postgres"] = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", start_new_session=True)
    wait(lambda: answers(stack.postgres), "Postgres", 30)
    environment = {
        **{k: str(v) for k, v in stack.services["postgres"]["environment"].items()},
        "PATH": f"{where}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(stack.postgres),
        "PGPASSWORD": stack.variables["POSTGRES_PASSWORD"],
    }
    create = [str(where / "createdb"), "-U", "airflow", "airflow"]
    subprocess.run(create, env=environment, check=True)
    script = compose.ROOT / "infra" / "docker" / "postgres" / "celery.sh"
    subprocess.run(["bash", script], env=environment, check=True, capture_output=True)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_redis_asks_for_the_password(stack: Stack) -> None:
    ping = ["redis-cli", "-p", str(stack.redis), "ping"]
    wait(lambda: answers(stack.redis), "Redis", 30)
    without = subprocess.run(ping, capture_output=True, text=True)
    assert "NOAUTH" in without.stdout + without.stderr
    environment = {**os.environ, "REDISCLI_AUTH": stack.variables["REDIS_PASSWORD"]}
    assert subprocess.run(ping, env=environment, capture_output=True, text=True).stdout.strip() == "PONG"


def test_workers_results_have_a_user_who_cannot_see_airflows_tables(stack: Stack) -> None:
    import psycopg2

    def connect(database: str) -> None:
        password = stack.variables["CELERY_DB_PASSWORD"]
        address = {"host": "127.0.0.1", "port": stack.postgres}
        psycopg2.connect(user="celery", password=password, dbname=database, **address).close()

    connect("celery")
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        connect("airflow")


def test_init_makes_buckets_pool_and_users_and_may_run_again(stack: Stack) -> None:
    for _ in range(2):
        for name in ("buckets", "airflow-init"):
            done = stack.run(name)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
            assert not any(stack.variables[k] in done.stdout + done.stderr for k in stack.variables if "PASSWORD" in k)
    assert "user avlake, role User" in done.stdout


def test_every_service_becomes_healthy(stack: Stack) -> None:
    assert not stack.is_healthy("airflow-scheduler")
    for name in AIRFLOW:
        stack.start(name)
        if name == "airflow-api-server":
            wait(lambda: stack.is_healthy("airflow-api-server"), "the API server")
    for name in AIRFLOW:
        log = stack.folder / f"{name}.log"
        wait(
            lambda name=name: stack.is_healthy(name) and stack.processes[name].poll() is None,
            f"{name}: {shlex.join(log.read_text(errors='replace').splitlines()[-5:])}",
        )


def test_a_worker_without_airflows_secrets_runs_tasks(stack: Stack) -> None:
    """`discover_drops`, as the user who may start runs, finds a drop and starts a run for it."""
    from avlake.storage import open_store

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            patch.setenv(name, stack.variables[name])
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{stack.s3}")
        open_store("s3://landing").write("voxforge/2026-09-01/a-20260901-abc.tgz", b"not an archive")
    admin = stack.client("admin")
    wait(lambda: admin.has_dag("discover_drops"), "the Dag processor")
    admin.pause("discover_drops", False)
    run = admin.trigger("discover_drops", key=None)

    def ended() -> str | None:
        (state,) = (
            r["state"] for r in admin._pages("/dags/discover_drops/dagRuns", "dag_runs") if r["dag_run_id"] == run
        )
        return state if state in ("success", "failed") else None

    tasks = admin.task_instances("discover_drops", run) if wait(ended, "discover_drops") == "failed" else []
    assert not tasks, "\n".join(line for task in tasks for line in admin.log(task))
    (started,) = (r["dag_run_id"] for r in admin._pages("/dags/voxforge_gender/dagRuns", "dag_runs"))
    assert started.startswith("discovered__2026-09-01")


def test_the_service_user_may_not_change_airflow(stack: Stack) -> None:
    login = {"username": "avlake", "password": stack.variables["AIRFLOW_SERVICE_PASSWORD"]}
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.api}") as http:
        token = http.post("/auth/token", json=login).json()["access_token"]
        connection = {"connection_id": "x", "conn_type": "http"}
        refused = http.post("/api/v2/connections", json=connection, headers={"Authorization": f"Bearer {token}"})
        assert refused.status_code == 403
        wrong = http.post("/auth/token", json={**login, "password": "airflow"})
        assert wrong.status_code == 401


def test_task_logs_are_on_the_shared_volume(stack: Stack) -> None:
    logs = list((stack.folder / "logs").rglob("attempt=1.log"))
    assert logs
    secrets = [
        v for k, v in stack.variables.items() if ("PASSWORD" in k or "SECRET" in k or "KEY" in k) and len(v) > 20
    ]
    text = "".join(log.read_text() for log in logs)
    assert not any(secret in text for secret in secrets)


def test_a_stopped_worker_ends_by_itself_and_is_no_longer_healthy(stack: Stack) -> None:
    process = stack.processes["airflow-worker"]
    stack.stop("airflow-worker")
    assert process.returncode == 0
    assert not stack.is_healthy("airflow-worker")
