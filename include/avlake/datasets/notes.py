"""What is kept beside an unfinished download: what the server said of the file, so that another run can go on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from avlake.datasets.addresses import shown


@dataclass(frozen=True)
class Note:
    """What the server said of a file when it sent the first part: kept beside a download, as JSON."""

    url: str  # without its query
    etag: str = ""
    changed: str = ""  # Last-Modified
    size: int | None = None
    encrypted: bool = False  # by the store's keys: then S3's ETag is no MD5

    @classmethod
    def of(cls, response: httpx.Response, url: str) -> Note:
        said, length = response.headers, response.headers.get("Content-Length", "")
        kms = any(name.startswith("x-amz-server-side-encryption") and value != "AES256" for name, value in said.items())
        size = int(length) if length.isdigit() else None
        return cls(shown(url), said.get("ETag", ""), said.get("Last-Modified", ""), size, kms)

    @classmethod
    def read(cls, path: Path) -> Note | None:
        """None where there is none, or a kill cut it short."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @property
    def validator(self) -> str | None:
        """What If-Range may name: a strong ETag or the date (RFC 9110, 13.1.5)."""
        return self.etag if self.etag.startswith('"') else self.changed or None
