"""moto's S3 server, one write at a time: moto looks for a key and then writes it, and a racing thread may come between.

    python tests/s3_server.py -H 127.0.0.1 -p PORT

The lake stands on a store whose conditional puts are atomic; on moto alone two racing commits win now and then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from moto import server

WRITES = ("PUT", "POST", "DELETE")


writing = threading.Lock()


class OneWriter(server.DomainDispatcherApplication):
    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in WRITES:
            return super().__call__(environ, start_response)
        with writing:
            return super().__call__(environ, start_response)


if __name__ == "__main__":
    server.DomainDispatcherApplication = OneWriter
    server.main()
