"""What of a dataset can be fetched: which files from where, and how to tell that they are whole.

A dataset's file declares a `Remote` for each kind of files in `Dataset.remotes`; `avlake fetch` does the rest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from avlake.datasets.addresses import web_url
from avlake.datasets.notes import Note
from avlake.errors import RequestError
from avlake.settings import Settings

BLOCK = 1 << 20
HEX = r"[0-9a-fA-F]{32}|[0-9a-fA-F]{64}"
# `<hex>  name` and `<hex> *name` of md5sum and sha256sum, `MD5 (name) = <hex>` of BSD's tools, `name,<hex>` of tables.
LINES = (
    re.compile(rf"\\?(?P<digest>{HEX})\s[ *]?(?P<name>\S.*)"),
    re.compile(rf"(?:MD5|SHA256|SHA2-256) ?\((?P<name>.+)\) ?= ?(?P<digest>{HEX})"),
    re.compile(rf'"?(?P<name>[^,"]+)"?,"?(?P<digest>{HEX})"?'),
)
FILE_NAME = re.compile(r"[^/\\\x00-\x1f\x7f\ud800-\udfff]{1,200}")


@dataclass(frozen=True)
class RemoteFile:
    """One file: where it goes in the drop, and its address, which may hold credentials."""

    path: str
    url: str


class Held(Protocol):
    """What is in the drop already, and what is about to be."""

    def paths(self) -> list[str]:
        """Sorted; relative to the drop."""
        ...

    def local(self, path: str) -> AbstractContextManager[Path]:
        """That file on this machine."""
        ...


@dataclass(frozen=True)
class Asked:
    """What a remote is asked to list."""

    settings: Settings
    split: str | None
    held: Held
    others: tuple[str, ...]  # other drops in the landing
    text: Callable[[str], str]  # the text at an address
    say: Callable[[str], None]  # to the person who waits


@dataclass(frozen=True)
class Remote:
    """One kind of files that a dataset's publisher has."""

    kind: str  # as the command line names it
    doc: str
    files: Callable[[Asked], list[RemoteFile]]
    # The file or address of a list of checksums; empty where there is none, `none` where nothing is to be compared.
    checksums: Callable[[Settings], str]
    setting: str  # the variable that gives it
    splits: tuple[str, ...] = ()
    may_lack: bool = False  # the publisher has lost some of them: that is counted, and is no failure


def file_url(folder: str, name: str) -> str:
    """The address of a file in a folder of the web; the folder's query stays.

    Raises:
        RequestError: for a name that is none, or a folder that is no address.
    """
    if not FILE_NAME.fullmatch(name) or name in (".", ".."):
        raise RequestError(f"{name!r} is no file's name")
    web_url(folder)
    url = httpx.URL(folder)
    return str(url.copy_with(path=f"{url.path.rstrip('/')}/{name}", fragment=None))


def file_name(url: str) -> str:
    """The last part of an address.

    Raises:
        RequestError: if that is no file's name.
    """
    name = web_url(url)[0].path.rpartition("/")[2]
    if not FILE_NAME.fullmatch(name) or name in (".", ".."):
        raise RequestError(f"the address ends in {name!r}, which is no file's name")
    return name


def checksums(text: str, where: str) -> dict[str, str]:
    """The digests of a list, by the last part of each file's name: 32 (MD5) or 64 (SHA-256) lower-case hex digits.

    Raises:
        RequestError: naming the first line that is none.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("\ufeff")
        match = next(filter(None, (pattern.fullmatch(line) for pattern in LINES)), None)
        if match:
            name, digest = match["name"].strip().rpartition("/")[2], match["digest"].lower()
            if found.setdefault(name, digest) != digest and len(found[name]) == len(digest):
                raise RequestError(f"{where}, line {number}: another checksum of {name} than before")
            found[name] = max(found[name], digest, key=len)  # SHA-256, where both are known
        elif line and not line.startswith("#") and (number > 1 or "," not in line):
            raise RequestError(
                f"{where}, line {number}: no line of md5sum or sha256sum (`<hex>  <name>`), nor `<name>,<hex>`"
            )
    return found


def etag_md5(note: Note) -> str | None:
    """The MD5 that an ETag is on S3 and its like, unless it came in parts or is encrypted with other keys."""
    tag = note.etag.strip('"')
    return tag.lower() if re.fullmatch(r"[0-9a-fA-F]{32}", tag) and not note.encrypted else None


def digests(path: Path, algorithms: Iterable[str]) -> Mapping[str, str]:
    """Hex digests of a file, by algorithm, in one reading."""
    made = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            for digest in made.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in made.items()}
