"""Getting one kind of a dataset's files: several at a time, resumed, at a bounded rate, compared with checksums."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from avlake.datasets.addresses import shown, web_url
from avlake.datasets.download import BACKOFF_S, Http, Refused, Unreachable
from avlake.datasets.remote import Asked, Remote, RemoteFile, checksums, digests, etag_md5
from avlake.errors import AvlakeError, RequestError, WorkError
from avlake.media.limits import checked_name
from avlake.settings import MIB, Settings
from avlake.stages.fetch_place import Place, Record
from avlake.stages.fetch_threads import Threads
from avlake.storage import open_store

GONE = (403, 404, 410)  # S3 answers 403 for what is not there, unless everybody may list the bucket
GIVE_UP_AFTER = 10  # files in a row that could not be had: the server is away
NONE = "none"  # as a list of checksums: compare nothing, not even ETags


@dataclass(frozen=True)
class Fetched:
    """What became of one file."""

    kind: str
    path: str
    state: str  # fetched, there, missing, mismatch, failed, not_tried
    bytes: int | None = None
    sha256: str | None = None
    checked: str | None = None  # sha256, md5, md5 (ETag), size or nothing; None where this run did not look
    error: str | None = None
    may_come: bool = False  # run again, and it may be had


@dataclass
class Traffic:
    """How far a run is."""

    files: int = 0
    files_done: int = 0
    bytes: int | None = None  # of all files, where the server has said
    received: int = 0  # bytes, by this run
    here: dict[str, int] = field(default_factory=dict)  # bytes of each file

    @property
    def bytes_done(self) -> int:
        return sum(list(self.here.values()))


@dataclass(frozen=True)
class Wishes:
    """What was asked for; `rate_mb_s` is in MB/s, over all connections."""

    kinds: tuple[str, ...] = ()
    split: str | None = None
    limit: int | None = None  # files of each kind
    rate_mb_s: float | None = None
    incomplete: bool = False  # deliver what is whole, although other files may still come
    backoff_s: float = BACKOFF_S


class Run:
    """One run of `fetch`: its connections, and what it has done."""

    def __init__(
        self,
        settings: Settings,
        place: Place,
        others: tuple[str, ...],
        wishes: Wishes,
        say: Callable[[str], None],
        progress: Callable[[Traffic], None],
    ) -> None:
        self._settings, self._place, self._others = settings, place, others
        self._wishes, self._say, self._progress = wishes, say, progress
        self._threads = Threads(settings.download_concurrency, wishes.rate_mb_s or settings.fetch_rate_mb_s)
        self._servers: dict[tuple[str, tuple[str, str] | None], Http] = {}
        self._lock = threading.Lock()
        self._traffic = Traffic()
        self._failed_in_a_row = 0
        self.files: list[Fetched] = []
        self.unchecked: set[str] = set()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.stop()
        for http in self._servers.values():
            http.__exit__(None, None, None)

    def bring(self, remote: Remote) -> None:
        """All files of a kind, some at a time."""
        known = self._checksums(remote)
        asked = Asked(self._settings, self._wishes.split, self._place, self._others, self._text, self._say)
        files = remote.files(asked)[: self._wishes.limit]
        for file in files:
            checked_name(file.path)
        found = {file.path: self._there(file, remote) for file in files}
        wanted = [file for file in files if found[file.path] is None]
        self._traffic = Traffic(len(wanted), here={file.path: 0 for file in wanted})
        sizes = self._sizes(wanted)
        self._check_room(wanted, sizes)
        if all(sizes.values()):
            self._traffic.bytes = sum(size or 0 for size in sizes.values())

        def one(file: RemoteFile) -> None:
            if self._failed_in_a_row < GIVE_UP_AFTER:
                found[file.path] = self._one(file, remote, sizes[file.path], known)

        self._threads.each(wanted, one, lambda: self._progress(self._traffic))
        away = f"not tried, for {GIVE_UP_AFTER} files before it could not be had; run again"
        for file in files:
            result = found[file.path] or Fetched(remote.kind, file.path, "not_tried", error=away, may_come=True)
            if result.state == "fetched" and result.checked in ("size", "nothing"):
                self.unchecked.add(remote.setting)
            self.files.append(result)

    def _there(self, file: RemoteFile, remote: Remote) -> Fetched | None:
        if record := self._place.known(file.path):
            return Fetched(remote.kind, file.path, "there", record.bytes, record.sha256, record.checked)
        size = self._place.holds(file.path)
        return None if size is None else Fetched(remote.kind, file.path, "there", size)

    def _sizes(self, files: list[RemoteFile]) -> dict[str, int | None]:
        """Bytes of each file, where the server answers; once it does not, it is asked no more."""
        sizes: dict[str, int | None] = dict.fromkeys((file.path for file in files), None)
        silent = threading.Event()

        def one(file: RemoteFile) -> None:
            if silent.is_set():
                return
            try:
                answer = self._http(file.url).head(_bare(file.url))
            except WorkError:
                silent.set()
                return
            length = answer.headers.get("Content-Length", "")
            sizes[file.path] = int(length) if answer.is_success and length.isdigit() else None

        self._threads.each(files, one, lambda: None)
        return sizes

    def _check_room(self, files: list[RemoteFile], sizes: dict[str, int | None]) -> None:
        left = []
        for file in files:
            part = self._place.target(f"{file.path}.part")
            left.append(max(0, (sizes[file.path] or 0) - (part.stat().st_size if part.exists() else 0)))
        need = sum(left if self._place.is_local else sorted(left)[-self._settings.download_concurrency :])
        free = shutil.disk_usage(self._place.folder).free
        if need > free:
            where = "--to" if self._place.is_local else "AVLAKE_DOWNLOADS"
            raise WorkError(
                f"{self._place.folder}: {need / 1e9:,.1f} GB are needed and {free / 1e9:,.1f} GB are free; make room, "
                f"move {where}, or fetch fewer with --limit"
            )

    def _one(self, file: RemoteFile, remote: Remote, size: int | None, known: dict[str, str] | None) -> Fetched:
        try:
            record = self._get(file, size, known, remote.setting)
        except (Refused, Unreachable, WorkError) as error:
            return self._lacking(file, remote, error)
        self._place.add(record)
        with self._lock:
            self._failed_in_a_row = 0
            self._traffic.files_done += 1
            self._traffic.here[file.path] = record.bytes
        return Fetched(remote.kind, file.path, "fetched", record.bytes, record.sha256, record.checked)

    def _lacking(self, file: RemoteFile, remote: Remote, error: WorkError) -> Fetched:
        away = isinstance(error, Unreachable)
        with self._lock:
            self._failed_in_a_row = self._failed_in_a_row + 1 if away else 0
            self._traffic.files_done += 1
        gone = isinstance(error, Refused) and error.status in GONE
        state = "missing" if gone and remote.may_lack else "mismatch" if isinstance(error, _Mismatch) else "failed"
        return Fetched(remote.kind, file.path, state, error=str(error), may_come=away)

    def _get(self, file: RemoteFile, size: int | None, known: dict[str, str] | None, setting: str) -> Record:
        target = self._place.target(file.path)

        def got(here: int) -> None:
            self._traffic.here[file.path] = here

        note = self._http(file.url).download(_bare(file.url), target, size=size, got=got)
        expected, source = (known or {}).get(target.name), ""
        if expected is None and known is not None:
            expected, source = etag_md5(note), " (ETag)"
        kind = "sha256" if expected and len(expected) == 64 else "md5"
        found = digests(target, {"sha256", kind})
        noted = target.with_name(f"{target.name}.note")
        length = target.stat().st_size
        if expected and found[kind] != expected:
            target.unlink()
            noted.unlink(missing_ok=True)
            said = "as the server says in its ETag" if source else f"as {setting} says"
            raise _Mismatch(
                f"{shown(file.url)}: its {kind} is {found[kind]}, and not {expected}, {said}; the file is thrown away. "
                f"Run again, or correct {setting} (`none` compares nothing)"
            )
        checked = f"{kind}{source}" if expected else "size" if length in (size, note.size) else "nothing"
        record = Record(file.path, shown(file.url), length, found["sha256"], checked)
        noted.unlink(missing_ok=True)
        return record

    def _checksums(self, remote: Remote) -> dict[str, str] | None:
        """Digests by name; None where nothing is to be compared."""
        given = remote.checksums(self._settings)
        if given.strip().lower() == NONE:
            return None
        if not given:
            return {}
        with _named(remote.setting):
            if given.startswith(("http://", "https://")):
                return checksums(self._text(given), shown(given))
            folder, _, name = given.rpartition("/") if "://" in given else ("", "", given)
            path = open_store(folder, setting=remote.setting).read(name) if folder else Path(given).read_bytes()
            return checksums(path.decode(errors="replace"), given)

    def _text(self, url: str) -> str:
        return self._http(url).text(_bare(url))

    def _http(self, url: str) -> Http:
        """The client of an address's server, which all of its files share."""
        address, auth = web_url(url)
        key = (f"{address.scheme}://{address.netloc.decode()}", auth)
        with self._lock:
            if key not in self._servers:
                self._servers[key] = Http(
                    max_bytes=self._settings.download_max_mb * MIB,
                    auth=auth,
                    backoff_s=self._wishes.backoff_s,
                    wait=self._threads.wait,
                    spend=self._spend,
                )
            return self._servers[key]

    def _spend(self, count: int) -> None:
        with self._lock:
            self._traffic.received += count
        self._threads.spend(count)


class _Mismatch(WorkError):
    """The file is not what its checksum says."""


def _bare(url: str) -> str:
    """The address without user name and password, which the client has."""
    return str(web_url(url)[0])


@contextmanager
def _named(setting: str) -> Iterator[None]:
    try:
        yield
    except (OSError, AvlakeError) as error:
        raise RequestError(f"{setting}: {error}") from None
