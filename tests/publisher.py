"""A real web server on this machine that publishes files as AVA's do, or misbehaves where it is told to."""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Request", int], None]  # (request, how many GETs of this path came before)


@dataclass
class Publisher:
    """Files by path; `rules` answer instead; `asked` is a log of (method, path, Range)."""

    files: dict[str, bytes] = field(default_factory=dict)
    rules: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    credentials: set[str | None] = field(default_factory=set)
    etag: Callable[[bytes], str | None] = lambda data: f'"{hashlib.md5(data).hexdigest()}"'
    address: str = ""

    def gets(self, path: str) -> list[str | None]:
        """The Range of each GET of a path."""
        return [how for method, where, how in self.asked if (method, where) == ("GET", path)]


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    publisher: Publisher
    lock = threading.Lock()

    def do_GET(self) -> None:
        site, path = self.publisher, self.path.partition("?")[0]
        with self.lock:
            before = len(site.gets(path))
            site.asked.append((self.command, path, self.headers.get("Range")))
            site.credentials.add(self.headers.get("Authorization"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if path in site.rules:
                site.rules[path](self, before)
            elif path in site.files:
                self.send(site.files[path])
            else:
                self.status(404)

    do_HEAD = do_GET

    def send(self, data: bytes, *, cut: int | None = None, **headers: str) -> None:
        """The file, from where it is asked if that is still the same one; breaks off after `cut` bytes."""
        etag, start, asked = self.publisher.etag(data), 0, self.headers.get("Range")
        if asked and etag and self.headers.get("If-Range") == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        for name, value in (({"ETag": etag} if etag else {}) | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[start:cut])
        if cut is not None:
            self.close_connection = True

    def status(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def archive(files: dict[str, bytes]) -> bytes:
    """A .tar.bz2 with these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return bz2.compress(packed.getvalue())


def row(video_id: str) -> bytes:
    """A line of annotations."""
    return f"{video_id},900.0,0.1,0.1,0.3,0.5,SPEAKING_AUDIBLE,{video_id}_0900_0960:1\n".encode()


@contextlib.contextmanager
def publishing() -> Iterator[Publisher]:
    """A publisher of four films: two annotated for training, one for validation, one not at all."""
    site = Publisher()
    for split, ids in {"train": ("aaa", "bbb"), "val": ("ccc",)}.items():
        csvs = {f"ava_activespeaker_{split}_v1.0/{one}-activespeaker.csv": row(one) for one in ids}
        site.files[f"/annotations/ava_{split}.tar.bz2"] = archive(csvs)
    names = ["aaa.mkv", "bbb.mp4", "ccc.webm", "ddd.mkv"]
    site.files["/annotations/names.txt"] = "\n".join(names).encode() + b"\n"
    for k, name in enumerate(names):
        site.files[f"/trainval/{name}"] = bytes([k]) * 300_000 + name.encode()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            pass  # clients that hang up are part of the game

    handler = type("Handler", (Request,), {"publisher": site})
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
