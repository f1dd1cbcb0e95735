"""An HTTP index as a source, served by a real server that misbehaves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from avlake.datasets.base import Entry
from avlake.datasets.sources import HttpIndexSource
from avlake.datasets.voxforge import ARCHIVE_NAME
from avlake.errors import RequestError, WorkError
from avlake.settings import load_settings

NAME = "ann-20260901-abc.tgz"
DATA = bytes(range(256)) * 8000  # 2 MB
ETAG = f'"{hashlib.sha256(DATA).hexdigest()[:8]}"'
Answer = Callable[[BaseHTTPRequestHandler, int], None]  # (request, how many times this was asked before)


@dataclass
class Site:
    """A server whose pages are functions; `asked` is a log of (method, path, Range)."""

    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    agents: set[str | None] = field(default_factory=set)
    address: str = ""
    together: int = 0
    most_together: int = 0

    def index(self, *links: str) -> None:
        self.pages["/dir/"] = send("".join(f'<tr><td><a href="{x}">{x}</a></td></tr>' for x in links).encode())

    def gets(self, path: str) -> list[str | None]:
        return [asked[2] for asked in self.asked if asked[:2] == ("GET", path)]


def send(data: bytes, *, etag: str | None = ETAG, ranges: bool = True, status: int = 200, **headers: str) -> Answer:
    """An honest page."""

    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        start, code = 0, status
        asked = request.headers.get("Range")
        if ranges and asked and request.headers.get("If-Range") == etag:
            start, code = int(asked.removeprefix("bytes=").rstrip("-")), 206
        if code == 206 and start >= len(data):
            code, start = 416, len(data)
        request.send_response(code)
        if code == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for name, value in (
            ({"ETag": etag} if etag else {}) | headers | {"Content-Length": str(len(data) - start)}
        ).items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(data[start:])

    return answer


def gone(status: int, **headers: str) -> Answer:
    return send(b"", etag=None, status=status, **headers)


def at_first(times: int, bad: Answer, then: Answer) -> Answer:
    """`bad` for the first GETs, `then` after."""

    def answer(request: BaseHTTPRequestHandler, before: int) -> None:
        (bad if request.command == "GET" and before < times else then)(request, before)

    return answer


def cut(data: bytes, at: int, **headers: str) -> Answer:
    """Promises all and breaks the connection after a part."""

    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {"ETag": ETAG}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data[:at])
        request.close_connection = True

    return answer


@pytest.fixture
def site() -> Iterator[Site]:
    it = Site()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with lock:
                before = sum(a[:2] == (self.command, self.path) for a in it.asked)
                it.asked.append((self.command, self.path, self.headers.get("Range")))
                it.agents.add(self.headers.get("User-Agent"))
                it.together += 1
                it.most_together = max(it.most_together, it.together)
            try:
                it.pages.get(self.path, gone(404))(self, before)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with lock:
                    it.together -= 1

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # clients that hang up are part of the game

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    it.address = f"http://127.0.0.1:{server.server_port}"
    it.index(NAME)
    it.pages[f"/dir/{NAME}"] = send(DATA)
    yield it
    server.shutdown()
    server.server_close()


def opened(site: Site, **settings: object) -> HttpIndexSource:
    return HttpIndexSource(f"{site.address}/dir/", load_settings(**settings), name=ARCHIVE_NAME, backoff_s=0.001)


def fetched(site: Site, folder: Path, **settings: object) -> bytes:
    source = opened(site, **settings)
    (entry,) = source.entries("2026-09-01")
    return source.fetch(entry, folder).read_bytes()


def test_an_index_becomes_drops_and_entries(site: Site) -> None:
    site.index(
        "?C=M;O=A",
        "/",
        "b-user-20260902-xyz.tgz",
        "a-20260902-xyz.tgz",
        "a-20260902-xyz.tgz",
        NAME,
        "x-20261341-abc.tgz",
        "a.txt",
    )
    for name in ("a-20260902-xyz.tgz", "b-user-20260902-xyz.tgz"):
        site.pages[f"/dir/{name}"] = send(b"12345")
    source = opened(site)
    assert source.drops() == ["2026-09-01", "2026-09-02"]
    assert [e.path for e in source.entries("2026-09-02")] == ["a-20260902-xyz.tgz", "b-user-20260902-xyz.tgz"]
    uri = f"{site.address}/dir/{NAME}"
    assert source.entries("2026-09-01") == [Entry(NAME, uri, ETAG, len(DATA))]
    assert source.entries("2031-01-01") == []
    assert all(agent and agent.startswith("avlake/") for agent in site.agents)


@pytest.mark.parametrize(
    "link",
    [
        f"http://example.com/dir/{NAME}",
        f"//example.com/dir/{NAME}",
        f"https://127.0.0.1/dir/{NAME}",
        f"ftp://127.0.0.1/dir/{NAME}",
        f"file:///dir/{NAME}",
        f"../{NAME}",
        f"/other/{NAME}",
        f"/dir/../other/{NAME}",
        "..%2f..%2fetc%2fx-20260901-abc.tgz",
        f"%2e%2e/other/{NAME}",
        "%00x-20260901-abc.tgz",
        ".hidden-20260901-abc.tgz",
        "http://[bad/x-20260901-abc.tgz",
        "javascript:alert(1)//x-20260901-abc.tgz",
        f"{NAME}?token=1",
    ],
)
def test_a_link_that_leads_elsewhere_is_ignored(site: Site, link: str) -> None:
    site.index(link)
    assert opened(site).drops() == []


def test_absolute_links_below_the_index_count_by_their_last_part(site: Site) -> None:
    site.index(f"{site.address}/dir/sub/{NAME}")
    site.pages[f"/dir/sub/{NAME}"] = send(DATA)
    assert [e.path for e in opened(site).entries("2026-09-01")] == [NAME]


def test_an_archive_that_the_server_no_longer_has_is_left_out(site: Site) -> None:
    del site.pages[f"/dir/{NAME}"]
    assert opened(site).entries("2026-09-01") == []


def test_a_server_that_does_not_answer_head_gives_no_version(site: Site, tmp_path: Path) -> None:
    honest = site.pages[f"/dir/{NAME}"]
    site.pages[f"/dir/{NAME}"] = lambda r, n: (gone(405) if r.command == "HEAD" else honest)(r, n)
    (entry,) = opened(site).entries("2026-09-01")
    assert (entry.version, entry.size_bytes) == ("", None)
    assert opened(site).fetch(entry, tmp_path).read_bytes() == DATA


def test_a_file_is_fetched_once_under_a_version(site: Site, tmp_path: Path) -> None:
    assert fetched(site, tmp_path) == fetched(site, tmp_path) == DATA
    assert len(site.gets(f"/dir/{NAME}")) == 1
    assert len([path for path in tmp_path.iterdir() if path.suffix != ".note"]) == 1


def test_a_broken_connection_is_resumed(site: Site, tmp_path: Path) -> None:
    site.pages[f"/dir/{NAME}"] = at_first(1, cut(DATA, 1_500_000), send(DATA))
    assert fetched(site, tmp_path) == DATA
    first, second = site.gets(f"/dir/{NAME}")
    assert first is None and second is not None and second.startswith("bytes=") and second != "bytes=0-"


def test_a_later_run_resumes_what_a_killed_one_left(site: Site, tmp_path: Path) -> None:
    site.pages[f"/dir/{NAME}"] = at_first(6, cut(DATA, 1_000_000), send(DATA))
    with pytest.raises(WorkError, match="6 times"):
        fetched(site, tmp_path)
    (part,) = tmp_path.glob("*.part")
    have = part.stat().st_size
    assert 0 < have < len(DATA)
    assert fetched(site, tmp_path) == DATA
    assert site.gets(f"/dir/{NAME}")[-1] == f"bytes={have}-"


def test_a_server_that_ignores_ranges_starts_again(site: Site, tmp_path: Path) -> None:
    site.pages[f"/dir/{NAME}"] = at_first(1, cut(DATA, 1_500_000), send(DATA, ranges=False))
    assert fetched(site, tmp_path) == DATA


def test_a_file_that_changed_meanwhile_is_not_stitched_together(site: Site, tmp_path: Path) -> None:
    other = bytes(len(DATA))
    site.pages[f"/dir/{NAME}"] = at_first(1, cut(DATA, 1_500_000), send(other, etag='"other"'))
    source = opened(site)
    entry = Entry(NAME, f"{site.address}/dir/{NAME}", ETAG, len(DATA))
    assert source.fetch(entry, tmp_path).read_bytes() == other


def test_a_wrong_range_is_not_appended(site: Site, tmp_path: Path) -> None:
    lie = send(DATA, ranges=False, status=206, **{"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"})
    site.pages[f"/dir/{NAME}"] = at_first(2, at_first(1, cut(DATA, 1_500_000), lie), send(DATA))
    assert fetched(site, tmp_path) == DATA


def test_a_range_of_another_file_is_not_appended(site: Site, tmp_path: Path) -> None:
    def careless(request: BaseHTTPRequestHandler, before: int) -> None:
        if request.command == "GET" and before == 0:
            return cut(DATA, 1_500_000)(request, before)
        request.headers.replace_header("If-Range", '"new"') if "If-Range" in request.headers else None
        return send(bytes(len(DATA)), etag='"new"')(request, before)

    site.pages[f"/dir/{NAME}"] = careless
    entry = Entry(NAME, f"{site.address}/dir/{NAME}", ETAG, len(DATA))
    assert opened(site).fetch(entry, tmp_path).read_bytes() == bytes(len(DATA))


def test_a_range_refused_starts_again(site: Site, tmp_path: Path) -> None:
    site.pages[f"/dir/{NAME}"] = at_first(2, at_first(1, cut(DATA, 1_500_000), gone(416)), send(DATA))
    assert fetched(site, tmp_path) == DATA
    assert site.gets(f"/dir/{NAME}")[-1] is None


def test_without_an_etag_the_date_of_change_confirms_a_range(site: Site, tmp_path: Path) -> None:
    date = "Tue, 01 Sep 2026 10:00:00 GMT"

    def dated(request: BaseHTTPRequestHandler, before: int) -> None:
        if request.command == "GET" and before == 0:
            return cut(DATA, 1_500_000, **{"Last-Modified": date})(request, before)
        if request.headers.get("If-Range") not in (None, date):
            return gone(500)(request, before)
        honest = send(DATA, etag=request.headers.get("If-Range"), **{"Last-Modified": date})
        return honest(request, before)

    site.pages[f"/dir/{NAME}"] = dated
    assert fetched(site, tmp_path) == DATA
    assert site.gets(f"/dir/{NAME}")[-1] not in (None, "bytes=0-")


def test_busy_servers_are_asked_again(site: Site, tmp_path: Path) -> None:
    site.pages[f"/dir/{NAME}"] = at_first(2, gone(503, **{"Retry-After": "0"}), send(DATA))
    assert fetched(site, tmp_path) == DATA


@pytest.mark.parametrize("when", ["1", "Fri, 31 Dec 1999 23:59:59 GMT", "soon"])
def test_retry_after_is_honoured_in_every_form(site: Site, tmp_path: Path, when: str) -> None:
    site.pages[f"/dir/{NAME}"] = at_first(1, gone(429, **{"Retry-After": when}), send(DATA))
    assert fetched(site, tmp_path) == DATA


@pytest.mark.parametrize("promised", [len(DATA) - 100, len(DATA) + 100])
def test_a_server_that_lies_about_the_size_is_not_believed(site: Site, tmp_path: Path, promised: int) -> None:
    honest = site.pages[f"/dir/{NAME}"]
    lie = send(bytes(promised))
    site.pages[f"/dir/{NAME}"] = lambda r, n: (lie if r.command == "HEAD" else honest)(r, n)
    with pytest.raises(WorkError, match=f"instead of {promised}"):
        fetched(site, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".part", ".note")]


def test_a_missing_file_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    (entry,) = opened(site).entries("2026-09-01")
    del site.pages[f"/dir/{NAME}"]
    with pytest.raises(WorkError, match="404"):
        opened(site).fetch(entry, tmp_path)
    assert len(site.gets(f"/dir/{NAME}")) == 1


def test_an_endless_body_ends_at_the_limit(site: Site, tmp_path: Path) -> None:
    def endless(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response(200)
        request.send_header("ETag", ETAG)
        request.end_headers()
        request.close_connection = True
        while request.command == "GET":
            request.wfile.write(bytes(1 << 16))

    site.pages[f"/dir/{NAME}"] = endless
    with pytest.raises(WorkError, match="larger than"):
        fetched(site, tmp_path, download_max_mb=1)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.part")) <= 1 << 20


def test_a_body_too_large_by_its_own_word_is_not_begun(site: Site, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="larger than"):
        fetched(site, tmp_path, download_max_mb=1)
    assert all(path.stat().st_size == 0 for path in tmp_path.iterdir() if path.suffix != ".note")


def test_a_tgz_that_claims_an_encoding_stays_packed(site: Site, tmp_path: Path) -> None:
    site.pages[f"/dir/{NAME}"] = send(DATA, **{"Content-Encoding": "gzip"})
    assert fetched(site, tmp_path) == DATA


def test_a_redirect_on_the_same_host_is_followed(site: Site, tmp_path: Path) -> None:
    site.pages[f"/dir/{NAME}"] = gone(302, Location="/moved/x")
    site.pages["/moved/x"] = send(DATA)
    assert fetched(site, tmp_path) == DATA


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:1/x", "http://localhost/x", "http://example.com/x", "ftp://127.0.0.1/x", "http://[x"]
)
def test_a_redirect_to_another_place_is_refused(site: Site, tmp_path: Path, location: str) -> None:
    (entry,) = opened(site).entries("2026-09-01")
    site.pages[f"/dir/{NAME}"] = gone(302, Location=location)
    with pytest.raises(WorkError, match="redirects to"):
        opened(site).fetch(entry, tmp_path)
    assert not list(tmp_path.iterdir())


def test_redirects_in_a_circle_end(site: Site) -> None:
    site.pages["/dir/"] = gone(301, Location="/dir/")
    with pytest.raises(WorkError, match="redirects"):
        opened(site).drops()


def test_a_server_that_is_not_there_is_said_so() -> None:
    source = HttpIndexSource("http://127.0.0.1:1/dir/", load_settings(), name=ARCHIVE_NAME, backoff_s=0.001)
    with pytest.raises(WorkError, match=r"127\.0\.0\.1:1.*6 times"):
        source.drops()


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "file:///etc/", "http:///x", "http://x:port/"])
def test_only_http_and_https(url: str) -> None:
    with pytest.raises(RequestError):
        HttpIndexSource(url, load_settings(), name=ARCHIVE_NAME)


def test_a_password_is_used_and_never_shown(site: Site) -> None:
    seen: list[str | None] = []
    page = site.pages["/dir/"]
    site.pages["/dir/"] = lambda r, n: (seen.append(r.headers.get("Authorization")), page(r, n))[1]
    url = site.address.replace("http://", "http://ann:secret@")
    source = HttpIndexSource(f"{url}/dir?token=hush", load_settings(), name=ARCHIVE_NAME)
    site.pages["/dir/?token=hush"] = site.pages["/dir/"]
    (entry,) = source.entries("2026-09-01")
    assert seen[0] and seen[0].startswith("Basic ")
    assert "secret" not in source.uri + entry.uri and "hush" not in source.uri + entry.uri


def test_entries_can_be_fetched_at_the_same_time(site: Site, tmp_path: Path) -> None:
    names = [f"user{k}-20260901-abc.tgz" for k in range(12)]
    site.index(*names)
    gate = threading.Barrier(3, timeout=20)

    def together(request: BaseHTTPRequestHandler, before: int) -> None:
        if request.command == "GET":
            gate.wait()  # passes only if three are asked for at once
        send(request.path.encode(), etag=None)(request, before)

    site.pages |= {f"/dir/{name}": together for name in names}
    source = opened(site, download_concurrency=3)
    with ThreadPoolExecutor(3) as pool:
        paths = pool.map(lambda entry: source.fetch(entry, tmp_path), source.entries("2026-09-01"))
        assert [path.read_bytes() for path in paths] == [f"/dir/{name}".encode() for name in sorted(names)]
    assert site.most_together <= 3
