"""What work costs: of a delivered file, of a step, of a whole pilot; and the bytes that a lake holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from avlake.datasets.base import Entry
from avlake.extractors import base
from avlake.lake import Lake, live_files
from avlake.stages import bounded
from avlake.tables import BRONZE_FILES

OBJECTS = "SELECT coalesce(sum(size_bytes), 0) FROM (SELECT DISTINCT uri, size_bytes FROM files WHERE uri IS NOT NULL)"
MADE = "SELECT coalesce(sum({0}_bytes), 0) FROM (SELECT DISTINCT {0}, {0}_bytes FROM made WHERE {0} IS NOT NULL)"


@dataclass(frozen=True)
class Delivered:
    """A delivered file of the source."""

    drop: str
    entry: Entry


@dataclass
class UnitCost:
    """What one delivered file of the pilot held, and what measuring that took."""

    drop: str
    path: str
    size_bytes: int
    files: int = 0  # media files
    failed: int = 0  # of them, and the file itself where it is an unreadable archive
    kept_bytes: int = 0
    objects: int = 0  # kept files above AVLAKE_INLINE_MAX_BYTES
    media_s: float = 0.0
    cpu_s: float = 0.0
    wall_s: float = 0.0  # with all jobs at work


@dataclass
class Step:
    """A step as often as it was seen: what it handled, what it took."""

    handled: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)

    def add(self, handled: float, cost: float) -> None:
        self.handled.append(handled)
        self.cost.append(cost)


@dataclass(frozen=True)
class Pilot:
    """The pilot's measurements; steps by name and resource: `commit.cpu_s`, `silver.bytes`."""

    jobs: int
    seconds: float
    units: list[UnitCost]
    steps: dict[str, Step]
    start_cpu_s: float  # of one measuring process: start and imports
    start_wall_s: float
    fetch_s_per_byte: float  # 0 where the source is on this machine
    failures: list[str]  # a few, for people


def live_bytes(lake: Lake, dataset: str, drops: Sequence[str], gold: Sequence[str]) -> dict[str, int]:
    """Bytes of the files that are live: of some drops in bronze and silver (with ops), of whole gold tables.

    Objects count, in bronze as in silver, where a column `NAME_bytes` says how large those of a column `NAME` are.
    """
    found = {"bronze": 0, "silver": 0, "gold": 0}
    places = {(dataset, drop) for drop in drops}
    for name in lake.tables():
        layer = name.split(".")[0].replace("ops", "silver")
        if (name in gold or layer in ("bronze", "silver")) and (delta := lake.delta(name)):
            wanted = (live for live in live_files(delta) if (live.drop in places if live.drop else name in gold))
            found[layer] += sum(live.size_bytes for live in wanted)
    with bounded.connect() as con:
        bounded.show(con, "files", lake, BRONZE_FILES, places)
        found["bronze"] += bounded.value(con, OBJECTS)
        for extractor in base.all_extractors().values():
            for column in extractor.objects:
                bounded.show(con, "made", lake, extractor.table, places)
                found["silver"] += bounded.value(con, MADE.format(column))
    return found
