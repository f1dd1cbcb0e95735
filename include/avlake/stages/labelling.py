"""Labelling: people's labels from a file into the lake, and out of it again."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.pipelines import get_pipeline
from avlake.settings import Settings
from avlake.stages import human, label_files
from avlake.stages.human import FORMULA, Said, harmless
from avlake.stages.takedowns import excluded

MACHINE = "machine"
COLUMNS = ("dataset", "item", "start_s", "end_s", "name", "value", "source", "who", "when")


@dataclass(frozen=True)
class Imported:
    """What became of a file of labels."""

    pipeline: str
    added: int
    said_already: int  # they count now, and this person has said so before
    empty: int  # fields that say nothing
    no_file: int  # items that name no file of the lake as it is
    several_files: int  # items that name several
    ignored: tuple[str, ...]  # columns


def import_file(
    settings: Settings, *, file: str, who: str, pipeline: str | None = None, dry_run: bool = False
) -> Imported:
    """Put the labels of a file into the lake's inbox, all of them or none; gold has them with the next curate.

    A label that counts already, as this person has said before, is not added again: the same file twice changes
    nothing, and after somebody has said otherwise it does.

    Args:
        file: a path or an object store's URI; see `avlake.stages.label_files`.
        dry_run: check and count, and put nothing there.

    Raises:
        RequestError: for a file that cannot be believed, or a name that cannot be a person's.
    """
    name = person(who)
    found = label_files.read(file, pipeline)
    lake, dataset = Lake.open(settings), found.pipeline.dataset
    source = "" if found.sourced else file.rstrip("/").rpartition("/")[2]
    if harmless(source) or source.startswith(FORMULA):
        raise RequestError(f"{file!r} cannot be noted as where labels come from; give it another name")
    fresh = _new(found.labels, _of(human.everything(lake), dataset.name), dataset.name, name)
    labels = [
        one if found.sourced else Said(one.item, one.name, one.value, one.start_s, one.end_s, source) for one in fresh
    ]
    if labels and not dry_run:
        human.submit(lake, dataset.name, labels, who=name)
    none, several = human.unknown(lake, dataset, (one.item for one in found.labels))
    already = len(found.labels) - len(fresh)
    return Imported(found.pipeline.name, len(fresh), already, found.empty, none, several, found.ignored)


def person(who: str) -> str:
    """The name of who labels, without spaces around it.

    Raises:
        RequestError: where it is nobody's.
    """
    name = who.strip()
    if not name:
        raise RequestError("labels need --by NAME: who says so?")
    if bad := harmless(name, label_files.LONGEST_NAME):
        raise RequestError(f"--by: {bad}")
    if name.startswith(FORMULA):
        raise RequestError(f"--by {name!r} would be a formula in a table; begin it with a letter")
    if name.lower().startswith(MACHINE):
        raise RequestError("--by: labels of a machine are not imported as people's; gold makes its own, and marks them")
    return name


def exported(settings: Settings, *, pipeline: str | None = None, history: bool = False) -> list[tuple[Any, ...]]:
    """Labels in the order of `COLUMNS`, oldest first, folded or not: those that count, or all that was ever said.

    They can be imported as they are. Those of what was taken down are left out; what was taken back is in the history
    alone, there as `unknown`.

    Raises:
        RequestError: for a pipeline that does not exist.
    """
    lake = Lake.open(settings)
    rows, out = human.everything(lake), excluded(lake)
    gone = {(dataset, item) for dataset, items in out.items.items() for item in items}
    rows = [row for row in rows if (row["dataset"], row["item"]) not in gone]
    if pipeline is not None:
        kinds, dataset = get_pipeline(pipeline).labels, get_pipeline(pipeline).dataset.name
        rows = [row for row in rows if row["dataset"] == dataset and label_files.kind_of(row["name"], kinds)]
    chosen = rows if history else human.latest(rows)
    return [tuple(_shown(row)[name] for name in COLUMNS) for row in chosen]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    # A spreadsheet would take a name that begins like this for a formula; with its dataset it names the same file.
    item = f"{row['dataset']}/{row['item']}" if row["item"].startswith(FORMULA) else row["item"]
    return {**row, "item": item, "value": label_files.UNKNOWN if row["value"] is None else row["value"]}


def _of(rows: Iterable[dict[str, Any]], dataset: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["dataset"] == dataset]


def _new(labels: Iterable[Said], rows: list[dict[str, Any]], dataset: str, who: str) -> list[Said]:
    """The labels that say something new, beside the rows there are, oldest first."""
    now: dict[tuple[Any, ...], str | None] = {}
    own: dict[tuple[Any, ...], str | None] = {}

    def part(item: str, name: str, start_s: float | None, end_s: float | None) -> tuple[Any, ...]:
        return unicodedata.normalize("NFC", item).removeprefix(f"{dataset}/"), name, start_s, end_s

    for row in rows:
        key = part(*(row[column] for column in ("item", "name", "start_s", "end_s")))
        now[key] = row["value"]
        if row["who"] == who:
            own[key] = own[*key, row["source"]] = row["value"]
    said: dict[tuple[Any, ...], list[Said]] = {}
    for one in labels:
        said.setdefault(part(one.item, one.name, one.start_s, one.end_s), []).append(one)
    fresh = []
    for key, ones in said.items():
        last = ones[-1]
        mine = (*key, last.source) if last.source else key
        if last.value is None and now.get(key) is None:
            continue  # nothing to take back
        if not (key in now and now[key] == last.value and mine in own and own[mine] == last.value):
            fresh += [one for one, before in zip(ones, [None, *ones], strict=False) if one != before]
    return fresh
