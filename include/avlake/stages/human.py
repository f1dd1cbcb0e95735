"""What people say of recordings: an append-only table, `labels.human`, and the one reading of it that gold uses.

A submission, be it an imported file or one answer on a page, is first one object of JSON lines in `labels/inbox`: one
PUT, so it is there whole or not at all, and any number of people and machines may make one at once. `fold` takes what
lies there of a dataset into the table, exactly once: each label has an id of its own, the ids that the table has are
not appended again, and two that fold at the same time name their commits alike, so that one of them starts over and
sees the other's. An object is removed only once its labels are committed.

Labels name files as people do: `show` finds the files, and says what counts.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from avlake.datasets.base import Dataset
from avlake.lake import Lake
from avlake.stages import bounded
from avlake.stages.takedowns import Excluded
from avlake.tables import BRONZE_FILES, HUMAN_LABELS

INBOX = "labels/inbox"
SUBMISSION = re.compile(rf"{INBOX}/\d{{8}}T\d{{12}}Z-[0-9a-f]{{16}}\.jsonl")
BEING_WRITTEN = ".tmp"  # in a folder a submission has this ending until it is whole
AT_ONCE = 16  # requests to the store
ROWS_AT_ONCE = 200_000  # to a commit
LONGEST = 1_024  # characters of a text
MOST_S = 1e6  # of a recording; more is milliseconds that were taken for seconds
# Control characters and halves of characters; and what shows another text than there is, by turning its direction or
# ending a line where nobody expects it.
HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
FORMULA = ("=", "+", "-", "@")
log = logging.getLogger(__name__)

# How a person may name a file: the better ways first. A name that means several files means none.
NAMED = """
CREATE TABLE human_meant AS  -- first, or DuckDB would ask of every file whether it is media
WITH files AS (
    SELECT DISTINCT file_id, path, nfc_normalize(path) AS item, nfc_normalize(split_part(path, '/', -1)) AS name
    FROM labelled_files WHERE dataset = '{dataset}'
), ways AS (
    SELECT file_id, path, item, 1 AS way FROM files
    UNION ALL SELECT file_id, path, name, 2 FROM files
    UNION ALL SELECT file_id, path, regexp_replace(name, '(.)\\.[^.]*$', '\\1'), 3 FROM files
)
SELECT * FROM ways SEMI JOIN labelled_items USING (item)
UNION ALL
SELECT * FROM (SELECT * REPLACE ('{dataset}/' || item AS item, way + 0.5 AS way) FROM ways)
    SEMI JOIN labelled_items USING (item);
CREATE TABLE human_items AS
SELECT item, CASE WHEN count(DISTINCT file_id) = 1 THEN any_value(file_id) END AS file_id
FROM human_meant WHERE is_labelled_media(path)
GROUP BY item, way QUALIFY row_number() OVER (PARTITION BY item ORDER BY way) = 1
"""
COUNTED = """
CREATE VIEW human_labels AS
SELECT file_id, name, start_s, end_s, value, who, "when", source FROM (
    SELECT file_id, label_id, name, start_s, end_s, value, who, "when", source
    FROM labels.human AS l JOIN human_items AS n USING (item) ANTI JOIN labels_out USING (file_id)
    WHERE l.dataset = '{dataset}' AND file_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY file_id, name, start_s, end_s ORDER BY "when" DESC, label_id DESC) = 1
) WHERE value IS NOT NULL
"""


@dataclass(frozen=True)
class Said:
    """A label before it is in the lake; `value` None takes back what was said before."""

    item: str
    name: str
    value: str | None
    start_s: float | None = None
    end_s: float | None = None
    source: str = ""


def harmless(text: str, most: int = LONGEST) -> str | None:
    """Why a text cannot be stored and shown as it is; None where it can."""
    if len(text) > most:
        return f"longer than {most} characters"
    if HARMFUL.search(text):
        return "has control characters"
    return None


def submit(lake: Lake, dataset: str, labels: Iterable[Said], *, who: str) -> str:
    """Put labels into the inbox, all of them in one object; returns its name. Gold has them with the next curate."""
    now = datetime.now(UTC)
    stem = f"{now:%Y%m%dT%H%M%S%f}Z-{secrets.token_hex(8)}"
    lines = [
        json.dumps(
            {
                "label_id": f"{stem}-{number:07}",  # in the order of the submission, for labels of the same moment
                "dataset": dataset,
                "item": unicodedata.normalize("NFC", one.item),
                "start_s": one.start_s,
                "end_s": one.end_s,
                "name": one.name,
                "value": one.value,
                "who": who,
                "when": now.isoformat(),
                "source": one.source,
            },
            ensure_ascii=False,
        )
        for number, one in enumerate(labels)
    ]
    name = f"{INBOX}/{stem}.jsonl"
    lake.store.write(name, "".join(line + "\n" for line in lines).encode())
    return name


@dataclass(frozen=True)
class Folded:
    labels: int  # that are new in the table
    damaged: tuple[str, ...]  # objects that stay where they are, for they cannot be read as labels


def fold(lake: Lake, dataset: str) -> Folded:
    """Take what the inbox holds of a dataset into labels.human, exactly once.

    Labels of other datasets stay, so that what lies there is what no gold has seen. What cannot be read stays as well,
    and is named in the log.
    """
    new, damaged, held = 0, [], {}
    names = _submissions(lake)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            for name, rows in zip(some, pool.map(lambda name: _read(lake, name), some), strict=True):
                if rows is None:
                    damaged.append(name)
                elif any(row["dataset"] == dataset for row in rows):
                    held[name] = rows
            if held and (sum(map(len, held.values())) >= ROWS_AT_ONCE or start + AT_ONCE >= len(names)):
                new += _append(lake, [row for rows in held.values() for row in rows])
                list(pool.map(lake.store.delete, held))
                held = {}
    return Folded(new, tuple(damaged))


def _append(lake: Lake, rows: list[dict[str, Any]]) -> int:
    while True:
        table = lake.scan(HUMAN_LABELS.name)
        known = set(table.to_table(columns=["label_id"])["label_id"].to_pylist()) if table is not None else set()
        fresh = {row["label_id"]: row for row in rows if row["label_id"] not in known}
        if not fresh:
            return 0
        # Rows are only ever added: whoever folds beside us has seen as many, or is about to start over, as we are.
        if lake.append(
            HUMAN_LABELS,
            pa.Table.from_pylist(list(fresh.values()), schema=HUMAN_LABELS.schema),
            once=f"fold/{len(known)}",
        ):
            return len(fresh)


def inbox(lake: Lake) -> tuple[list[dict[str, Any]], list[str]]:
    """The labels that no gold has seen yet, as rows of labels.human, and the objects that cannot be read as labels."""
    names = _submissions(lake)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(names, pool.map(lambda name: _read(lake, name), names), strict=True))
    return [row for rows in found.values() for row in rows or ()], [name for name in names if found[name] is None]


def _submissions(lake: Lake) -> list[str]:
    return [name for name in lake.store.list(INBOX) if not name.endswith(BEING_WRITTEN)]


def everything(lake: Lake) -> list[dict[str, Any]]:
    """Every label, folded or not, oldest first, as rows of labels.human."""
    waiting = {row["label_id"]: row for row in inbox(lake)[0]}  # first: what is folded meanwhile is then in both
    data = lake.scan(HUMAN_LABELS.name)
    rows = waiting | ({row["label_id"]: row for row in data.to_table().to_pylist()} if data is not None else {})
    return sorted(rows.values(), key=lambda row: (row["when"], row["label_id"]))


def _read(lake: Lake, name: str) -> list[dict[str, Any]] | None:
    """The rows of a submission; None, with a warning, where it is none. One folded meanwhile has none any longer."""
    rows = _parsed(lake, name) if SUBMISSION.fullmatch(name) else None
    if rows is None:
        log.warning("%s holds no labels that can be read, and stays there: mend or remove it", lake.store.uri_of(name))
    return rows


def _parsed(lake: Lake, name: str) -> list[dict[str, Any]] | None:
    try:
        text = lake.store.read(name).decode()
        return [_row(json.loads(line), name) for line in text[:-1].split("\n")] if text.endswith("\n") else None
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _row(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A line of a submission as the table has it.

    Raises:
        ValueError: where it is none; or TypeError, KeyError, OverflowError.
    """
    row = {column: found[column] for column in HUMAN_LABELS.schema.names}
    stem = name.rpartition("/")[2].removesuffix(".jsonl")
    texts = [row[column] for column in ("label_id", "dataset", "item", "name", "who", "source")]
    texts += [] if row["value"] is None else [row["value"]]
    for column in ("start_s", "end_s"):
        if row[column] is not None and not 0 <= (moment := float(row[column])) <= MOST_S:
            raise ValueError(f"no moment of a recording: {moment}")
        row[column] = None if row[column] is None else float(row[column])
    if any(not isinstance(text, str) or harmless(text) for text in texts) or not row["label_id"].startswith(stem):
        raise ValueError("not the texts of a label")
    when = datetime.fromisoformat(row["when"])
    if when.tzinfo is None:
        raise ValueError("a time of no place")
    return row | {"when": when.astimezone(UTC)}


def show(con: duckdb.DuckDBPyConnection, dataset: Dataset, files: ds.Dataset | None, out: Excluded) -> None:
    """Make the view `human_labels`: what counts now of what people say, of `labels.human` in `con`.

    One row for each file, name and part: file_id, name, start_s, end_s, value, who, when, source. The latest row of
    labels.human counts, of the same moment the one with the last label_id; taken back is not there. Labels that name no
    file of the dataset, or several, are left out, and count once there is one.

    Args:
        files: bronze.files, with what was taken down: a name that meant two files never means the one that is left.
        out: what was taken down; its labels are left out.
    """
    _find(con, dataset, files, f"SELECT DISTINCT item FROM labels.human WHERE dataset = '{dataset.name}'")
    con.execute("CREATE TABLE labels_out AS SELECT unnest(?::VARCHAR[]) AS file_id", [list(out.file_ids)])
    con.execute(COUNTED.format(dataset=dataset.name))


def _find(con: duckdb.DuckDBPyConnection, dataset: Dataset, files: ds.Dataset | None, items: str) -> None:
    """Make the table `human_items`: each item of a query that names a file, and its file_id; NULL if it has several."""
    con.execute(f"CREATE TABLE labelled_items AS {items}")
    con.register("labelled_files", ds.dataset(BRONZE_FILES.schema.empty_table()) if files is None else files)
    bounded.predicate(con, "is_labelled_media", dataset.is_media)
    con.execute(NAMED.format(dataset=dataset.name))
    con.unregister("labelled_files")


def unknown(lake: Lake, dataset: Dataset, items: Iterable[str]) -> tuple[int, int]:
    """How many of these items name no media file of the lake as it is, and how many name several."""
    asked = [unicodedata.normalize("NFC", item) for item in {*items}]
    with bounded.connect() as con:
        con.register("asked", pa.table({"item": pa.array(asked, pa.string())}))
        _find(con, dataset, lake.scan(BRONZE_FILES.name), "FROM asked")
        none, several = con.execute(
            """SELECT count(*) FILTER (n.item IS NULL), count(*) FILTER (n.item IS NOT NULL AND file_id IS NULL)
            FROM asked LEFT JOIN human_items AS n USING (item)"""
        ).fetchall()[0]
    return none, several


def latest(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Of rows in their order, the last of each item, name and part, without those taken back."""
    last = {(row["dataset"], row["item"], row["name"], row["start_s"], row["end_s"]): row for row in rows}
    return (row for row in sorted(last.values(), key=lambda r: (r["when"], r["label_id"])) if row["value"] is not None)
