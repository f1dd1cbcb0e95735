"""VGGSound: ten-second clips of YouTube videos, each labelled with one of 309 sounds.

Origin    https://www.robots.ox.ac.uk/~vgg/data/vggsound/ (Chen, Xie, Vedaldi, Zisserman 2020): 199,176 clips of as many
          videos, 10 s each, some 550 h; 183,730 of them are `train`, 15,446 `test`.
Licence   CC BY 4.0 for the annotations; the clips are YouTube's and their makers'.
Layout    vggsound.csv, no header: YouTube id, start in seconds, label, split
          <id>_<start, six digits>.<mp4 or any other video or audio>, in folders or in shards vggsound_NN.tar.gz;
          or *.parquet, whose rows have a struct {bytes, path} beside a label, see `avlake.media.parquet_archive`
Drops     the dated folder that index and shards lie in (landing).

Quirks
- The index lies beside the shards, not in them, and is about all of the drop.
- Ids begin with - or _ as with any other letter, and labels have commas: `"people eating, noisily"` is quoted.
- Videos are deleted: every copy lacks clips that the index has, and some have clips that the index has not.
- Copies of the index come with a byte order mark, Windows' ends of lines, a header, or rows twice.
- A Parquet file names its columns as it likes: label, class or sound; youtube_id, video_id or ytid, and start;
  where it has none of these, the path of a recording says what a file's name says elsewhere.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from avlake.datasets.base import BronzeFile, Dataset, Label, Source
from avlake.datasets.sources import FolderSource
from avlake.media.archives import PARQUET
from avlake.media.media_types import is_recording
from avlake.media.parquet_archive import ROWS
from avlake.settings import Settings

INDEX = "vggsound.csv"
INDEX_MAX_BYTES = 256 << 20  # more is not read, and what it says is unknown
VALUE_MAX_CHARS = 1000
CLIP = re.compile(r"([A-Za-z0-9_-]+)_(\d{6})")  # a file's stem
ID = re.compile(r"[A-Za-z0-9_-]+")
START = re.compile(r"(\d{1,6})(?:\.0*)?")
HEADER = re.compile(r"start|time|second", re.IGNORECASE)
SPLITS = ("train", "test")
IDS = ("youtube_id", "video_id", "ytid", "yt_id")
STARTS = ("start", "start_s", "start_seconds", "start_time", "start_second")
SOUNDS = ("label", "class", "sound")


class Said(NamedTuple):
    """One row of an index."""

    key: str  # the clip's stem, `<id>_<start, six digits>`; or the path of a member of a Parquet file
    youtube_id: str | None
    sound: str | None
    split: str | None
    clip: str | None = None  # the stem that a member of a Parquet file would have elsewhere


@dataclass(slots=True)
class _Entry:
    """What all rows say of one clip, and of which index it is."""

    youtube_id: str | None
    sound: str | None
    split: str | None
    index: str
    clip: str | None = None
    found: bool = False


def clip_of(path: str) -> tuple[str, int] | None:
    """YouTube id and start in seconds, as a clip's name says; None for a file that is named otherwise."""
    match = CLIP.fullmatch(_stem(path))
    return (match[1], int(match[2])) if match else None


def is_media(path: str) -> bool:
    """Is this a clip? Any recording is, however it is named."""
    return is_recording(path, "audio", "video")


def is_label_file(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name == INDEX or path.lower().endswith(f"{PARQUET}/{ROWS}")


def labels(files: Iterable[BronzeFile], read: Callable[[str], bytes]) -> Iterator[Label]:
    """Two rows for each clip: `sound`, and `index_split`; both None where no index says it, or two rows contradict.

    One more, `clip`, for a member of a Parquet file whose row says its id and start, and whose name does not. And two
    for each index: `rows_without_clip`, how many clips it has that the drop has not (rows of a Parquet file without
    bytes are such, too), and `malformed_rows`; both None for one that is too large to be read.

    Args:
        files: all of a drop, the indexes before the clips.
    """
    indexes: dict[str, tuple[BronzeFile, int | None]] = {}  # malformed rows by path
    entries: dict[str, _Entry] = {}
    for file in files:
        if is_label_file(file.path):
            indexes[file.path] = (file, _take(entries, file, read(file.sha256)))
            continue
        named, stem = clip_of(file.path), _stem(file.path)
        own, by_name = entries.get(file.path), entries.get(stem)
        for entry in (own, by_name):
            if entry:
                entry.found = True
        said = own if own and (own.sound or not by_name) else by_name
        # A clip that is named otherwise stands for itself.
        subject = (own and own.youtube_id) or (named[0] if named else stem)
        source = said.index if said else file.path
        yield Label(file.file_id, subject, "sound", said.sound if said else None, source)
        yield Label(file.file_id, subject, "index_split", said.split if said else None, source)
        if own and own.clip and not named:
            yield Label(file.file_id, subject, "clip", own.clip, own.index)
    without = dict.fromkeys(indexes, 0)
    for entry in entries.values():
        without[entry.index] += not entry.found
    for path, (file, malformed) in indexes.items():
        known = malformed is not None
        yield Label(file.file_id, None, "rows_without_clip", str(without[path]) if known else None, path)
        yield Label(file.file_id, None, "malformed_rows", str(malformed) if known else None, path)


def parse_index(data: bytes) -> Iterator[Said | None]:
    """The rows of vggsound.csv; None for one that cannot be read. A header is none.

    Lines are read one by one: a quote that is left open costs its own line.
    """
    for number, line in enumerate(io.StringIO(_decoded(data), newline=None)):
        try:
            fields = [field.strip() for field in next(csv.reader([line.rstrip("\n")], strict=True), [])]
        except csv.Error:
            yield None
            continue
        if not any(fields):
            continue
        if number == 0 and len(fields) > 1 and HEADER.search(fields[1]):
            continue
        youtube_id, start, sound, *rest = (*fields, "", "")[: max(4, len(fields))]
        if len(fields) not in (3, 4) or not (key := _key(youtube_id, start)):
            yield None
        else:
            yield Said(key, youtube_id, _value(sound), _split(rest[0]))


def parse_rows(data: bytes, archive: str) -> Iterator[Said | None]:
    """The rows of a Parquet file at the path `archive`, as its `rows.csv` has them; None for one that cannot be read.

    A row with a recording is about that member, one without is about the clip that its columns or its path name.
    """
    rows = csv.reader(io.StringIO(_decoded(data), newline=""))
    header: dict[str, int] = {}
    while True:
        try:
            fields = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield None
            continue
        if not header:
            for i, name in reversed(list(enumerate(fields))):  # of two columns of one name the first counts
                header[name.strip().lower()] = i
            continue

        def field(*names: str, of: list[str] = fields) -> str:
            found = next((header[name] for name in names if name in header), len(of))
            return of[found].strip() if found < len(of) else ""

        youtube_id, start = field(*IDS), field(*STARTS)
        whole, named = CLIP.fullmatch(youtube_id), clip_of(field("path"))
        if whole and start and _key(whole[1], start) == youtube_id:
            key = youtube_id  # an id with its start
        else:
            in_path = f"{named[0]}_{named[1]:06}" if named else ""
            key = _key(youtube_id, start) or in_path or (whole[0] if whole else "")
        who = key[:-7] or None
        if member := field("member"):
            yield Said(f"{archive}/{member}", who, _value(field(*SOUNDS)), _split(field("split")), key or None)
        elif key:
            yield Said(key, who, _value(field(*SOUNDS)), _split(field("split")))
        else:
            yield None


def _take(entries: dict[str, _Entry], index: BronzeFile, data: bytes) -> int | None:
    """Add an index's rows to the entries; returns how many cannot be read, None where it is too large to be."""
    if len(data) > INDEX_MAX_BYTES:
        return None
    name, malformed = index.path.rpartition("/")[2], 0
    rows = parse_rows(data, index.path[: -len(ROWS) - 1]) if name.lower() == ROWS else parse_index(data)
    for said in rows:
        if said is None:
            malformed += 1
        elif entry := entries.get(said.key):
            # Two that contradict each other: neither is known to be right.
            entry.sound = entry.sound if entry.sound == said.sound else None
            entry.split = entry.split if entry.split == said.split else None
        else:
            entries[said.key] = _Entry(said.youtube_id, said.sound, said.split, index.path, said.clip)
    return malformed


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _key(youtube_id: str, start: str) -> str:
    """A clip's stem; empty for what is no id or no whole number of seconds."""
    match = START.fullmatch(start)
    return f"{youtube_id}_{int(match[1]):06}" if match and ID.fullmatch(youtube_id) else ""


def _value(text: str) -> str | None:
    return " ".join(text.split())[:VALUE_MAX_CHARS] or None


def _split(text: str) -> str | None:
    return split if (split := text.strip().lower()) in SPLITS else None


def open_source(uri: str, settings: Settings) -> Source:
    """A landing folder or object-store prefix."""
    return FolderSource(uri, "vggsound", settings)


VGGSOUND = Dataset(
    name="vggsound",
    licence="CC-BY-4.0 (annotations); clips: their makers'",
    open_source=open_source,
    labels=labels,
    label_files=is_label_file,
    is_media=is_media,
    labels_whole_drop=True,
    opens_parquet=True,
)
