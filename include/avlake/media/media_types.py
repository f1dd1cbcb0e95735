"""Media types by name: a table of our own, for the system's differ from machine to machine."""

from __future__ import annotations

import re

from avlake.media.archives import is_archive

TEXT = "text/plain"
TAR = "application/x-tar"
PARQUET = "application/vnd.apache.parquet"
RECORDINGS = "application/x-parquet-of-recordings"  # a Parquet file that was opened, its rows being recordings
OPENED = {TAR: TAR, PARQUET: RECORDINGS}  # by media type of a name, that of a file which was opened for its members
BY_SUFFIX = {
    "wav": "audio/x-wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "m4b": "audio/mp4",
    "aif": "audio/aiff",
    "aiff": "audio/aiff",
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
    "parquet": PARQUET,
    "xml": "application/xml",
    "txt": TEXT,
    "md": TEXT,
}
TEXT_NAMES = re.compile(r"(readme|prompts|licen[cs]e|copying)([-_.].*)?", re.IGNORECASE)


def media_type(path: str) -> str:
    """The media type of a delivered file; `application/octet-stream` where the name does not tell."""
    name = path.rpartition("/")[2]
    if is_archive(name):
        return TAR
    known = BY_SUFFIX.get(name.rpartition(".")[2].lower()) if "." in name else None
    return known or (TEXT if TEXT_NAMES.fullmatch(name) else "application/octet-stream")


def is_recording(path: str, *kinds: str) -> bool:
    """Does the name say that it is of one of these kinds, `audio` or `video`?

    macOS lays a `._` file of its own beside each, which is none.
    """
    return media_type(path).partition("/")[0] in kinds and not path.rpartition("/")[2].startswith("._")
