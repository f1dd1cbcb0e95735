"""Fetching over HTTP from servers that are slow, broken or hostile.

Retried with exponential backoff and jitter: broken connections, answers that say "later" (408, 429, 5xx; Retry-After is
honoured) and files of the wrong length. Partial downloads are resumed. Only http and https; a redirect may change the
path, or http to https, but never the host; sizes are bounded while streaming.
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

from avlake.errors import RequestError, WorkError

ATTEMPTS = 6
BACKOFF_S = 0.5
WAIT_MAX_S = 60.0
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
CHUNK = 256 * 1024
REDIRECTS_MAX = 5
LATER = {408, 425, 429, 500, 502, 503, 504}
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
T = TypeVar("T")
log = logging.getLogger(__name__)


class _Again(Exception):
    """This attempt failed, the next may not."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Http:
    """A polite client of one server; every size is in bytes."""

    def __init__(self, *, max_bytes: int, auth: tuple[str, str] | None = None, backoff_s: float = BACKOFF_S) -> None:
        self._max_bytes, self._backoff_s = max_bytes, backoff_s
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
                return b"".join(self._bounded(response, 0)).decode(errors="replace")

        return self._persist(url, attempt)

    def download(self, url: str, target: Path, *, size: int | None, validator: str | None) -> None:
        """Write `target` whole or not at all; `<target>.part` holds what was got so far, for this run or the next.

        Args:
            size: what the file must have, where known.
            validator: a strong ETag or a Last-Modified date: a partial download is resumed only if the server confirms
                that the file is still the same one.

        Raises:
            WorkError: if it cannot be had.
        """
        part = target.with_name(f"{target.name}.part")
        if validator is None:
            part.unlink(missing_ok=True)
        self._persist(url, lambda: self._continue(url, part, size, validator))
        part.replace(target)

    def _continue(self, url: str, part: Path, size: int | None, validator: str | None) -> None:
        have = part.stat().st_size if part.exists() else 0
        if have and have == size:
            return
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
            done = have if begin else 0
            with part.open("ab" if begin else "wb") as file:
                for chunk in self._bounded(response, done):
                    done += file.write(chunk)
        if size is not None and done != size:
            part.unlink()
            raise _Again(f"got {done} bytes instead of {size}")

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
                at = _redirected(at, response.headers["Location"])
        raise WorkError(f"{url}: more than {REDIRECTS_MAX} redirects")

    def _bounded(self, response: httpx.Response, have: int) -> Iterator[bytes]:
        """The body as sent (a .tgz served as `Content-Encoding: gzip` must stay packed), within the size limit."""
        self._check_size(response, have + int(response.headers.get("Content-Length", 0)))
        for chunk in response.iter_raw(CHUNK):
            have += len(chunk)
            self._check_size(response, have)
            yield chunk

    def _check_size(self, response: httpx.Response, size: int) -> None:
        if size > self._max_bytes:
            raise WorkError(f"{response.url}: larger than {self._max_bytes} bytes; see AVLAKE_DOWNLOAD_MAX_MB")

    def _persist(self, url: str, attempt: Callable[[], T]) -> T:
        for tried in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except (_Again, httpx.TransportError) as error:
                reason = f"{type(error).__name__} {error}" if isinstance(error, httpx.TransportError) else str(error)
                if tried == ATTEMPTS:
                    raise WorkError(f"{url}: {reason}, {ATTEMPTS} times; try again later") from None
                backoff_s = self._backoff_s * 2 ** (tried - 1) * random.uniform(0.5, 1.5)
                wait_s = min(max(backoff_s, getattr(error, "wait_s", 0.0)), WAIT_MAX_S)
                log.info("%s: %s; attempt %d in %.1f s", url, reason, tried + 1, wait_s)
                time.sleep(wait_s)
        raise AssertionError("unreachable")


def web_url(text: str) -> tuple[httpx.URL, tuple[str, str] | None]:
    """An address without its user name and password, and those.

    Raises:
        RequestError: if it is not http or https.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise RequestError(f"not an address ({error})") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise RequestError(f"{url.host or 'no host'}: only http:// and https:// addresses can be fetched")
    return url.copy_with(userinfo=b""), (url.username, url.password) if url.userinfo else None


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: there is a client per file."""
    return httpx.create_ssl_context()


def _expect(response: httpx.Response, *statuses: int) -> int:
    if response.status_code not in statuses:
        raise WorkError(f"{response.url}: the server answers {response.status_code} {response.reason_phrase}")
    return response.status_code


def _first_byte(response: httpx.Response) -> int | None:
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _redirected(at: httpx.URL, location: str) -> httpx.URL:
    """Where a redirect leads.

    Raises:
        WorkError: if that is another host or port, or leaves https.
    """
    try:
        to = at.join(location)
    except httpx.InvalidURL:
        raise WorkError(f"{at}: redirects to an address that is none") from None
    upgrade = (at.scheme, at.port, to.scheme, to.port) == ("http", None, "https", None)
    if to.host != at.host or not (upgrade or (to.scheme, to.port) == (at.scheme, at.port)):
        raise WorkError(
            f"{at}: redirects to {to.scheme}://{to.netloc.decode()}, another place; give that address instead"
        )
    return to.copy_with(userinfo=b"")


def _retry_after_s(response: httpx.Response) -> float:
    """Seconds that the server asks to wait, given as seconds or as a date; 0 if it does not say."""
    said = response.headers.get("Retry-After", "")
    if said.isdigit():
        return float(said[:9])
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
