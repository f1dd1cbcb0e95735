"""One face for a folder, S3 and Azure: read, write whole, create only where nothing is, list, delete.

What differs between the clouds is in `avlake.clouds`, what their exceptions mean in `avlake.store_errors`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

from avlake import clouds
from avlake.clouds import AZURE_VARIABLES as AZURE_VARIABLES
from avlake.clouds import S3_VARIABLES as S3_VARIABLES
from avlake.errors import RequestError
from avlake.store_errors import explain as explain
from avlake.store_errors import is_taken


@dataclass(frozen=True)
class Store:
    """A folder, bucket prefix or container prefix. Relative names use `/` and never leave `uri`."""

    uri: str
    fs: Any = field(repr=False)
    root: str
    delta_options: dict[str, str] = field(repr=False)
    endpoint: str | None = None
    connect: Callable[[clouds.Patience], Any] | None = field(default=None, repr=False)
    setting: str = "AVLAKE_URI"  # where the URI was given, for messages

    def hasty(self) -> Store:
        """The same, for one who would rather hear at once that nobody answers."""
        return replace(self, fs=self.connect(clouds.HASTY)) if self.connect else self

    def reach(self) -> None:
        """Make sure, within seconds, that the store answers us.

        Raises:
            AvlakeError: naming the setting, if it does not, or knows no such bucket or container.
        """
        if self.connect:
            with contextlib.suppress(FileNotFoundError):
                self.hasty().read(".avlake")  # need not exist

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the store's libraries raise into one clear error; see `avlake.store_errors`."""
        try:
            yield
        except Exception as error:
            if told := explain(error, self.uri, self.endpoint, self.setting):
                raise told from None  # its cause may hold a token
            raise

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def path(self, name: str = "") -> str:
        """The filesystem's own path of a relative name."""
        if ".." in name.split("/"):
            raise RequestError(f"{name!r} leaves {self.uri}")
        return f"{self.root}/{name}" if name else self.root

    def uri_of(self, name: str) -> str:
        return f"{self.uri.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        with self.explained():
            return bool(self.fs.exists(self.path(name)))

    def open(self, name: str) -> IO[bytes]:
        """Open for reading, seekable."""
        with self.explained():
            return self.fs.open(self.path(name), "rb")

    def read(self, name: str) -> bytes:
        """The whole object.

        Raises:
            FileNotFoundError: if there is none.
        """
        with self.explained():
            # Else s3fs asks for the size first, to read in parts.
            whole = {} if self.is_local else {"max_concurrency": 1}
            return self.fs.cat_file(self.path(name), **whole)

    def write(self, name: str, data: bytes) -> None:
        """Write whole or not at all: a single PUT, or a temporary file and a rename in a folder."""
        with self.explained():
            if not self.is_local:
                self.fs.pipe_file(self.path(name), data)
                return
            with _beside(Path(self.path(name))) as temporary:
                temporary.write_bytes(data)

    def create(self, name: str, data: bytes) -> bool:
        """Write only where nothing is, in one conditional PUT (a hard link in a folder); False if something is there.

        Delta commits in the same way, so this is what makes the lake safe; see `avlake.probe`.
        """
        with self.explained():
            if self.is_local:
                Path(self.path(name)).parent.mkdir(parents=True, exist_ok=True)
            try:
                if self.is_local:
                    _link(Path(self.path(name)), data)
                else:
                    self.fs.pipe_file(self.path(name), data, mode="create")
            except Exception as error:
                if is_taken(error):
                    return False
                raise
            return True

    def upload(self, source: Path, name: str) -> None:
        """Copy a local file of any size to `name`, whole or not at all."""
        with self.explained():
            if not self.is_local:
                self.fs.put_file(str(source), self.path(name))
                return
            with _beside(Path(self.path(name))) as temporary:
                self.fs.put_file(str(source), str(temporary))

    @contextlib.contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        """A path on this machine with the bytes of one file: itself, or a temporary download."""
        if self.is_local:
            yield Path(self.path(name))
            return
        with tempfile.TemporaryDirectory(prefix="avlake-") as folder:
            target = Path(folder) / Path(name).name
            with self.explained():
                self.fs.get_file(self.path(name), str(target))
            yield target

    def list(self, name: str = "") -> list[str]:
        """Names of all files below `name`, sorted, relative to the store; empty if there is no such folder."""
        start = len(self.path().rstrip("/")) + 1
        try:
            with self.explained():
                return sorted(p[start:] for p in self.fs.find(self.path(name)))
        except FileNotFoundError:
            return []

    def delete(self, name: str) -> None:
        """Remove a file or a folder with all it holds; missing is fine. A bucket itself is never removed."""
        if not name and "/" not in self.root:
            raise RequestError(f"{self.uri} is a bucket or container of its own; name what is to be removed from it")
        try:
            with self.explained():
                self.fs.rm(self.path(name), recursive=True)
        except FileNotFoundError:
            return


def _link(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(data)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary name that becomes `path` when all went well, and leaves nothing when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def open_store(uri: str, credentials: Mapping[str, str] | None = None, setting: str = "AVLAKE_URI") -> Store:
    """Open a folder path, `file://`, `s3://bucket/prefix` or `abfs[s]://container@account.dfs.core.windows.net/prefix`.

    `setting` is where the URI was given: messages name it.

    Raises:
        RequestError: for any other kind of URI.
    """
    env = {**os.environ, **(credentials or {})}
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        root = str(Path(parts.path if parts.scheme else uri).expanduser().resolve())
        # The listings cache of fsspec would hide what another task has just written.
        return Store(root, fsspec.filesystem("file", use_listings_cache=False), root, {}, setting=setting)
    if parts.scheme not in clouds.SCHEMES:
        raise RequestError(f"{parts.scheme}://...: cannot be opened; {setting} is a folder, s3:// or abfss://")
    opened = clouds.open_cloud(parts, env, setting)
    options = {**opened.delta_options, **clouds.DELTA_PATIENCE}
    fs = opened.connect(clouds.PATIENT)
    return Store(opened.uri, fs, opened.root, options, opened.endpoint, opened.connect, setting)
