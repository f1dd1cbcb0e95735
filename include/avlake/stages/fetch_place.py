"""Where `avlake fetch` puts files: a drop of a landing, which nobody sees while it is being written.

In a folder, files wait beside the drops in `.fetch/<drop>/`, on the same disk, and are moved at the end. For an object
store they go there one by one, so that this machine's disk holds few at a time. While files come into a drop,
`.fetch/<drop>.delivering` lies beside it, and no source lists the drop; `.fetch/<drop>.json` says what was fetched.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from avlake.datasets.sources import OURS, UNDER_WAY, is_date
from avlake.errors import RequestError, WorkError
from avlake.settings import Settings
from avlake.storage import Store, open_store
from avlake.store_errors import explained

SETTING = "--to or AVLAKE_LANDING"
JOURNAL = ".fetched.jsonl"


@dataclass(frozen=True)
class Record:
    """A file that is whole."""

    path: str
    url: str  # without its query
    bytes: int
    sha256: str
    checked: str  # against what


@dataclass(frozen=True)
class Landing:
    """A dataset's folder in a landing; `base` is its name in the store, empty where the URI names it itself."""

    store: Store
    base: str

    @classmethod
    def open(cls, to: str | None, dataset: str) -> Landing:
        """Raises: RequestError: without a place, or for one drop's folder."""
        if not to:
            raise RequestError("name where drops arrive: --to FOLDER (or s3://, abfss://), or set AVLAKE_LANDING")
        store = open_store(to, setting=SETTING)
        last = store.root.rstrip("/").rpartition("/")[2]
        if is_date(last):
            raise RequestError(f"--to {to}: this is one drop; name the landing, and the drop with --drop {last}")
        store.reach()
        return cls(store, "" if last == dataset else dataset)

    def name(self, *parts: str) -> str:
        return "/".join(filter(None, (self.base, *parts)))

    def names(self, *parts: str) -> list[str]:
        """What lies in a folder, by name."""
        try:
            with self.store.explained():
                found = self.store.fs.ls(self.store.path(self.name(*parts)), detail=False)
        except FileNotFoundError:
            return []
        return sorted({path.rstrip("/").rpartition("/")[2] for path in found})

    def drops(self) -> list[str]:
        return [name for name in self.names() if is_date(name)]

    def latest(self) -> str:
        """The drop that was fetched last, or begun, else today's (UTC)."""
        dates = [name[:10] for name in self.names(OURS) if is_date(name[:10]) and not name.endswith(".lock")]
        return max(dates, default=datetime.now(UTC).date().isoformat())


class Place:
    """One drop of a landing: what it holds, what waits, and the way from one to the other. Safe for threads."""

    def __init__(self, settings: Settings, landing: Landing, drop: str) -> None:
        self._landing, self._store, self.drop = landing, landing.store, drop
        self.uri = self._store.uri_of(landing.name(drop))
        self.is_local = self._store.is_local
        if self.is_local:
            self.folder = Path(self._store.path(landing.name(OURS, drop)))
        else:
            self.folder = settings.downloads / f"fetch-{hashlib.sha256(self.uri.encode()).hexdigest()[:16]}"
        self._lock = threading.Lock()
        self._marked = False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One run at a time has the drop.

        Raises:
            WorkError: if another has it.
        """
        setting = SETTING if self.is_local else "AVLAKE_DOWNLOADS"
        with contextlib.ExitStack() as stack:
            with explained(str(self.folder.parent), setting):
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context(self.folder.with_suffix(".lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkError(f"{self.uri}: another `avlake fetch` is at work there; wait for it") from None
            with explained(str(self.folder), setting):
                self._there, self._records = self._sizes(), self._recorded()
                try:
                    yield
                finally:
                    self._remove_empty()

    def known(self, path: str) -> Record | None:
        """The record of a file that is here whole: in the drop, or waiting."""
        record = self._records.get(path)
        waiting = self.folder / path
        size = waiting.stat().st_size if waiting.is_file() else self._there.get(path)
        return record if record and size == record.bytes else None

    def holds(self, path: str) -> int | None:
        """The size in bytes of a file in the drop that another has put there."""
        return None if path in self._records else self._there.get(path)

    def target(self, path: str) -> Path:
        """Where a file may be written; whole once `add` has its record."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def add(self, record: Record) -> None:
        """The file at its target is whole."""
        if not self.is_local:
            with self._lock:
                self._mark()
            self._store.upload(self.folder / record.path, self._landing.name(self.drop, record.path))
        with self._lock:
            with (self.folder / JOURNAL).open("a") as journal:
                journal.write(json.dumps(asdict(record)) + "\n")
            self._records[record.path] = record
            if not self.is_local:
                self._there[record.path] = record.bytes
                (self.folder / record.path).unlink()

    def deliver(self) -> None:
        """Let everybody see the drop, with all that waits."""
        waiting = [path for path in sorted(self._records) if self.is_local and (self.folder / path).is_file()]
        if waiting:
            self._mark()
        for path in waiting:
            final = Path(self._store.path(self._landing.name(self.drop, path)))
            final.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).replace(final)
        if self._journal():
            rows = [asdict(record) for _, record in sorted(self._records.items())]
            self._store.write(self._landing.name(OURS, f"{self.drop}.json"), json.dumps(rows, indent=1).encode())
        self._store.delete(self._landing.name(OURS, f"{self.drop}{UNDER_WAY}"))
        (self.folder / JOURNAL).unlink(missing_ok=True)

    def paths(self) -> list[str]:
        """As `Held`."""
        waiting = {path for path in self._records if (self.folder / path).is_file()}
        return sorted(path for path in waiting | self._there.keys() if not path.startswith(".") and "/." not in path)

    def local(self, path: str) -> AbstractContextManager[Path]:
        """As `Held`."""
        waiting = self.folder / path
        if waiting.is_file():
            return contextlib.nullcontext(waiting)
        return self._store.local_copy(self._landing.name(self.drop, path))

    def _remove_empty(self) -> None:
        """Unfinished downloads stay for the next run."""
        if not any(path.is_file() for path in self.folder.rglob("*")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _mark(self) -> None:
        if not self._marked:
            text = f"avlake fetch, since {datetime.now(UTC).isoformat(timespec='seconds')}\n"
            self._store.write(self._landing.name(OURS, f"{self.drop}{UNDER_WAY}"), text.encode())
            self._marked = True

    def _sizes(self) -> dict[str, int]:
        root = self._store.path(self._landing.name(self.drop))
        try:
            with self._store.explained():
                found = self._store.fs.find(root, detail=True)
        except FileNotFoundError:
            return {}
        return {path[len(root) + 1 :]: info["size"] for path, info in found.items() if info["type"] == "file"}

    def _recorded(self) -> dict[str, Record]:
        try:
            rows = json.loads(self._store.read(self._landing.name(OURS, f"{self.drop}.json")))
            delivered = [Record(**row) for row in rows]
        except (FileNotFoundError, ValueError, TypeError):
            delivered = []
        return {record.path: record for record in [*delivered, *self._journal()]}

    def _journal(self) -> list[Record]:
        """What runs since the last delivery have recorded; a kill may have cut the last line short."""
        journal, found = self.folder / JOURNAL, []
        for line in journal.read_text().splitlines() if journal.exists() else ():
            with contextlib.suppress(ValueError, TypeError):
                found.append(Record(**json.loads(line)))
        return found
