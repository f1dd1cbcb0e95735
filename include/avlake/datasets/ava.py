"""AVA-ActiveSpeaker: films in which faces are boxed and labelled: does this one speak, and is it heard?

Origin    https://research.google.com/ava/download.html (Roth and others 2019, arXiv:1901.01342): 3.65 million boxes,
          38.5 h of face tracks, in 15 minutes each of 262 films; annotations of 120 are `train`, of 33 `val`:
          https://research.google.com/ava/download/ava_activespeaker_train_v1.0.tar.bz2 and _val_v1.0.tar.bz2,
          videos https://s3.amazonaws.com/ava-dataset/trainval/<video_id>.<mp4, mkv or webm>.
Licence   CC BY 4.0 for the annotations; the films are their makers'.
Layout    CSVs anywhere in the drop, also in .tar.bz2: one for each video (<video_id>-activespeaker.csv) or one for all;
          video_id, frame_timestamp (s), x1, y1, x2, y2 (shares of the picture), label, entity_id; no header
          <video_id>.<mp4 or any other video>, in any folder
Drops     the dated folder that annotations and videos lie in (landing).

Quirks
- What counts is the row's video_id, not the CSV's name; the label is SPEAKING_AUDIBLE, SPEAKING_NOT_AUDIBLE or
  NOT_SPEAKING, and any other is unknown: such a face is measured, and nothing is learned from it.
- Copies come with a byte order mark, Windows' ends of lines, a header (which may then order the columns otherwise),
  quotes, and further columns behind the eight (TalkNet's have two). The same row in two CSVs is one row.
- Rows of one face and moment that contradict each other leave it unlabelled; of two boxes the first as text stays.
- AVA's CSVs of actions have eight columns, too: rows whose label and entity_id are whole numbers are of persons, not of
  faces, and none of their boxes is taken.
- Videos are deleted: a copy lacks films that are annotated. A film that no CSV names is not annotated at all.

All rows of a drop are held as text, some 80 bytes for each, beside the one CSV that is being read.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from avlake.datasets import ava_remote
from avlake.datasets.ava_summary import Summary
from avlake.datasets.base import Annotation, BronzeFile, Dataset, Label, Source
from avlake.datasets.sources import FolderSource
from avlake.media.media_types import is_recording
from avlake.settings import Settings

LABELS = ("SPEAKING_AUDIBLE", "SPEAKING_NOT_AUDIBLE", "NOT_SPEAKING")
COLUMNS = ("video_id", "frame_timestamp", "x1", "y1", "x2", "y2", "label", "entity_id")
ORDER = {name: at for at, name in enumerate(COLUMNS)}
ALSO = {"timestamp": "frame_timestamp"} | {f"entity_box_{edge}": edge for edge in ("x1", "y1", "x2", "y2")}
OF_VIDEO = ("annotated_boxes", "unknown_labels", "contradictions", "malformed_boxes")
OF_CSV = ("rows", "malformed_rows", "rows_of_actions", "videos_missing", "boxes_without_video")
OF_ACTIONS = ""  # what stands for a row that is of no face
CSV_MAX_BYTES = 512 << 20  # more is not read, and what it says is unknown
LINE_MAX_CHARS = 10_000
ID_MAX_CHARS = 200
NUMBER_MAX_CHARS = 40
NAMES_MAX = 100_000  # of videos with malformed rows: a CSV of another kind has no end of them
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# A row as nearly all are, which is read eight times as fast as by `csv`: plain ASCII ids, no quotes, plain numbers.
_ID, _NUMBER = rf"([!#-+\--~]{{1,{ID_MAX_CHARS}}})", r"-?[0-9]{1,9}(?:\.[0-9]{1,25})?"
PLAIN = re.compile(rf'{_ID},({_NUMBER}(?:,{_NUMBER}){{4}}),({"|".join(LABELS)}),{_ID}(?:,[^"\n]*)?\n?')


class Faces(NamedTuple):
    """The annotated faces of one video, and what is wrong with them."""

    lines: list[str]  # `frame_timestamp,x1,y1,x2,y2,label,entity_id`, by entity and time
    unknown_labels: int
    contradictions: int


@dataclass(slots=True)
class _Rows:
    """What all CSVs of a drop say, by video."""

    lines: dict[str, bytearray] = field(default_factory=dict)  # as of `Faces`, in the order and number they come
    named_by: dict[str, str] = field(default_factory=dict)  # the first CSV
    malformed: Counter[str] = field(default_factory=Counter)
    unread: int = 0  # CSVs

    def take(self, file: BronzeFile, data: bytes) -> tuple[int, int, int] | None:
        """Add a CSV's rows; how many it has, are malformed, are of actions, or None if it is too large to be read."""
        if len(data) > CSV_MAX_BYTES:
            self.unread += 1
            return None
        rows = malformed = actions = 0
        for video_id, line in parse(data):
            rows += 1
            if line == OF_ACTIONS:
                actions += 1
                continue
            if line is None:
                malformed += 1
                if video_id in self.malformed or len(self.malformed) < NAMES_MAX:
                    self.malformed[video_id] += 1
                continue
            held = self.lines.get(video_id)
            if held is None:
                held = self.lines[video_id] = bytearray()
                self.named_by[video_id] = file.path
            held += line.encode()
            held += b"\n"
        return rows, malformed, actions

    def faces(self, video_id: str) -> Faces:
        """The faces of one video, each once."""
        found: dict[tuple[str, float], list[str]] = {}
        for line in sorted(set(self.lines.get(video_id, b"").decode().split("\n")) - {""}):
            fields = line.split(",", 6)
            who = fields[6][1:-1].replace('""', '"') if fields[6].startswith('"') else fields[6]
            found.setdefault((who, float(fields[0])), []).append(line)
        lines, unknown, contradictions = [], 0, 0
        for _, said in sorted(found.items()):
            line, label, agree = _agreed(said)
            lines.append(line)
            contradictions += not agree
            unknown += agree and not label
        return Faces(lines, unknown, contradictions)


def is_media(path: str) -> bool:
    """Is this a video?"""
    return is_recording(path, "video")


def is_label_file(path: str) -> bool:
    """Is this a CSV of annotations? (macOS lays a `._` file of its own beside each.)"""
    return path.lower().endswith(".csv") and not path.rpartition("/")[2].startswith("._")


def annotated_boxes(files: Iterable[BronzeFile], read: Callable[[str], bytes]) -> Iterator[Annotation]:
    """For each video that a CSV names its faces: lines `frame_timestamp,x1,y1,x2,y2,label,entity_id` of CSV.

    No header; sorted by entity_id and time; numbers as delivered; the label is empty where it is unknown.

    Args:
        files: all of a drop, the CSVs before the videos.
    """
    said = _Rows()
    for file in files:
        if is_label_file(file.path):
            said.take(file, read(file.sha256))
        elif (video_id := video_of(file.path)) in said.lines:
            yield Annotation(file.file_id, "\n".join([*said.faces(video_id).lines, ""]))


def labels(files: Iterable[BronzeFile], read: Callable[[str], bytes]) -> Iterator[Label]:
    """Counts: of each video OF_VIDEO, of each CSV OF_CSV; None where it is not known, as a CSV is too large to be read.

    `videos_missing`: those the CSV is the first to name and the drop does not have; `boxes_without_video`: their boxes.

    Args:
        files: all of a drop, the CSVs before the videos.
    """
    said, csvs, there = _Rows(), dict[str, tuple[BronzeFile, tuple[int, int, int] | None]](), set[str]()
    for file in files:
        if is_label_file(file.path):
            csvs[file.path] = (file, said.take(file, read(file.sha256)))
            continue
        video_id = video_of(file.path)
        there.add(video_id)
        faces, source = said.faces(video_id), said.named_by.get(video_id, file.path)
        unknown = said.unread and not faces.lines
        values = (len(faces.lines), faces.unknown_labels, faces.contradictions, said.malformed[video_id])
        for name, value in zip(OF_VIDEO, values, strict=True):
            yield Label(file.file_id, None, name, None if unknown else str(value), source)
    missing, without = Counter[str](), Counter[str]()
    for video_id in said.lines.keys() - there:
        missing[said.named_by[video_id]] += 1
        without[said.named_by[video_id]] += len(said.faces(video_id).lines)
    for path, (file, counts) in csvs.items():
        for name, value in zip(OF_CSV, (*(counts or (0, 0, 0)), missing[path], without[path]), strict=True):
            yield Label(file.file_id, None, name, str(value) if counts else None, path)


def parse(data: bytes) -> Iterator[tuple[str, str | None]]:
    """The rows of a CSV: video_id (empty where there is none) and a line as of `Faces`; None for a malformed row.

    Lines are read one by one: a quote that is left open costs its own line. A header is no row.
    """
    order = ORDER
    for line in io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", errors="replace"):
        if order == ORDER and (match := PLAIN.fullmatch(line)):
            video_id, numbers, label, entity_id = match.groups()
            yield video_id, f"{numbers},{label},{entity_id}"
            continue
        fields = _fields(line)
        if fields is None:
            yield line[:ID_MAX_CHARS].partition(",")[0].strip(' "\ufeff\n'), None
        elif found := _header(fields):
            order = found
        elif any(fields):
            yield _line(fields, order)


def video_of(path: str) -> str:
    """The video_id of a file: its name without folders and ending."""
    return path.rpartition("/")[2].rpartition(".")[0]


def _fields(line: str) -> list[str] | None:
    """A line's fields without spaces around them; None where it is none of a CSV, or not of UTF-8."""
    if len(line) > LINE_MAX_CHARS or "\ufffd" in line:
        return None
    try:
        rows = csv.reader([line.strip("\ufeff\n")], strict=True, skipinitialspace=True)
        return [text.strip() for text in next(rows, [])]
    except csv.Error:
        return None


def _header(fields: list[str]) -> dict[str, int] | None:
    """Where the columns are, if this is a header; as usual where it does not name all of them.

    It need not name a label: predictions have none.
    """
    names = [ALSO.get(name.lower(), name.lower()) for name in fields]
    if "frame_timestamp" not in names:
        return None
    found = {name: names.index(name) for name in COLUMNS if name in names}
    return found if found.keys() >= set(COLUMNS) - {"label"} else ORDER


def _line(fields: list[str], order: dict[str, int]) -> tuple[str, str | None]:
    """A row's video_id, and the row as a line of `Faces`; None if it is malformed, OF_ACTIONS if it is of no face."""
    row = dict.fromkeys(COLUMNS, "") | {name: fields[at] for name, at in order.items() if at < len(fields)}
    video_id, *numbers, label, entity_id = row.values()
    ids = all(0 < len(name) <= ID_MAX_CHARS and name.isprintable() for name in (video_id, entity_id))
    if not ids or not all(map(_is_number, numbers)):
        return video_id[:ID_MAX_CHARS], None
    if label.isdecimal() and entity_id.isdecimal():
        return video_id, OF_ACTIONS
    said = "_".join(label.upper().replace("-", " ").split())
    quoted = '"' + entity_id.replace('"', '""') + '"' if set(entity_id) & set(',"') else entity_id
    return video_id, ",".join([*numbers, said if said in LABELS else "", quoted])


def _is_number(text: str) -> bool:
    return len(text) <= NUMBER_MAX_CHARS and bool(NUMBER.fullmatch(text)) and math.isfinite(float(text))


def _agreed(said: list[str]) -> tuple[str, str, bool]:
    """What rows of one face and moment come to: the line, its label, and whether they agree."""
    if len(said) == 1:
        return said[0], said[0].split(",", 6)[5], True
    rows = [line.split(",", 6) for line in said]
    boxes, known = {tuple(map(float, row[1:5])) for row in rows}, {row[5] for row in rows} - {""}
    agree = len(boxes) == 1 and len(known) <= 1
    label = "".join(known) if agree else ""
    return ",".join([*rows[0][:5], label, rows[0][6]]), label, agree


def open_source(uri: str, settings: Settings) -> Source:
    """A landing folder or object-store prefix."""
    return FolderSource(uri, "ava", settings)


AVA = Dataset(
    name="ava",
    licence="CC-BY-4.0 (annotations); films: their makers'",
    open_source=open_source,
    labels=labels,
    label_files=is_label_file,
    is_media=is_media,
    labels_whole_drop=True,
    annotations=annotated_boxes,
    summary=Summary,
    remotes=ava_remote.REMOTES,
)
