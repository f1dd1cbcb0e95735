"""What a local run works on: the user's drops, else for VoxForge real archives, or synthesised voices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from avlake.datasets.base import Source
from avlake.datasets.voxforge import VOXFORGE
from avlake.errors import AvlakeError, RequestError
from avlake.extractors import base
from avlake.lake import Lake
from avlake.pipelines import Pipeline
from avlake.runner import choose_drops
from avlake.settings import Settings, home
from avlake.tables import BRONZE_FILES, CORE, EXTRACTIONS

MAX_ARCHIVES = 10  # of a source nobody named
SYNTHETIC_DROP = "2026-01-01"
REACHABLE_TIMEOUT_S = 10.0
SPARSE = 4  # a backfill makes a run for every day between its ends; where most of them are empty, it is no help


@dataclass(frozen=True)
class Work:
    """Drops of one source, and what every run over them is told."""

    source: str
    drops: tuple[str, ...]
    conf: dict[str, Any]
    note: str  # what the source is, in words

    @property
    def as_backfill(self) -> bool:
        """Several drops on (nearly) neighbouring days."""
        first, last = (date.fromisoformat(drop) for drop in (self.drops[0], self.drops[-1]))
        return len(self.drops) > 1 and (last - first).days < SPARSE * len(self.drops)


def find_work(pipeline: Pipeline, settings: Settings, source: str | None, drop: str | None) -> Work:
    """The source's drops, or the one that is asked for.

    Raises:
        RequestError: without a source, where there is none to fall back on.
        UnknownDrop: listing the dates that exist.
    """
    if named := source or settings.landing:
        where = named if "://" in named else str(Path(named).expanduser().resolve())
        return Work(where, tuple(choose_drops(pipeline, where, drop, settings)), {"source": where}, where)
    if pipeline.dataset is not VOXFORGE:
        raise RequestError(
            f"{pipeline.name} has no recordings to begin with: make run PIPELINE={pipeline.name} SOURCE=FOLDER, with "
            f"FOLDER/{pipeline.dataset.name}/YYYY-MM-DD/..., or set AVLAKE_LANDING"
        )
    return _real(pipeline, settings, drop) or _synthetic(pipeline, settings, drop)


def remove_stand_in(pipeline: Pipeline, settings: Settings, work: Work) -> bool:
    """Take the synthesised drop out of the lake again, when real recordings come: no model learns from both."""
    lake, dataset = Lake.open(settings), pipeline.dataset.name
    paths = lake.rows(BRONZE_FILES, dataset, SYNTHETIC_DROP, ["path"])["path"].to_pylist()
    ours = bool(paths) and all(path.startswith("synthetic") for path in paths)
    if not ours or work.source == str(_demo_landing()):
        return False
    tables = {e.table.name: e.table for e in base.all_extractors().values()} | CORE
    # ops first: then readers do not see the drop
    for name in sorted(set(lake.tables()) & tables.keys(), key=lambda name: (name != EXTRACTIONS.name, name)):
        if (table := tables[name]).per_drop:
            version = lake.drop_version(table, dataset, SYNTHETIC_DROP)
            lake.commit_drop(table, dataset, SYNTHETIC_DROP, [], expected_version=version)
    return True


def _real(pipeline: Pipeline, settings: Settings, drop: str | None) -> Work | None:
    """At most ten archives of one date, from VoxForge's own index; None when it cannot be reached."""
    from avlake.datasets.voxforge import INDEX_URL

    try:
        httpx.head(INDEX_URL, timeout=REACHABLE_TIMEOUT_S).raise_for_status()
        index = pipeline.dataset.open_source(INDEX_URL, settings)
        existing = index.drops()
    except (httpx.HTTPError, AvlakeError, OSError):
        return None
    chosen = drop or _full_drop(index, existing)
    choose_drops(pipeline, INDEX_URL, chosen, settings)
    conf = {"source": INDEX_URL, "max_archives": MAX_ARCHIVES}
    return Work(INDEX_URL, (chosen,), conf, f"at most {MAX_ARCHIVES} archives of VoxForge's own index, {INDEX_URL}")


def _full_drop(index: Source, existing: list[str]) -> str:
    """The latest date with as many archives as we take, else the latest."""
    full = (drop for drop in reversed(existing) if len(index.entries(drop)) >= MAX_ARCHIVES)
    return next(full, existing[-1])


def _synthetic(pipeline: Pipeline, settings: Settings, drop: str | None) -> Work:
    from avlake.datasets.synthetic import write_drop

    held = {date for dataset, date in Lake.open(settings).drops(BRONZE_FILES.name) if dataset == pipeline.dataset.name}
    if held - {SYNTHETIC_DROP}:
        raise RequestError(
            f"VoxForge's index cannot be reached, and {settings.uri} holds real drops ({', '.join(sorted(held)[:5])}), "
            "which are not mixed with synthesised voices: name a source, make run SOURCE=FOLDER"
        )
    landing = _demo_landing()
    if not (landing / pipeline.dataset.name / SYNTHETIC_DROP).is_dir():
        write_drop(landing, SYNTHETIC_DROP)
    drops = tuple(choose_drops(pipeline, str(landing), drop or SYNTHETIC_DROP, settings))
    note = "SYNTHETIC voices (VoxForge's index cannot be reached): nothing here says anything about people"
    return Work(str(landing), drops, {"source": str(landing)}, note)


def _demo_landing() -> Path:
    return home() / ".avlake" / "landing"
