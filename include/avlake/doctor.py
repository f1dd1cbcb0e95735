"""`avlake doctor`: is everything here that avlake needs, and if not, which command mends it?

Every check runs whatever the others find, none takes longer than CHECK_S, and none leaves a file behind.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from avlake import probe, warehouse
from avlake.errors import AvlakeError, RequestError
from avlake.extractors import base
from avlake.lake import Lake
from avlake.models import BROUGHT, MODEL_FILES, has_model, is_whole
from avlake.orchestration.client import Airflow
from avlake.orchestration.server import CONNECTION, Server
from avlake.pipelines import PIPELINES, Pipeline, needing_approval
from avlake.settings import Settings
from avlake.stages import human
from avlake.storage import open_store

SERVER = "airflow server"
MENDS = {
    "lake": "set AVLAKE_URI and its store's credentials",
    "landing": "set AVLAKE_LANDING to the folder or bucket that holds <dataset>/<YYYY-MM-DD>/",
    "warehouse": "`avlake run PIPELINE` publishes a new one; for md: set motherduck_token",
    SERVER: "start it (`make run`), or correct AIRFLOW_CONN_AVLAKE_AIRFLOW",
}
CHECK_S = 60  # the longest that one check may take
COLUMNS = ("check", "state", "found", "mend")
LIBRARIES = (
    "av",
    "soxr",
    "scipy",
    "sklearn",
    "skops",
    "deltalake",
    "duckdb",
    "airflow",
    "cv2",
    "mediapipe",
    "torch",
    "silero_vad",
)
SYSTEM_LIBRARIES = "apt-get install -y libgl1 libegl1 libgles2 libglib2.0-0"
LEAST_FREE_GB = 5
SHOWN = 3  # names in one line
IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        found = "ok " + str(getattr(importlib.import_module(name), "__version__", "installed"))
    except ImportError as error:
        found = "missing " + " ".join(str(error).split())
    print("\\navlake-doctor", name, found, flush=True)
"""


@dataclass(frozen=True)
class Check:
    """One thing examined: what was found, and the command that mends it (None where all is well)."""

    what: str
    ok: bool
    found: str
    mend: str | None = None


def examine(settings: Settings) -> list[Check]:
    """Run every check; none of them raises."""
    services = _side_by_side(
        {
            "lake": lambda: _lake(settings),
            "landing": lambda: _landing(settings),
            "warehouse": lambda: _warehouse(settings),
            SERVER: _airflow,
        }
    )
    return [*_machine(settings), *_libraries(), *services, *_models(settings), *_approval(settings)]


def text(checks: Sequence[Check]) -> str:
    """For people: a line for each check, and below each problem what mends it."""
    wide = max(len(check.what) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok' if check.ok else 'PROBLEM':7}  {check.what.ljust(wide)}  {check.found}")
        if check.mend:
            lines.append(f"{'':7}  {'':{wide}}  → {check.mend}")
    problems = sum(not check.ok for check in checks)
    return "\n".join([*lines, "", f"{problems} of {len(checks)} checks found a problem" if problems else "all is well"])


def _machine(settings: Settings) -> Iterator[Check]:
    right = sys.version_info[:2] == (3, 11)
    yield Check("python", right, platform.python_version(), None if right else "install Python 3.11, then `make run`")
    place = Path(settings.uri) if "://" not in settings.uri else Path.cwd()
    existing = next(p for p in (place, *place.absolute().parents) if p.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    enough = free_gb >= LEAST_FREE_GB
    yield Check(
        "disk", enough, f"{free_gb:.0f} GB free at {existing}", None if enough else "free some, or move AVLAKE_URI"
    )


def _libraries() -> Iterator[Check]:
    """Import each library in a process of its own: an import may print, or end the process."""
    command = [sys.executable, "-c", IMPORT_EACH, *LIBRARIES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = dict(line.split(" ", 2)[1:] for line in done.stdout.splitlines() if line.startswith("avlake-doctor "))
    for name in LIBRARIES:
        state, _, what = found.get(name, "missing the import ended the process").partition(" ")
        if state == "ok":
            yield Check(name, True, what)
        else:
            # A missing .so is the system's, a missing module pip's.
            yield Check(name, False, what, SYSTEM_LIBRARIES if ".so" in what else "pip install -r requirements.txt")


def _lake(settings: Settings) -> Iterator[Check]:
    store = open_store(settings.uri).hasty()
    store.reach()
    probe.race(store)  # afresh: what is remembered in the store may be older than its last upgrade
    where = f"{store.uri} at {store.endpoint}" if store.endpoint else store.uri
    yield Check(
        "lake", True, f"{where}: can be written; of {probe.WRITERS} racing writers one won, {probe.ROUNDS} times"
    )
    labels, damaged = human.inbox(Lake(store))
    found = f"{len(labels) or 'none'} waiting for the next build of gold"
    if damaged:
        found += f"; no labels can be read from {', '.join(damaged[:SHOWN])}"
        found += f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
    mend = "import these labels again, then remove them there; builds leave them where they are" if damaged else None
    yield Check("labels", not damaged, found, mend)


def _landing(settings: Settings) -> Iterator[Check]:
    if not settings.landing:
        yield Check("landing", True, "AVLAKE_LANDING is not set; a run then needs --source, and no drop is discovered")
        return
    drops = {p.dataset.name: p.dataset.open_source(settings.landing, settings).drops() for p in PIPELINES.values()}
    held = ", ".join(f"{len(dates)} drops of {name}" for name, dates in drops.items())
    yield Check("landing", True, f"{settings.landing}: {held}")


def _warehouse(settings: Settings) -> Iterator[Check]:
    if not warehouse.is_motherduck(settings) and not Path(settings.warehouse).exists():
        yield Check("warehouse", True, f"{settings.warehouse}: nothing published yet")
        return
    with warehouse.connect(settings) as con:
        held = len(warehouse.tables(con))
    yield Check("warehouse", True, f"{settings.warehouse}: {held} tables")


def _airflow() -> Iterator[Check]:
    """The one that the connection names, else this checkout's own."""
    airflow = _remote() if (given := os.environ.get(f"AIRFLOW_CONN_{CONNECTION.upper()}")) else _local()
    if airflow is None:
        yield Check(SERVER, True, "not running; `make run` starts it")
        return
    whose = f"AIRFLOW_CONN_{CONNECTION.upper()}" if given else "`make run`"
    parts = {name: (state or {}).get("status") for name, state in airflow.health().items()}
    unwell = [name for name, status in parts.items() if status not in ("healthy", None)]
    found = f"{airflow.url}: {', '.join(name for name, status in parts.items() if status == 'healthy')} healthy"
    if unwell:
        mend = "start them again and read their logs; they beat every few seconds when well"
        yield Check(SERVER, False, f"{airflow.url}: {', '.join(unwell)} not healthy", mend)
    else:
        yield Check(SERVER, True, found)
    broken = airflow.import_errors()
    missing = [name for name in PIPELINES if not airflow.has_dag(name)]
    if broken:
        yield Check("airflow dags", False, " | ".join(broken), "correct the file; Airflow reads it again by itself")
    elif missing:
        yield Check(
            "airflow dags", False, f"no Dag {', '.join(missing)}", f"point its dags_folder at this dags/ ({whose})"
        )
    else:
        yield Check("airflow dags", True, f"{len(PIPELINES)} pipelines, no import errors")
    from avlake.orchestration.assets import POOL  # loads Airflow, so only where there is one

    slots = airflow.pool_slots(POOL)
    more = None if slots == 1 else f"airflow pools set {POOL} 1 'one at a time: whatever publishes'"
    yield Check("airflow pool", slots == 1, f"{POOL}: {'missing' if slots is None else f'slots {slots}'}", more)


def _local() -> Airflow | None:
    server = Server()
    return server.client() if server.session else None


def _remote() -> Airflow:
    """The Airflow of the connection in the environment: JSON, or a URI `http://user:password@host:port`.

    Raises:
        RequestError: when it is neither.
    """
    name = f"AIRFLOW_CONN_{CONNECTION.upper()}"
    given = os.environ[name]
    try:
        if not given.lstrip().startswith("{"):
            parts = urlsplit(given)
            address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
            return Airflow(address, unquote(parts.username or ""), unquote(parts.password or ""))
        fields = json.loads(given)
        host, port = str(fields["host"]), fields.get("port")
        address = host if "://" in host else f"http://{host}"
        return Airflow(f"{address}:{port}" if port else address, fields.get("login", ""), fields.get("password", ""))
    except (ValueError, KeyError, TypeError):
        raise RequestError(f"{name} is no connection; write it as http://user:password@host:port") from None


def _models(settings: Settings) -> Iterator[Check]:
    files = {p.name: _files_of(p) for p in PIPELINES.values()}
    for model in MODEL_FILES:
        path, who = settings.models / model.name, ", ".join(p for p, names in files.items() if model.name in names)
        seeking = ", ".join(p.name for p in PIPELINES.values() if model.name in _files_of(p, "seeks"))
        who += f" and, where nothing is annotated, {seeking}" if seeking else ""
        if is_whole(path, model):
            yield Check(model.name, True, f"{path}" + (f", for {who}" if who else ""))
        else:
            state = f"{path} is not the pinned file" if path.exists() else f"not in {settings.models}"
            state += f"; needed by {who}" if who else "; no pipeline needs it yet"
            yield Check(model.name, False, state, "avlake models pull, or set AVLAKE_MODELS")
    for name in sorted({name for p in PIPELINES.values() for name in p.extractors if base.load(name).optional}):
        who = ", ".join(p.name for p in PIPELINES.values() if name in p.extractors)
        lacking = [file for file in base.load(name).models if not has_model(file, settings)]
        if not lacking:
            yield Check(name, True, f"its files are in {settings.models}, for {who}")
        else:
            found = f"{who} goes without it: no {', '.join(lacking)} in {settings.models}"
            some = len(lacking) < len(base.load(name).models)  # who has brought one file wants the others
            fetch = "fetch " + ", ".join(f"{file} from {BROUGHT[file]}" for file in lacking)
            yield Check(name, not some, found, fetch if some else None)


def _files_of(pipeline: Pipeline, kind: Literal["models", "seeks"] = "models") -> set[str]:
    return {file for name in pipeline.extractors for file in getattr(base.load(name), kind)}


def _approval(settings: Settings) -> Iterator[Check]:
    """Which gold a person approves; a name that is wrong would be noticed only when gold is built."""
    try:
        named = sorted(needing_approval(settings))
    except RequestError as error:
        yield Check("approval", False, str(error), "correct AVLAKE_APPROVAL")
    else:
        yield Check(
            "approval", True, f"before gold of {', '.join(named)}" if named else "AVLAKE_APPROVAL asks for none"
        )


def _side_by_side(checks: dict[str, Callable[[], Iterable[Check]]]) -> Iterator[Check]:
    """Each in a thread of its own, which is left behind when it takes too long."""
    found: dict[str, list[Check]] = {name: [] for name in checks}

    def run(name: str) -> None:
        try:
            found[name].extend(checks[name]())
        except Exception as error:  # a check that fails in an unforeseen way is a finding, too
            found[name].append(_failed(name, error))

    threads = {name: threading.Thread(target=run, args=(name,), daemon=True) for name in checks}
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + CHECK_S
    for name, thread in threads.items():
        thread.join(max(deadline - time.monotonic(), 0))
        yield from tuple(found[name])
        if thread.is_alive():
            yield Check(
                name, False, f"no answer within {CHECK_S} s", "see that its address is right and the network open"
            )


def _failed(what: str, error: Exception) -> Check:
    """An error says what was wrong, and after a semicolon the next step; only ours are sure to hold no secret."""
    if not isinstance(error, AvlakeError):
        return Check(what, False, f"an unforeseen {type(error).__name__}", f"run the command that uses the {what}")
    wrong, _, step = " ".join(str(error).split()).partition("; ")
    return Check(what, False, wrong, step or MENDS[what])
