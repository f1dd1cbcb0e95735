"""Where drops are found: dated folders (here or in an object store), and HTTP indexes of dated archives."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import httpx

from avlake.datasets.addresses import web_url
from avlake.datasets.base import Entry, Source
from avlake.datasets.download import BACKOFF_S, Http
from avlake.errors import RequestError, WorkError
from avlake.settings import MIB, Settings
from avlake.storage import open_store

TEMPORARY = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~")
OURS = ".fetch"  # beside a dataset's drops, of `avlake fetch`: what it has not delivered yet, and its records
UNDER_WAY = ".delivering"  # <OURS>/<drop>.delivering: the drop is about to get files and is not all there
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8
log = logging.getLogger(__name__)


def is_date(text: str) -> bool:
    """Is this a drop's name, YYYY-MM-DD?"""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


@contextlib.contextmanager
def download_folder(source: Source, drop: str, settings: Settings) -> Iterator[Path]:
    """Where `source.fetch` may write: a folder that one run at a time has, and that a failed run leaves to the next."""
    if source.is_local:
        yield settings.downloads  # nothing is written
        return
    folder = settings.downloads / hashlib.sha256(f"{source.uri} {drop}".encode()).hexdigest()[:16]
    settings.downloads.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir(exist_ok=True)
        yield folder
        shutil.rmtree(folder)


class FolderSource:
    """A landing folder or object-store prefix: `<landing>/<dataset>/<YYYY-MM-DD>/...`.

    `uri` may name the landing, the dataset's folder in it, or one dated folder. Hidden and temporary files are not
    delivered yet, nor is a drop that `avlake fetch` is writing; a link counts only if it is one to a file inside `uri`.
    """

    def __init__(self, uri: str, dataset: str, settings: Settings) -> None:
        self._store = open_store(uri, setting="--source or AVLAKE_LANDING")
        self._store.reach()
        self.uri, self.is_local = self._store.uri, self._store.is_local
        if self.is_local and not Path(self._store.root).is_dir():
            raise RequestError(f"no folder {self.uri}; a source holds <dataset>/<YYYY-MM-DD>/ folders")
        self._dataset = dataset

    def drops(self) -> list[str]:
        return sorted(self._folders)

    def entries(self, drop: str) -> list[Entry]:
        folder = self._folders.get(drop)
        if folder is None:
            return []
        listed = self._walk(Path(folder)) if self.is_local else self._find(folder)
        return sorted((entry for entry in listed if _is_delivered(entry.path)), key=lambda entry: entry.path)

    def fetch(self, entry: Entry, folder: Path) -> Path:
        if self.is_local:
            return Path(entry.uri)
        target = folder / _local_name(entry)
        if not target.exists() or not entry.version:
            part = target.with_name(f"{target.name}.part")
            with self._store.explained():
                self._store.fs.get_file(self._store.path(entry.uri.removeprefix(f"{self.uri}/")), str(part))
            if entry.size_bytes not in (None, part.stat().st_size):
                raise WorkError(f"{entry.uri} changed while it was fetched; run again")
            part.replace(target)
        return target

    @cached_property
    def _folders(self) -> dict[str, str]:
        """The filesystem's path of each drop."""
        root = self._store.root.rstrip("/")
        above, _, last = root.rpartition("/")
        if is_date(last):
            return {} if last in self._under_way(above) else {last: root}
        base = f"{root}/{self._dataset}"
        try:
            with self._store.explained():
                base = base if self._store.fs.isdir(base) else root
                found = self._store.fs.ls(base, detail=True)
        except FileNotFoundError:
            return {}
        folders = {p.rpartition("/")[2]: p for i in found if i["type"] == "directory" and (p := i["name"].rstrip("/"))}
        hidden = self._under_way(base) if OURS in folders else set()
        return {n: p for n, p in folders.items() if is_date(n) and n not in hidden and self._is_inside(Path(p))}

    def _under_way(self, base: str) -> set[str]:
        """Drops of the dataset's folder that `avlake fetch` is writing, or was when it was killed."""
        try:
            with self._store.explained():
                found = self._store.fs.ls(f"{base}/{OURS}", detail=False)
        except FileNotFoundError:
            return set()
        marks = [path.rstrip("/").rpartition("/")[2] for path in found if path.endswith(UNDER_WAY)]
        for mark in marks:
            log.warning(
                "%s/%s/%s: this drop is being delivered, or was when `avlake fetch` was stopped: ignored until "
                "that is run again, or the file removed",
                base,
                OURS,
                mark,
            )
        return {mark.removesuffix(UNDER_WAY) for mark in marks}

    def _walk(self, folder: Path) -> Iterator[Entry]:
        for above, _, names in os.walk(folder):  # does not follow links to folders
            for path in (Path(above, name) for name in names):
                if path.is_file() and self._is_inside(path):
                    stat = path.stat()
                    version = f"{stat.st_size}-{stat.st_mtime_ns}"
                    yield Entry(path.relative_to(folder).as_posix(), str(path), version, stat.st_size)

    def _find(self, folder: str) -> Iterator[Entry]:
        with self._store.explained():
            listed = self._store.fs.find(folder, detail=True)
        for path, info in listed.items():
            if info["type"] == "file" and not path.endswith("/"):  # some tools write `folder/` objects
                tag = info.get("ETag") or info.get("etag") or ""
                changed = info.get("LastModified") or info.get("last_modified") or ""
                uri = f"{self.uri}/{path[len(self._store.root) + 1 :]}"
                version = tag.strip('"') or (f"{info['size']}-{changed}" if changed else "")
                yield Entry(path[len(folder) + 1 :], uri, version, info["size"])

    def _is_inside(self, path: Path) -> bool:
        if not self.is_local or path.resolve().is_relative_to(self._store.root):
            return True
        log.warning("%s is a link out of %s: ignored", path, self.uri)
        return False


class HttpIndexSource:
    """An Apache-style page of links to archives whose names carry the date of their drop.

    A link counts if it leads below the page, on the same host, and its last part is a `name`.
    """

    is_local = False

    def __init__(self, url: str, settings: Settings, *, name: re.Pattern[str], backoff_s: float = BACKOFF_S) -> None:
        """`name` matches an archive's whole name, with a group `date` (yyyymmdd)."""
        self._url, self._auth = web_url(url)
        if not self._url.path.endswith("/") and "." not in self._url.path.rpartition("/")[2]:
            self._url = self._url.copy_with(path=f"{self._url.path}/")
        self.uri = str(self._url.copy_with(query=None, fragment=None))
        self._settings, self._name, self._backoff_s = settings, name, backoff_s

    def drops(self) -> list[str]:
        return sorted(self._archives)

    def entries(self, drop: str) -> list[Entry]:
        """The server is asked for each archive's size and version; one that it no longer has is left out."""
        links = sorted(self._archives.get(drop, {}).items())
        with self._http() as http, ThreadPoolExecutor(self._settings.download_concurrency) as pool:
            answers = pool.map(http.head, [url for _, url in links])
            found = (_entry(name, url, answer) for (name, url), answer in zip(links, answers, strict=True))
            return [entry for entry in found if entry]

    def fetch(self, entry: Entry, folder: Path) -> Path:
        target = folder / _local_name(entry)
        if not entry.version:  # nothing says that it is still the same file
            for path in folder.glob(f"{target.name}*"):
                path.unlink()
        with self._http() as http:
            http.download(entry.uri, target, size=entry.size_bytes)
        return target

    @cached_property
    def _archives(self) -> dict[str, dict[str, str]]:
        """Drop → archive's name → its address."""
        with self._http() as http:
            page = _Links(http.text(str(self._url)))
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for link in page.links:
            if archive := self._archive(link):
                drop, name, url = archive
                found[drop].setdefault(name, url)
        return dict(found)

    def _archive(self, link: str) -> tuple[str, str, str] | None:
        """Drop, name and address of the archive that a link leads to, if it is to count."""
        try:
            url = self._url.join(link)
        except (httpx.InvalidURL, ValueError):
            return None
        folder, last = _split(url)
        name = unquote(last)  # may hold an encoded slash
        match = self._name.fullmatch(name)
        here = (url.scheme, url.host, url.port) == (self._url.scheme, self._url.host, self._url.port)
        below = folder.startswith(_split(self._url)[0]) and ".." not in unquote(folder).split("/")
        if not (match and here and below) or url.query or "/" in name or not _is_delivered(name):
            return None
        try:
            drop = datetime.strptime(match["date"], "%Y%m%d").date().isoformat()
        except ValueError:
            return None
        return drop, name, str(url.copy_with(userinfo=b"", fragment=None))

    def _http(self) -> Http:
        most = self._settings.download_max_mb * MIB
        return Http(max_bytes=most, auth=self._auth, backoff_s=self._backoff_s)


class _Links(HTMLParser):
    """The `href`s of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value.strip() for key, value in attrs if tag == "a" and key == "href" and value]


def _split(url: httpx.URL) -> tuple[str, str]:
    """The path as sent, up to its last slash, and the rest."""
    folder, slash, last = url.raw_path.decode().partition("?")[0].rpartition("/")
    return folder + slash, last


def _entry(name: str, url: str, response: httpx.Response) -> Entry | None:
    if response.status_code in (404, 410):
        log.warning("%s is in the index but not on the server: ignored", url)
        return None
    if not response.is_success:  # a server need not answer HEAD
        return Entry(name, url, "")
    tag, changed = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    length = response.headers.get("Content-Length")
    return Entry(name, url, tag or (f"{length or ''} {changed}" if changed else ""), int(length) if length else None)


def _local_name(entry: Entry) -> str:
    return hashlib.sha256(f"{entry.uri} {entry.version}".encode()).hexdigest()[:32]


def _is_delivered(path: str) -> bool:
    """Is this a complete file with a name that can be written down?"""
    if any(part.startswith(".") for part in path.split("/")) or path.endswith(TEMPORARY):
        return False
    if UNWRITABLE.search(path):
        log.warning("%r has characters that no table can hold: ignored; rename it to have it taken", path)
        return False
    return True
