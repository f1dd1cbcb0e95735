"""Addresses on the web: which may be fetched, where their redirects may lead, and how they are shown."""

from __future__ import annotations

import logging

import httpx

from avlake.errors import RequestError, WorkError


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


def shown(url: str | httpx.URL) -> str:
    """An address for messages and records: without user name, password and query, which may be secrets."""
    return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))


def redirected(at: httpx.URL, location: str) -> httpx.URL:
    """Where a redirect leads.

    Raises:
        WorkError: if that is another host or port, or leaves https.
    """
    try:
        to = at.join(location)
    except httpx.InvalidURL:
        raise WorkError(f"{shown(at)}: redirects to an address that is none") from None
    upgrade = (at.scheme, at.port, to.scheme, to.port) == ("http", None, "https", None)
    if to.host != at.host or not (upgrade or (to.scheme, to.port) == (at.scheme, at.port)):
        raise WorkError(
            f"{shown(at)}: redirects to {to.scheme}://{to.netloc.decode()}, another place; give that address instead"
        )
    return to.copy_with(userinfo=b"")


class _Shown(logging.Filter):
    """httpx logs the address of every request, query and all, and Airflow keeps what is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(shown(one) if isinstance(one, httpx.URL) else one for one in record.args)
        return True


logging.getLogger("httpx").addFilter(_Shown())
