"""What docker-compose.yaml describes, as processes of this machine on free loopback ports.

The components, their commands and their environment are read out of that file, so what is tested is what is shipped;
only addresses and folders change. MinIO's place is taken by moto, behind a proxy that can go away.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from avlake.orchestration.client import Airflow

S3_SERVER = str(Path(__file__).parents[1] / "s3_server.py")

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
BIN = Path(sys.executable).parent
POSTGRES_BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)  # Debian has it on no PATH
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
WORKERS = ("airflow-worker-1", "airflow-worker-2")
AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
START_S, STOP_S = 120, 20


def missing() -> str | None:
    """Why it cannot run here; None if it can."""
    if POSTGRES_BIN is None:
        return "no Postgres in /usr/lib/postgresql (Debian: apt install postgresql)"
    if shutil.which("redis-server") is None:
        return "no redis-server on the PATH (Debian: apt install redis-server)"
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stack:
    """One stack in `folder`; `close` ends every process that it started."""

    def __init__(self, folder: Path, **values: str) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("postgres", "redis", "moto", "store", "airflow", "health")}
        self.values = {**_generated(folder), **values, "AWS_ENDPOINT_URL": self.address("store")}
        self.values["AIRFLOW_BASE_URL"] = self.airflow_url = self.address("airflow")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # Its parents have to be open to the user who runs Postgres.
        self.database = Path(tempfile.mkdtemp(prefix="avlake-postgres-"))
        for name in ("logs", "warehouse", "scratch", "models", "redis", "hold"):
            (folder / name).mkdir()

    # --- starting and ending

    def start_all(self) -> None:
        self._make_database()
        for name in ("postgres", "redis", "moto", "store"):
            self.start(name)
        self._run(["createdb", "-U", "airflow", "airflow"], {})
        self._run(["bash", str(ROOT / "infra/docker/postgres/celery.sh")], COMPOSE["services"]["postgres"])
        for name in ("buckets", "airflow-init"):
            service = COMPOSE["services"][name]
            self._run(service["command"], service)
        for name in (*AIRFLOW, *WORKERS):
            self.start(name, wait=False)
        self.airflow = Airflow(self.airflow_url, "admin", self.values["AIRFLOW_ADMIN_PASSWORD"])
        until(self.airflow.healthy, "Airflow is healthy")
        for name in WORKERS:
            until(lambda name=name: b"ready." in self.log(name).read_bytes(), f"{name} is ready")

    def start(self, name: str, *, wait: bool = True) -> None:
        command, user, environment = self._component(name)
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, cwd=ROOT, user=user, stdout=log, stderr=log, start_new_session=True
            )
        if wait and name in self.ports:
            until(lambda: _listens(self.ports[name]), f"{name} listens")

    def tree(self, name: str) -> list[psutil.Process]:
        """A component's process and all below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.processes[name].pid)
            return [process, *process.children(recursive=True)]
        return []

    def kill(self, name: str) -> None:
        """What a power cut does to the machine that it runs on."""
        for process in (found := self.tree(name)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=STOP_S)
        self.processes[name].wait()

    def stop(self, name: str) -> None:
        """End it in order, and by force where it does not."""
        found, process = self.tree(name), self.processes.pop(name)
        process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        for one in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGCONT)
                one.kill()
        psutil.wait_procs(found, timeout=STOP_S)
        process.wait()

    def close(self) -> None:
        for name in reversed(list(self.processes)):
            self.stop(name)
        shutil.rmtree(self.database)

    # --- looking

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.out"

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def environment(self, service: dict[str, Any], name: str = "init") -> dict[str, str]:
        """A service's environment as compose would make it, on this machine's addresses and folders."""
        given = service.get("environment") or {}
        named = {key: self.values.get(key) if value is None else self._here(value) for key, value in given.items()}
        home = self.folder / f"home-{name}"  # a container's own
        home.mkdir(exist_ok=True)
        return {
            "PATH": f"{BIN}:{POSTGRES_BIN}:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MPLCONFIGDIR": str(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.ports["airflow"]),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.ports["health"]),
            **{key: value for key, value in named.items() if value is not None},
        }

    def _here(self, value: str) -> str:
        """A value of the compose file on this machine."""
        for there, here in (
            ("@postgres/", f"@127.0.0.1:{self.ports['postgres']}/"),
            ("@redis:6379/", f"@127.0.0.1:{self.ports['redis']}/"),
            ("http://airflow-api-server:8080", self.airflow_url),
            ("/data/", f"{self.folder}/"),
        ):
            value = value.replace(there, here)
        return _substituted(value, self.values)

    def _component(self, name: str) -> tuple[list[str], str | None, dict[str, str]]:
        """Command, user and environment."""
        port, services = self.ports.get(name), COMPOSE["services"]
        plain = self.environment({}, name)
        if name == "postgres":
            options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"]
            command = [f"{POSTGRES_BIN}/postgres", "-D", str(self.database), "-k", str(self.database), "-p", str(port)]
            return [*command, *options], _postgres_user(), plain
        if name == "redis":
            script = services[name]["command"][-1].replace("/tmp", "/data").replace("dir /data", "dir /data/redis")
            script = f"{self._here(script.replace('/data/redis', str(self.folder / 'redis'))).rstrip()} --port {port}"
            return ["sh", "-euc", f"{script} --bind 127.0.0.1"], None, self.environment(services[name], name)
        if name == "moto":
            return [sys.executable, S3_SERVER, "-H", "127.0.0.1", "-p", str(port)], None, plain
        if name == "store":
            proxy = [sys.executable, str(Path(__file__).with_name("proxy.py"))]
            return [*proxy, str(port), str(self.ports["moto"]), str(self.folder / "hold")], None, plain
        service = services["airflow-worker" if name in WORKERS else name]
        # Containers have host names of their own, by which Celery tells workers apart.
        own = ["--celery-hostname", f"{name}@%h"] if name in WORKERS else []
        return [*service["command"], *own], None, self.environment(service, name)

    def _make_database(self) -> None:
        user = _postgres_user()
        if user:
            shutil.chown(self.database, user)
        secret = self.database.with_suffix(".password")
        secret.touch(mode=0o600)
        secret.write_text(self.values["POSTGRES_PASSWORD"])
        if user:
            shutil.chown(secret, user)
        try:
            command = [f"{POSTGRES_BIN}/initdb", "-D", str(self.database), "-U", "airflow", "-A", "scram-sha-256"]
            self._run([*command, "-E", "UTF8", "--locale=C.UTF-8", "--pwfile", str(secret)], {}, user=user)
        finally:
            secret.unlink()

    def _run(self, command: list[str], service: dict[str, Any], user: str | None = None) -> None:
        """Run a command that ends."""
        environment = self.environment(service) | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.ports["postgres"]),
            "PGPASSWORD": self.values["POSTGRES_PASSWORD"],
        }
        with self.log("init").open("ab") as log:
            done = subprocess.run(
                [part.replace("$$", "$") for part in command],
                **{"env": environment, "cwd": ROOT, "user": user, "stdout": log, "stderr": log, "timeout": START_S},
            )
        assert done.returncode == 0, f"{command[:2]}: {self.log('init').read_text()[-3000:]}"


def until(found: Callable[[], Any], what: str, timeout_s: float = START_S) -> Any:
    """Wait until `found` says something true; what it said."""
    deadline = time.monotonic() + timeout_s
    while not (said := found()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.2)
    return said


def _generated(folder: Path) -> dict[str, str]:
    """What `make secrets` puts into .env."""
    shutil.copy(ROOT / ".env.example", folder / ".env.example")
    subprocess.run([sys.executable, str(ROOT / "infra/make_secrets.py"), str(folder)], check=True, capture_output=True)
    values: dict[str, str] = {}
    for line in (folder / ".env").read_text().splitlines():
        name, assigned, value = line.partition("=")
        if assigned and not name.startswith("#"):
            values[name] = _substituted(value, values)
    return values


def _substituted(text: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, kind, told = match.groups()
        assert values.get(name) or kind == "-", f"{name}: {told or 'not set'}"
        return values.get(name) or told

    return VARIABLE.sub(value, text).replace("$$", "$")


def _postgres_user() -> str | None:
    """Postgres refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
