"""Files of labels: CSV and JSON as people write them, read whole and checked before anything is believed.

A row says of one `item` (also `file`, `path` or `video_id`), or of a part of it from `start_s` to `end_s`, that `name`
is `value` (also `class`; `label` only where there is neither). Or it says several things, each in a column named like
what it is about: `outro_start_s`, `sound`. An empty field is unknown and skipped, but for one of seconds in a row whose
`kind` is `none`: there is none. The word `unknown` takes back what was said before. `source` or `batch` says where a
row came from; the columns of an export that say who and when are read as what they are, and not believed.

What is said of a face track has its `entity_id` in a column, or behind the name: `talker:<entity_id>`. Where nothing
else names the file, an entity_id as AVA's does: `<video_id>_<start>_<end>:<number>`.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from avlake.errors import RequestError
from avlake.pipelines import PIPELINES, LabelKind, Pipeline, get_pipeline
from avlake.stages.human import FORMULA, MOST_S, Said, harmless
from avlake.stages.label_rows import LONGEST_WORD, Row, Rows, rows_of, short

ITEM, VALUE, LAST_VALUE, SOURCE = ("item", "file", "path", "video_id"), ("value", "class"), "label", ("source", "batch")
SPAN = ("start_s", "end_s")
TRACK = "entity_id"
TRACK_OF = ":"  # between a kind's name and the track that it is said of
AVA_TRACK = re.compile(r"(.+)_\d+(?:\.\d+)?_\d+(?:\.\d+)?:\d+")
NONE, UNKNOWN = "none", "unknown"
OF_A_MODEL = ("confidence", "run_id")  # columns of what `avlake predict` says, and of gold.podcast_outros
SHOWN = 5  # problems of a file
LONGEST_NAME = 200  # characters of a person's
SECONDS = f"a number of seconds from 0 to {MOST_S:.0f}"


@dataclass(frozen=True)
class Read:
    """A file of labels."""

    pipeline: Pipeline
    labels: tuple[Said, ...]
    rows: int
    empty: int  # fields that say nothing
    ignored: tuple[str, ...]  # columns that are about nothing here
    sourced: bool  # does it say itself where its labels came from?


def read(file: str, pipeline: str | None = None) -> Read:
    """The labels of a file, a path or an object store's URI.

    Args:
        pipeline: whose labels they are; None: the only one that they can be of.

    Raises:
        RequestError: naming file, line and column of what is wrong, and what is allowed.
    """
    rows = rows_of(file)
    if not rows:
        raise RequestError(f"{file} has no rows of labels")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    if not {*ITEM, TRACK} & set(columns):
        raise RequestError(f"{file} has no column {', '.join(ITEM)}, which names the file; it has {', '.join(columns)}")
    if said := next((name for name in OF_A_MODEL if name in columns), None):
        raise RequestError(
            f"{file} has a column {said}: this is what a model says. Where a person has checked every row, take the "
            "column out and import it as theirs"
        )
    return _checked(file, rows, columns, _layout(file, rows, columns, _asked(file, rows, pipeline)))


def kind_of(name: str, kinds: Collection[LabelKind]) -> LabelKind | None:
    """What a label of this name is about; `talker:<entity_id>` is about a `talker`."""
    word, of, _ = name.partition(TRACK_OF)
    return next((kind for kind in kinds if kind.name == word and (kind.of_tracks or not of)), None)


@dataclass(frozen=True)
class Layout:
    """How a file says what of whose dataset: in `wide` columns, one per kind; or in the column `value`, of `kind`."""

    pipeline: Pipeline
    wide: tuple[LabelKind, ...] = ()
    value: str = ""
    kind: LabelKind | None = None  # None: as the column `name` says


def _asked(file: str, rows: Rows, pipeline: str | None) -> list[Pipeline]:
    """The pipelines that these labels may be of."""
    labelled = [p for p in PIPELINES.values() if p.labels]
    if pipeline is not None:
        if get_pipeline(pipeline) not in labelled:
            raise RequestError(f"nobody labels {pipeline}; there is {', '.join(p.name for p in labelled)}")
        labelled = [get_pipeline(pipeline)]
    said = {row["dataset"] for _, row in rows if row.get("dataset")}
    if not (fitting := [p for p in labelled if said <= {p.dataset.name}]):
        allowed = " or ".join(p.dataset.name for p in labelled)
        raise RequestError(f"{file}: its column dataset has {', '.join(sorted(said))}; it may have {allowed}")
    return fitting


def _layout(file: str, rows: Rows, columns: Collection[str], pipelines: Sequence[Pipeline]) -> Layout:
    value = next((name for name in (*VALUE, LAST_VALUE) if name in columns), "")
    wide = {p.name: tuple(kind for kind in p.labels if kind.name in columns) for p in pipelines}
    if value in VALUE and any(wide.values()):
        both = next(kind.name for kinds in wide.values() for kind in kinds)
        raise RequestError(f"{file} has the columns {value} and {both}: take one of them out, or rename it")
    found = [Layout(p, wide=wide[p.name]) for p in pipelines if wide[p.name]]
    if not found and "name" in columns and value:
        names = {row["name"] for _, row in rows if row.get("name")}
        found = [Layout(p, value=value) for p in pipelines if any(kind_of(name, p.labels) for name in names)]
    elif not found and value:
        parts = any(row.get(name) for _, row in rows for name in SPAN)
        said = {row[value] for _, row in rows if row.get(value)}
        fits = {
            (p.name, kind): sum(_meant(kind, text)[1] == "" for text in said)
            for p in pipelines
            for kind in p.labels
            if kind.of_parts == parts and kind.of_tracks == (TRACK in columns)
        }
        most = max(fits.values(), default=0)  # a slip in some rows is told of, not taken for other labels
        found = [Layout(get_pipeline(name), value=value, kind=k) for (name, k), n in fits.items() if n == most > 0]
    if len(found) == 1:
        return found[0]
    kinds = "; ".join(f"{p.name}: {', '.join(_told(kind) for kind in p.labels)}" for p in pipelines)
    if not found:
        raise RequestError(
            f"{file} says nothing that is labelled. {kinds}; name a column like it, or `name` and `value`"
        )
    of = " or ".join(f"{one.pipeline.name} ({one.kind.name})" if one.kind else one.pipeline.name for one in found)
    step = "give --pipeline" if len({one.pipeline.name for one in found}) > 1 else "add a column `name`"
    raise RequestError(f"{file} could be labels of {of}: {step}")


def _checked(file: str, rows: Rows, columns: Collection[str], layout: Layout) -> Read:
    """Every row as labels.

    Raises:
        RequestError: telling of the first that are wrong, and how many there are.
    """
    item, source = (next((name for name in names if name in columns), "") for names in (ITEM, SOURCE))
    labels: list[Said] = []
    problems: list[str] = []
    told: dict[tuple[object, ...], tuple[str, Said]] = {}
    empty = 0
    for where, row in rows:
        fields = [(kind.name, kind.name) for kind in layout.wide] or [
            (layout.kind.name if layout.kind else row.get("name", ""), layout.value)
        ]
        for name, column in fields:
            text, kind = row.get(column, ""), kind_of(name, layout.pipeline.labels)
            if not text and row.get("kind", "").lower() == NONE and kind and not (kind.values or kind.of_tracks):
                text = NONE
            if not text:
                empty += 1
                continue
            try:
                one = _label(row, item, source, kind, name, column, text)
            except _Wrong as wrong:
                problems.append(f"{where}, {wrong}")
                continue
            part = (one.item, one.name, one.start_s, one.end_s)
            # A file with times, an export, may tell a history: the last counts.
            if "when" not in columns and part in told and told[part][1].value != one.value:
                earlier = told[part]
                problems.append(f"{where}, column {column}: {text!r}, but {earlier[0]} says {earlier[1].value!r}")
                continue
            told[part] = (where, one)
            labels.append(one)
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise RequestError(f"{file}: nothing is imported. {'; '.join(problems[:SHOWN])}{more}")
    used = {item, source, layout.value, *(kind.name for kind in layout.wide), *SPAN, "kind", "dataset", "who", "when"}
    used |= {"name"} if layout.value and not layout.kind else set()
    used |= {TRACK} if any(kind.of_tracks for kind in layout.pipeline.labels) else set()
    return Read(layout.pipeline, tuple(labels), len(rows), empty, tuple(sorted(set(columns) - used)), bool(source))


class _Wrong(Exception):
    """What is wrong with one field of a row, and what is allowed."""


def _label(row: Row, item: str, source: str, kind: LabelKind | None, name: str, column: str, text: str) -> Said:
    if kind is None:
        raise _Wrong(f"column name: {name!r} is nothing that is labelled here")
    track = _track(row, name, kind)
    of_item = row.get(item, "") or _video_of(track)
    if not of_item and (item or not track):
        raise _Wrong(f"column {item or TRACK} is empty, and {column} is {text!r}")
    if not of_item:
        raise _Wrong(f"column {TRACK}: {short(track)} does not say of which video: add a column video_id")
    for each in (item, source):
        if each and (bad := harmless(row.get(each, ""))):
            raise _Wrong(f"column {each}: {bad}")
    if source and row.get(source, "").startswith(FORMULA):
        raise _Wrong(f"column {source}: {row[source]!r} would be a formula in a table; begin it with a letter")
    value, wrong = _meant(kind, text)
    if wrong:
        raise _Wrong(f"column {column}: {wrong}")
    start_s, end_s = (_span(row, name) for name in SPAN)
    if kind.of_parts and (start_s is None or end_s is None):
        raise _Wrong(f"{kind.name} is said of a part: give start_s and end_s")
    if not kind.of_parts and (start_s is not None or end_s is not None):
        raise _Wrong(f"{kind.name} is said of a whole file: leave start_s and end_s empty")
    if start_s is not None and end_s is not None and start_s >= end_s:
        raise _Wrong(f"column end_s: the part ends at {end_s:g} s, before it has begun at {start_s:g} s")
    said_of = f"{kind.name}{TRACK_OF}{track}" if track else kind.name
    return Said(of_item, said_of, value, start_s, end_s, row.get(source, ""))


def _track(row: Row, name: str, kind: LabelKind) -> str:
    """The face track that a row speaks of; empty where its kind is of no track."""
    if not kind.of_tracks:
        return ""
    behind, column = name.partition(TRACK_OF)[2], row.get(TRACK, "")
    if behind and column and behind != column:
        raise _Wrong(f"column {TRACK}: {short(column)}, but the name says {short(behind)}")
    if not (track := behind or column):
        raise _Wrong(f"{kind.name} is said of a face track: give {TRACK}")
    if bad := harmless(track):
        raise _Wrong(f"column {TRACK if column else 'name'}: {bad}")
    return track


def _video_of(track: str) -> str:
    """The video of a track named as AVA names them; empty where it is not."""
    found = AVA_TRACK.fullmatch(track)
    return found[1] if found else ""


def _span(row: Row, name: str) -> float | None:
    if not (text := row.get(name, "")):
        return None
    seconds = _seconds(text)
    if seconds is None:
        raise _Wrong(f"column {name}: {text!r} is not {SECONDS}")
    return seconds


def _meant(kind: LabelKind, text: str) -> tuple[str | None, str]:
    """A value as it is stored, and what is wrong with it where it cannot be one; empty where nothing is."""
    word = text.lower()
    if word == UNKNOWN:
        return None, ""
    if kind.of_tracks:
        return _named(kind, text)
    if not kind.values:
        seconds = _seconds(text)
        if seconds is None and word != NONE:
            return None, f"{short(text)} is not {SECONDS}, {NONE} or {UNKNOWN}"
        return (NONE if seconds is None else str(seconds).removesuffix(".0")), ""
    sets = {frozenset(value.split("+")): value for value in kind.values}
    value = sets.get(frozenset(part.strip() for part in word.split("+")))
    if value is not None:
        return value, ""
    near = difflib.get_close_matches(word[:LONGEST_WORD], [*kind.values, UNKNOWN], 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return None, f"{short(text)} is no {kind.name}: {hint}It is {', '.join(kind.values)} or {UNKNOWN}"


def _named(kind: LabelKind, text: str) -> tuple[str | None, str]:
    """A name, or a pseudonym: one person is always called the same."""
    name = unicodedata.normalize("NFC", text)
    if bad := harmless(name, LONGEST_NAME):
        return None, bad
    if name.startswith(FORMULA):
        return None, f"{short(name)} would be a formula in a table; begin it with a letter"
    if name.lower() == NONE:
        return None, f"{short(name)} is nobody: leave {kind.name} empty, or write {UNKNOWN} to take back what was said"
    return name, ""


def _seconds(text: str) -> float | None:
    """A number of seconds, to the millisecond; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    # Python reads 1_000, others do not.
    return None if not 0 <= value <= MOST_S or "_" in text or not text.isascii() else round(value, 3) + 0.0


def _told(kind: LabelKind) -> str:
    values = f"a name, of an {TRACK}" if kind.of_tracks else ", ".join(kind.values) or "seconds or none"
    return f"{kind.name} ({values})"
