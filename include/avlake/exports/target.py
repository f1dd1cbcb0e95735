"""Where an export goes: built aside, then put in its place whole or not at all.

A file replaces a file. A folder replaces nothing but an empty folder or an export of the same format, which its
`export.json` tells. In an object store that file is removed first and written last: without it there is no export.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from avlake.errors import RequestError
from avlake.storage import Store, open_store
from avlake.store_errors import explained

MANIFEST = "export.json"


@dataclass(frozen=True)
class Place:
    """Where to write: the file or folder that becomes the export, and a folder for what is needed meanwhile."""

    path: Path
    scratch: Path


@contextmanager
def place(to: str, form: str, *, folder: bool) -> Iterator[Place]:
    """A place to write to, which becomes `to` unless an exception leaves the block.

    Raises:
        RequestError: if `to` is taken by something else, or its folder does not exist or cannot be written.
        WorkError: when the disk is full.
    """
    remote = "://" in to and not to.startswith("file://")
    final = Path(to.removeprefix("file://")).expanduser().absolute()
    if not remote and not final.parent.is_dir():
        raise RequestError(f"there is no folder {final.parent}; create it first")
    name = "" if folder else final.name
    store = open_store(to.removesuffix(name), setting="--to") if remote else None
    _check(to, store or final, form, folder=folder)
    # On the same disk where it can be, so that a rename puts it in its place.
    near = Path(tempfile.gettempdir()) if remote else final.parent
    with (
        explained(str(near), "TMPDIR" if remote else "--to"),
        tempfile.TemporaryDirectory(prefix=".avlake-export-", dir=near) as aside,
    ):
        built = Place(Path(aside) / "export", Path(aside) / "scratch")
        built.scratch.mkdir()
        if folder:
            built.path.mkdir()
        yield built
        _check(to, store or final, form, folder=folder)
        if store and folder:
            _upload(built.path, store)
        elif store:
            store.upload(built.path, name)
        elif folder:
            _swap(built.path, final)
        else:
            built.path.replace(final)


def _check(to: str, final: Store | Path, form: str, *, folder: bool) -> None:
    """Refuse what is there and must not be replaced."""
    if not folder:
        if isinstance(final, Path) and final.is_dir():
            raise RequestError(f"{to} is a folder; {form} is written to a file: name it")
        return
    if isinstance(final, Store):
        taken = bool(final.list()) and not _is_export(final, form)
    elif final.is_dir():
        taken = any(final.iterdir()) and not _is_export(open_store(str(final)), form)
    else:
        taken = final.exists() or final.is_symlink()
    if taken:
        raise RequestError(f"{to} is there and is no {form} export of avlake; name another --to, or remove it")


def _is_export(store: Store, form: str) -> bool:
    try:
        found = json.loads(store.read(MANIFEST))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == form and "avlake" in found


def _swap(built: Path, final: Path) -> None:
    old = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
    if final.exists():
        final.rename(old)
    try:
        built.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _upload(built: Path, store: Store) -> None:
    before = set(store.list())
    if MANIFEST in before:
        store.delete(MANIFEST)
    names = [path.relative_to(built).as_posix() for path in sorted(built.rglob("*")) if path.is_file()]
    for name in sorted(names, key=lambda name: (name == MANIFEST, name)):
        if name == MANIFEST:
            for stale in before.difference(names):
                store.delete(stale)
        store.upload(built / name, name)
