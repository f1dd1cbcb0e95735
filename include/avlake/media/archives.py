"""Archives of unknown origin, read as a stream and never unpacked to disk.

Any problem condemns the whole archive: `members` and `inspect` raise `Quarantined`, and a caller that has not seen the
end of either has seen nothing it may use. The `error_class` is one of

    truncated_archive   the file ends too early          too_many_members    more headers than the limit
    malformed_archive   a bad header, checksum or CRC    archive_too_large   more bytes than the limit
    not_an_archive      no tar at all                    suspicious_ratio    far larger than it was packed
    empty_archive       no file inside                   oversized_header    a name or pax header of absurd size
    unsafe_path         absolute, `..`, `\\`, a drive,    duplicate_member    one name twice
                        control characters, no name      sparse_member       holes that unpack to anything
    link_member, device_member, unsupported_member       what no recording needs

Only the 512-byte header is parsed with the standard library's `tarfile`. Its `TarFile` takes a damaged header for the
end of the archive, reads extended headers of any size, and can be made to hang (CVE-2024-6232, CVE-2025-8194).
A zip reader would be one more function like `_tar`, chosen in `members`; recordings in the rows of a Parquet file are
read by `avlake.media.parquet_archive`.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from avlake.errors import Quarantined
from avlake.media.limits import Budget, Limits, checked_name

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
PARQUET = ".parquet"  # opened only where a data set says so
# The outermost archive that a path is or lies in, as Python and DuckDB both read it.
ARCHIVE_OF = rf"(?i)^(.*?(?:{'|'.join(map(re.escape, (*SUFFIXES, PARQUET)))}))(?:/|$)"
BLOCK = tarfile.BLOCKSIZE
CHUNK = 256 * 1024
HEADER_MAX_BYTES = 64 * 1024
REFUSED = {
    tarfile.LNKTYPE: "link_member",
    tarfile.SYMTYPE: "link_member",
    tarfile.CHRTYPE: "device_member",
    tarfile.BLKTYPE: "device_member",
    tarfile.FIFOTYPE: "device_member",
    tarfile.GNUTYPE_SPARSE: "sparse_member",
}


@dataclass(frozen=True)
class Member:
    """One file inside an archive."""

    name: str  # as delivered, less `./`
    size_bytes: int
    sha256: str


def is_archive(name: str) -> bool:
    """Is a file of this name opened as an archive?"""
    return name.lower().endswith(SUFFIXES)


def is_parquet(name: str) -> bool:
    """Is a file of this name a Parquet file, whose rows may hold recordings?"""
    return name.lower().endswith(PARQUET)


def inspect(path: Path, limits: Limits, *, name: str = "") -> list[Member]:
    """Read an archive to its very end and hash its files; none of a Parquet file whose rows hold no recordings.

    Args:
        name: as delivered, where `path` has another; it tells Parquet from tar.

    Raises:
        Quarantined: see the top of this file.
    """
    return [Member(name, size, hash_of(file)) for name, size, file in members(path, limits, name=name)]


def members(path: Path, limits: Limits, *, name: str = "") -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and contents of each file, in stored order; the contents can be read until the next is asked for.

    Args:
        name: as for `inspect`.

    Raises:
        Quarantined: see the top of this file; possibly only after the last member.
    """
    if is_parquet(name or path.name):
        from avlake.media import parquet_archive  # which needs to know what an archive is

        yield from parquet_archive.members(path, limits)
        return
    with path.open("rb") as packed:
        magic = packed.read(3)
        packed.seek(0)
        if magic.startswith(b"\x1f\x8b"):
            unpacked: IO[bytes] = gzip.GzipFile(fileobj=packed)  # type: ignore[assignment]
        else:
            unpacked = bz2.BZ2File(packed) if magic == b"BZh" else packed
        yield from _tar(_Stream(unpacked, path.stat().st_size, limits), limits)


def hash_of(file: IO[bytes]) -> str:
    """The sha256 of everything left in a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _tar(stream: _Stream, limits: Limits) -> Iterator[tuple[str, int, IO[bytes]]]:
    seen: set[str] = set()
    override: dict[str, str] = {}  # name and size that an extended header gives to the next member
    headers = 0
    while header := stream.header():
        headers += 1
        if headers > limits.max_members:
            raise Quarantined("too_many_members", f"more than {limits.max_members} members")
        if header.size < 0:
            raise Quarantined("malformed_archive", f"a member of {header.size} bytes")
        if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            override |= _pax(stream.extended(header.size))
            continue
        if header.type == tarfile.XGLTYPE:
            if _pax(stream.extended(header.size)).keys() & {"path", "size"}:
                raise Quarantined("malformed_archive", "a global header names or sizes all members alike")
            continue
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = stream.extended(header.size).split(b"\0")[0].decode(errors="surrogateescape")
            override |= {"path": text} if header.type == tarfile.GNUTYPE_LONGNAME else {}
            continue
        given = override.get("path", header.name)
        shown = repr(given[:200])
        if header.type in REFUSED:
            raise Quarantined(REFUSED[header.type], f"{shown} is not a plain file (type {header.type!r})")
        if header.isdir():
            override = {}
            continue
        if not header.isreg():
            raise Quarantined("unsupported_member", f"{shown} has the unknown type {header.type!r}")
        name, size = _safe_name(given), _number(override.get("size"), header.size)
        if name in seen:
            raise Quarantined("duplicate_member", f"{shown} is there twice")
        seen.add(name)
        member = _MemberFile(stream, size)
        yield name, size, io.BufferedReader(member, CHUNK)
        member.finish()
        override = {}
    stream.finish()
    if not seen:
        raise Quarantined("empty_archive", "no file inside")


def _pax(data: bytes) -> dict[str, str]:
    """The name and size in an extended header, records `<length> <key>=<value>\\n` (POSIX.1-2001, pax)."""
    found = {}
    while data:
        length = _number(data[:20].partition(b" ")[0].decode(errors="replace"), 0)
        record, data = data[:length], data[length:]
        key, equals, value = record.partition(b" ")[2].partition(b"=")
        if not equals or len(record) != length or not value.endswith(b"\n"):
            raise Quarantined("malformed_archive", "an extended header that cannot be read")
        if key.startswith(b"GNU.sparse."):
            raise Quarantined("sparse_member", "a sparse file")
        if key in (b"path", b"size"):
            found[key.decode()] = value[:-1].decode(errors="surrogateescape")
    return found


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Quarantined("malformed_archive", f"an extended header has {text[:20]!r} for a number")
    return int(text)


def _safe_name(given: str) -> str:
    """The name without `./`; one that is not UTF-8 is Latin-1, which old VoxForge clients wrote."""
    with contextlib.suppress(UnicodeEncodeError):
        given.encode()
        return checked_name(given)
    return checked_name(given.encode(errors="surrogateescape").decode("latin-1"))


class _Stream:
    """The unpacked bytes of an archive: exact reads, a running total, and the limits on it."""

    def __init__(self, file: IO[bytes], packed_bytes: int, limits: Limits) -> None:
        self._file, self._budget = file, Budget(packed_bytes, limits)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        try:
            data = self._file.read(size)
        except EOFError as error:
            raise Quarantined("truncated_archive", f"the file ends too early ({error})") from None
        except (zlib.error, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # the disk failed, not the archive
            raise Quarantined("malformed_archive", f"cannot be unpacked ({error})") from None
        self._budget.spend(len(data))
        return data

    def reserve(self, size: int) -> None:
        """Refuse before reading what would pass the limit."""
        self._budget.reserve(size)

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) != size:
            raise Quarantined("truncated_archive", f"ends {size - len(data)} bytes too early")
        return data

    def header(self) -> tarfile.TarInfo | None:
        """The next header, or None at the block of zeros that ends an archive."""
        first = self._budget.spent == 0
        block = self.read(BLOCK)
        if first and not block:
            raise Quarantined("not_an_archive", "the file has no bytes")
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return None
        except tarfile.HeaderError as error:
            if first:
                raise Quarantined("not_an_archive", f"no tar archive ({error})") from None
            word = "malformed_archive" if len(block) == BLOCK else "truncated_archive"
            raise Quarantined(word, f"{error} after {self._budget.spent} bytes") from None

    def extended(self, size: int) -> bytes:
        """The contents of an extended header."""
        if size > HEADER_MAX_BYTES:
            raise Quarantined("oversized_header", f"an extended header of {size} bytes")
        return self.exactly(size + -size % BLOCK)[:size]

    def finish(self) -> None:
        """Read what follows the end mark, so that the packer's own checksum is verified; it must be zeros."""
        while chunk := self.read(CHUNK):
            if any(chunk):
                raise Quarantined("malformed_archive", "data after the end of the archive")


class _MemberFile(io.RawIOBase):
    """The contents of one member."""

    def __init__(self, stream: _Stream, size: int) -> None:
        stream.reserve(size)
        self._stream, self._left, self._padding = stream, size, -size % BLOCK

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.exactly(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> None:
        """Skip what was not read, and the padding."""
        while self._left:
            self._left -= len(self._stream.exactly(min(self._left, CHUNK)))
        self._stream.exactly(self._padding)
