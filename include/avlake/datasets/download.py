"""Fetching over HTTP from servers that are slow, broken or hostile.

Retried with exponential backoff and jitter: broken connections, answers that say "later" (408, 429, 5xx; Retry-After is
honoured, by all requests of a client) and files of the wrong length. Partial downloads are resumed. Only http and
https; a redirect may change the path, or http to https, but never the host; sizes are bounded while streaming. Messages
hold no user name, password or query of an address, which may be secrets.
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx

from avlake.datasets.addresses import redirected, shown
from avlake.datasets.notes import Note
from avlake.errors import WorkError

ATTEMPTS = 6
BACKOFF_S = 0.5
BACKOFF_MAX_S, RETRY_AFTER_MAX_S = 60.0, 300.0
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
CHUNK = 64 * 1024  # what a kill may lose
TEXT_MAX_BYTES = 64 << 20  # of a page, which is held in memory
REDIRECTS_MAX = 5
LATER = {408, 425, 429, 500, 502, 503, 504}
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
T = TypeVar("T")
log = logging.getLogger(__name__)


class Refused(WorkError):
    """The server answers, and not with the file: 404 and the like."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(WorkError):
    """However often it was tried: another time it may go."""


class _Again(Exception):
    """This attempt failed, the next may not."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Http:
    """A polite client of one server; every size is in bytes."""

    def __init__(
        self,
        *,
        max_bytes: int,
        auth: tuple[str, str] | None = None,
        backoff_s: float = BACKOFF_S,
        wait: Callable[[float], object] = time.sleep,
        spend: Callable[[int], object] = lambda _: None,
    ) -> None:
        """`wait` is called with seconds, `spend` with the bytes of each block that came; either may raise to stop."""
        self._max_bytes, self._backoff_s, self._wait, self._spend = max_bytes, backoff_s, wait, spend
        self._not_before = 0.0  # the server asked all of us to wait so long
        agent = {"User-Agent": f"avlake/{version('avlake')}", "Accept-Encoding": "identity"}
        self._client = httpx.Client(headers=agent, timeout=TIMEOUT, auth=auth, verify=_certificates())

    def __enter__(self) -> Http:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def head(self, url: str) -> httpx.Response:
        """Status and headers; a status that is not 2xx is the caller's to judge."""

        def attempt() -> httpx.Response:
            with self._open("HEAD", url) as response:
                return response

        return self._persist(url, attempt)

    def text(self, url: str) -> str:
        """A whole page.

        Raises:
            WorkError: if it cannot be had.
        """

        def attempt() -> str:
            with self._open("GET", url) as response:
                _expect(response, 200)
                most = min(self._max_bytes, TEXT_MAX_BYTES)
                return b"".join(self._bounded(response, 0, most)).decode(errors="replace")

        return self._persist(url, attempt)

    def download(
        self, url: str, target: Path, *, size: int | None, got: Callable[[int], object] = lambda _: None
    ) -> Note:
        """Write `target` whole or not at all; return what the server said of it.

        `<target>.part` holds what was got so far, for this run or the next, and `<target>.note` what the server said
        with the first of it: more is taken only if it confirms by a strong ETag or the date of change that the file is
        still the same one. A whole `target` with its note is not asked for again. The note stays: whoever has checked
        the file removes it.

        Args:
            size: what the file must have, where known.
            got: is called with the bytes of the file that are here.

        Raises:
            Refused, Unreachable, WorkError: if it cannot be had.
        """
        part, noted = (target.with_name(f"{target.name}{suffix}") for suffix in (".part", ".note"))
        said = Note.read(noted)
        if said is None or said.url != shown(url):
            for path in (part, target, noted):
                path.unlink(missing_ok=True)
        elif target.exists():
            got(target.stat().st_size)
            return said
        self._persist(url, lambda: self._continue(url, part, noted, size, got))
        part.replace(target)
        return Note.read(noted) or Note(shown(url))

    def _continue(self, url: str, part: Path, noted: Path, size: int | None, got: Callable[[int], object]) -> None:
        have, said = part.stat().st_size if part.exists() else 0, Note.read(noted)
        whole = said.size if said and size is None else size
        if have and have == whole:
            return
        validator = said.validator if said else None
        headers = {"Range": f"bytes={have}-", "If-Range": validator} if have and validator else {}
        with self._open("GET", url, headers) as response:
            if response.status_code == 416:
                part.unlink(missing_ok=True)
                raise _Again("the server has less than was downloaded already")
            begin = _expect(response, 200, 206) == 206
            other = validator and validator.startswith('"') and response.headers.get("ETag", validator) != validator
            if begin and (other or _first_byte(response) != have):
                part.unlink(missing_ok=True)
                raise _Again("the server sent another file's range, or another range, than the one asked for")
            if not begin:
                part.unlink(missing_ok=True)  # first: it is not what the new note is about
                have, said = 0, Note.of(response, url)
                said.write(noted)
                whole = said.size if size is None else size
            got(have)
            with part.open("ab") as file:
                for chunk in self._bounded(response, have, self._max_bytes):
                    have += file.write(chunk)
                    got(have)
        if whole is not None and have != whole:
            part.unlink()
            raise _Again(f"got {have} bytes instead of {whole}")

    @contextlib.contextmanager
    def _open(self, method: str, url: str, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
        """The answer, after redirects; its body is not read yet."""
        at = httpx.URL(url)
        for _ in range(REDIRECTS_MAX + 1):
            with self._client.stream(method, at, headers=headers) as response:
                if response.status_code in LATER:
                    raise _Again(f"{response.status_code} {response.reason_phrase}", _retry_after_s(response))
                if not response.has_redirect_location:
                    yield response
                    return
                at = redirected(at, response.headers["Location"])
        raise WorkError(f"{shown(url)}: more than {REDIRECTS_MAX} redirects")

    def _bounded(self, response: httpx.Response, have: int, most: int) -> Iterator[bytes]:
        """The body as sent (a .tgz served as `Content-Encoding: gzip` must stay packed), within the size limit."""
        _check_size(response, have + int(response.headers.get("Content-Length", 0)), most)
        for chunk in response.iter_raw(CHUNK):
            have += len(chunk)
            _check_size(response, have, most)
            self._spend(len(chunk))
            yield chunk

    def _persist(self, url: str, attempt: Callable[[], T]) -> T:
        for tried in range(1, ATTEMPTS + 1):
            try:
                if (wait_s := self._not_before - time.monotonic()) > 0:
                    self._wait(wait_s)
                return attempt()
            except (_Again, httpx.TransportError) as error:
                reason = f"{type(error).__name__} {error}" if isinstance(error, httpx.TransportError) else str(error)
                asked_s = getattr(error, "wait_s", 0.0)
                if asked_s > RETRY_AFTER_MAX_S:
                    raise Unreachable(
                        f"{shown(url)}: {reason}; the server asks to come back in {asked_s:.0f} s"
                    ) from None
                if tried == ATTEMPTS:
                    raise Unreachable(f"{shown(url)}: {reason}, {ATTEMPTS} times; try again later") from None
                self._not_before = max(self._not_before, time.monotonic() + asked_s if asked_s else 0.0)
                wait_s = min(self._backoff_s * 2 ** (tried - 1) * random.uniform(0.5, 1.5), BACKOFF_MAX_S)
                log.info("%s: %s; attempt %d in %.1f s", shown(url), reason, tried + 1, max(wait_s, asked_s))
                self._wait(wait_s)
        raise AssertionError("unreachable")


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: there is a client per file."""
    return httpx.create_ssl_context()


def _expect(response: httpx.Response, *statuses: int) -> int:
    if response.status_code not in statuses:
        said = f"the server answers {response.status_code} {response.reason_phrase}"
        raise Refused(f"{shown(response.url)}: {said}", response.status_code)
    return response.status_code


def _check_size(response: httpx.Response, size: int, most: int) -> None:
    if size > most:
        raise WorkError(f"{shown(response.url)}: larger than {most} bytes; see AVLAKE_DOWNLOAD_MAX_MB")


def _first_byte(response: httpx.Response) -> int | None:
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _retry_after_s(response: httpx.Response) -> float:
    """Seconds that the server asks to wait, given as seconds or as a date; 0 if it does not say."""
    said = response.headers.get("Retry-After", "")
    if said.isdigit():
        return float(said[:9])
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
