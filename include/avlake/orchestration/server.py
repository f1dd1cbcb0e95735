"""A local Airflow of this checkout's own: started, found again, and stopped, by process and start time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from avlake.errors import WorkError
from avlake.orchestration.client import Airflow
from avlake.settings import home

PORT = 8080
USER = "admin"
SERVICE_USER = "avlake"  # the user of `discover_drops`: may start runs, may not change Airflow
CONNECTION = "avlake_airflow"
SETTINGS = ("AVLAKE_", "AWS_", "AZURE_", "motherduck_", "AIRFLOW_")
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 10


@dataclass(frozen=True)
class Session:
    """The processes of one Airflow, all in one session: `sid` is the pid of the process that leads it."""

    sid: int
    started: float  # by the system's clock, of the leader: a pid alone may be somebody else's by now
    port: int
    settings: str = ""  # a hash of the settings it was started with

    def members(self) -> list[psutil.Process]:
        """Its living processes."""
        with suppress(psutil.Error):
            if psutil.Process(self.sid).create_time() != self.started:
                return []  # the pid belongs to a stranger now
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and os.getsid(process.pid) == self.sid and process.create_time() >= self.started:
                    found.append(process)
        return found


class Server:
    """The Airflow whose AIRFLOW_HOME is `folder`."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or home() / ".avlake" / "airflow").resolve()
        self.log = self.folder / "airflow.log"
        self.password_file = self.folder / "simple_auth_manager_passwords.json.generated"
        self._state = self.folder / "session.json"

    @property
    def session(self) -> Session | None:
        """The session that was started last, if any process of it lives."""
        with suppress(FileNotFoundError, ValueError, TypeError):
            session = Session(**json.loads(self._state.read_text()))
            return session if session.members() else None
        return None

    def client(self) -> Airflow:
        """Its REST API, as the administrator.

        Raises:
            WorkError: when it does not run.
        """
        if not (session := self.session):
            raise WorkError("Airflow is not running; start it with `make run`")
        return Airflow(f"http://127.0.0.1:{session.port}", USER, self._passwords()[USER])

    def start(self, environment: Mapping[str, str], say: Callable[[str], None] = lambda line: None) -> Airflow:
        """Start it, unless it runs in good health and with these settings already; wait until it does.

        Raises:
            WorkError: with the log's last lines, when it ends or is not healthy in time.
        """
        with self._lock():
            given = {**os.environ, **environment}
            settings = _settings_hash(given)
            if (session := self.session) and session.settings == settings and self.client().healthy():
                return self.client()
            if self.stop():
                say("Airflow  the one that was running is unwell or has other settings; stopped")
            self._prepare()
            port = free_port(PORT)
            if port != PORT:
                say(f"Airflow  port {PORT} is taken; using {port}")
            say("Airflow  starting")
            sid = self._spawn({**given, **self._environment(port)})
            session = Session(sid, psutil.Process(sid).create_time(), port, settings)
            _write_private(self._state, json.dumps(asdict(session)))
            return self._wait(session)

    def stop(self) -> bool:
        """End every process of the session, and nothing else; False if there was none."""
        session = self.session
        if session:
            for number, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
                _signal(session, number)
                deadline = time.monotonic() + patience_s
                while session.members() and time.monotonic() < deadline:
                    time.sleep(0.1)
        self._state.unlink(missing_ok=True)
        return session is not None

    def kill(self) -> None:
        """What a power cut does: no process gets to say goodbye, and the session file stays."""
        while (session := self.session) is not None:
            _signal(session, signal.SIGKILL)
            time.sleep(0.05)

    def _spawn(self, environment: Mapping[str, str]) -> int:
        """Start the process that leads the session, and let go of it; its pid."""
        log = (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "avlake.orchestration.standalone"],
            environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), log, (os.POSIX_SPAWN_DUP2, 1, 2)],
            setsid=True,
            # A shell that starts jobs in the background has them ignore SIGINT, which Airflow needs to stop in order.
            setsigdef=[signal.SIGINT],
        )

    def _wait(self, session: Session) -> Airflow:
        airflow, deadline = self.client(), time.monotonic() + START_TIMEOUT_S
        while session.members() and time.monotonic() < deadline:
            if airflow.healthy():
                return airflow
            time.sleep(0.5)
        self.stop()
        tail = "\n  ".join(self.log.read_text(errors="replace").splitlines()[-15:])
        raise WorkError(f"Airflow did not start; the end of {self.log}:\n  {tail}")

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self._passwords()
        missing = {user: secrets.token_urlsafe(12) for user in (USER, SERVICE_USER) if user not in known}
        if missing:
            _write_private(self.password_file, json.dumps(known | missing))
        if not (secret := self.folder / "jwt_secret").exists():
            _write_private(secret, secrets.token_urlsafe(64))

    def _passwords(self) -> dict[str, str]:
        with suppress(FileNotFoundError, ValueError):
            return dict(json.loads(self.password_file.read_text()))
        return {}

    def _environment(self, port: int) -> dict[str, str]:
        checkout, url = home(), f"http://127.0.0.1:{port}"
        secret = (self.folder / "jwt_secret").read_text()
        service = {"conn_type": "http", "host": url, "login": SERVICE_USER, "password": self._passwords()[SERVICE_USER]}
        airflow = {
            "CORE__DAGS_FOLDER": str(checkout / "dags"),
            "CORE__PLUGINS_FOLDER": str(checkout / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": str(max(os.cpu_count() or 1, 2)),
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,{SERVICE_USER}:op",
            "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.folder / 'airflow.db'}",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            "API__BASE_URL": url,
            "API__SECRET_KEY": secret,
            "API_AUTH__JWT_SECRET": secret,
            # At the default of 5 s a short task waits for the next heartbeat to end.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # After a crash, tasks that nobody runs any more are started again in seconds, not in five minutes.
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        }
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        return {
            **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
            **threads,
            "AIRFLOW_HOME": str(self.folder),
            f"AIRFLOW_CONN_{CONNECTION.upper()}": json.dumps(service),
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")])
            ),
        }

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Two `make run` at once start one Airflow."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on, on any of this machine's addresses.

    Raises:
        WorkError: when a hundred in a row are taken.
    """
    for port in range(first, first + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise WorkError(f"the ports from {first} to {first + 99} are all taken")


def _settings_hash(environment: Mapping[str, str]) -> str:
    """Equal where tasks would see the same lake with the same credentials."""
    seen = sorted((k, v) for k, v in environment.items() if k.startswith(SETTINGS))
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _signal(session: Session, number: signal.Signals) -> None:
    for process in session.members():
        with suppress(psutil.Error):
            process.send_signal(number)


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
