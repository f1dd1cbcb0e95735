"""Microsoft's token service and a managed identity's, as far as storage needs: `token_server.py PORT CERT KEY LOG`.

The tokens name tenant-1 and storage as Azurite's `--oauth basic` wants them. A request is a line of LOG, as JSON. With
`-` for CERT it speaks plain http, as a managed identity's endpoint does.
"""

from __future__ import annotations

import base64
import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def token() -> str:
    now = int(time.time())
    claims = {"aud": "https://storage.azure.com", "iss": "https://sts.windows.net/tenant-1/", "oid": "o", "sub": "s"}
    claims |= {"nbf": now - 60, "iat": now - 60, "exp": now + 3600}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return ".".join([*encoded, "unsigned"])


class Handler(BaseHTTPRequestHandler):
    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        seen = {"path": self.path, "body": body, "headers": {k.lower(): v for k, v in self.headers.items()}}
        with Path(sys.argv[4]).open("a") as log:
            log.write(json.dumps(seen) + "\n")
        if "wrong" in body:
            self.answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."})
        else:
            lasts = {"expires_in": 3600, "expires_on": str(int(time.time()) + 3600)}
            self.answer(200, {"token_type": "Bearer", "access_token": token(), "resource": "storage", **lasts})

    def answer(self, status: int, found: dict[str, object]) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_POST = handle_any


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    if sys.argv[2] != "-":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
