"""A proxy before an object store that misbehaves on purpose, as a process of its own.

none       passes everything on
deaf       drops If-None-Match: every conditional create succeeds, as on a store that ignores the header
slow-look  looks whether the name is taken and writes a moment later, as a gateway does that checks by itself
garbling   keeps other bytes than those the first writer sent
mute       passes a Delta commit on, and breaks the connection instead of answering; once
pending    says of the first copies asked about that they are not done, as Azure may
failed     says that they never will be
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@contextlib.contextmanager
def proxy(upstream: str, log: Path, *, fault: str = "none", port: int = 0) -> Iterator[str]:
    """Run one before `upstream`; yields its address. A line of `log` is a request: method, path, If-None-Match."""
    from ports import free_port  # the proxy itself, a script, does not find it

    port = port or free_port()
    parts = urlsplit(upstream)
    command = [sys.executable, __file__, str(port), parts.netloc, str(log), fault]
    with subprocess.Popen(command) as server:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}{parts.path}"
        finally:
            server.kill()


COMMIT = re.compile(r"_delta_log/\d{20}\.json")
silenced = threading.Event()
copies = iter(["pending"] * 3)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        host, log, fault = sys.argv[2:]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() != "connection"}
        condition = headers.get("if-none-match")
        with Path(log).open("a") as out:
            out.write(f"{self.command} {self.path} {condition or '-'}\n")
        if condition and fault in ("deaf", "slow-look"):
            del headers["if-none-match"]
        if condition and fault == "slow-look":
            if forward(host, "HEAD", self.path, b"", {})[0] == 200:
                self.answer(412, {}, b"<Error><Code>PreconditionFailed</Code><Message>taken</Message></Error>")
                return
            time.sleep(0.001)
        if condition and fault == "garbling":
            body += b"!"
            headers = {k: v for k, v in headers.items() if "checksum" not in k} | {"content-length": str(len(body))}
        answer = forward(host, self.command, self.path, body, headers)
        if fault == "mute" and self.command == "PUT" and COMMIT.search(self.path) and not silenced.is_set():
            silenced.set()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if "x-ms-copy-status" in answer[1] and self.command == "HEAD" and fault in ("pending", "failed"):
            answer[1]["x-ms-copy-status"] = next(copies, "success") if fault == "pending" else fault
        self.answer(*answer)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        head = self.command == "HEAD"
        self.send_header("Content-Length", headers.get("Content-Length", "0") if head else str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if head else body)

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any


def forward(
    host: str, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()


class Server(ThreadingHTTPServer):
    request_queue_size = 64


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
