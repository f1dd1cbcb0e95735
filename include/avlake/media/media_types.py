"""Media types by name: a table of our own, for the system's differ from machine to machine."""

from __future__ import annotations

import re

from avlake.media.archives import is_archive

TEXT = "text/plain"
BY_SUFFIX = {
    "wav": "audio/x-wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "mpg": "video/mpeg",
    "mpeg": "video/mpeg",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "avi": "video/x-msvideo",
    "mov": "video/quicktime",
    "mpe": "video/mpeg",
    "m2v": "video/mpeg",
    "vob": "video/mpeg",
    "ts": "video/mp2t",
    "mts": "video/mp2t",
    "m2ts": "video/mp2t",
    "3gp": "video/3gpp",
    "wmv": "video/x-ms-wmv",
    "asf": "video/x-ms-asf",
    "flv": "video/x-flv",
    "f4v": "video/mp4",
    "ogv": "video/ogg",
    "ogm": "video/ogg",
    "mxf": "video/mxf",
    "divx": "video/x-msvideo",
    "rm": "video/x-pn-realvideo",
    "rmvb": "video/x-pn-realvideo",
    "jpg": "image/jpeg",
    "png": "image/png",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "xml": "application/xml",
    "txt": TEXT,
    "md": TEXT,
}
TEXT_NAMES = re.compile(r"(readme|prompts|licen[cs]e|copying)([-_.].*)?", re.IGNORECASE)


def media_type(path: str) -> str:
    """The media type of a delivered file; `application/octet-stream` where the name does not tell."""
    name = path.rpartition("/")[2]
    if is_archive(name):
        return "application/x-tar"
    known = BY_SUFFIX.get(name.rpartition(".")[2].lower()) if "." in name else None
    return known or (TEXT if TEXT_NAMES.fullmatch(name) else "application/octet-stream")
