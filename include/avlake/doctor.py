"""`avlake doctor`: is everything here that avlake needs, and if not, which command mends it?"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from avlake import warehouse
from avlake.errors import AvlakeError
from avlake.lake import Lake
from avlake.models import MODEL_FILES, is_whole
from avlake.settings import Settings

COLUMNS = ("check", "state", "found", "mend")
LIBRARIES = ("av", "soxr", "scipy", "sklearn", "skops", "deltalake", "duckdb", "airflow", "cv2", "mediapipe", "torch")
SYSTEM_LIBRARIES = "apt-get install -y libgl1 libegl1 libgles2 libglib2.0-0"
LEAST_FREE_GB = 5
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
    """Run every check; none of them raises, and none changes anything that stays."""
    return [*_machine(settings), *_libraries(), *_services(settings), *_models(settings)]


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
    done = subprocess.run([sys.executable, "-c", IMPORT_EACH, *LIBRARIES], capture_output=True, text=True, check=False)
    found = dict(line.split(" ", 2)[1:] for line in done.stdout.splitlines() if line.startswith("avlake-doctor "))
    for name in LIBRARIES:
        state, _, what = found.get(name, "missing the import ended the process").partition(" ")
        if state == "ok":
            yield Check(name, True, what)
        else:
            # A missing .so is the system's, a missing module pip's.
            yield Check(name, False, what, SYSTEM_LIBRARIES if ".so" in what else "pip install -r requirements.txt")


def _services(settings: Settings) -> Iterator[Check]:
    yield _attempt(
        "lake", settings.uri, lambda: _write_and_read(settings), "set AVLAKE_URI and its store's credentials"
    )
    published = warehouse.is_motherduck(settings) or Path(settings.warehouse).exists()
    if published:
        yield _attempt(
            "warehouse",
            settings.warehouse,
            lambda: warehouse.connect(settings).close(),
            "`avlake run PIPELINE` publishes a new one; for md: set motherduck_token",
        )
    else:
        yield Check("warehouse", True, f"{settings.warehouse}: nothing published yet")
    yield _airflow()


def _write_and_read(settings: Settings) -> None:
    store, name = Lake.open(settings).store, f"_work/doctor-{uuid.uuid4().hex}"
    try:
        store.write(name, b"avlake")
        if store.read(name) != b"avlake":
            raise OSError("what was written is not what is read")
    finally:
        store.delete(name)


def _airflow() -> Check:
    from avlake.orchestration.server import running_address

    address = running_address()
    return Check("airflow server", True, f"running at {address}" if address else "not running; `make run` starts it")


def _models(settings: Settings) -> Iterator[Check]:
    for model in MODEL_FILES:
        path = settings.models / model.name
        if is_whole(path, model):
            yield Check(model.name, True, str(path))
        else:
            state = f"{path} is not the pinned file" if path.exists() else f"not in {settings.models}"
            yield Check(model.name, False, state, "avlake models pull, or set AVLAKE_MODELS")


def _attempt(what: str, where: str, action: Callable[[], None], mend: str) -> Check:
    try:
        action()
    except (AvlakeError, OSError, ValueError, RuntimeError) as error:
        return Check(
            what, False, f"{where}: {str(error).splitlines()[0] if str(error) else type(error).__name__}", mend
        )
    return Check(what, True, where)
