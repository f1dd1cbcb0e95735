"""The forecast: what a source will take, before it is taken; and afterwards, how right that was.

A pilot (`avlake.stages.pilot`) is measured once and kept in the lake, `forecasts/<pipeline>.json`. From it and a
listing of what is still to do comes the forecast of any run over that source, with a 95 % interval
(`avlake.stages.estimate`): what a delivered file costs by itself is extrapolated by its size, what a drop and a run
cost is added. How many recordings there are is known from their paths, but for those in archives. Where there is no
pilot, earlier drops in ops.runs are the sample (`avlake.stages.actual`).

Not in it: training, the interpreter's own start, and whatever Airflow adds. The interval is that of the files: it takes
the machine to be as fast and as busy as it was during the pilot, which measures each file once and so cannot tell how
its speed drifts. Where others share the cores, CPU seconds and time may lie outside.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from avlake.errors import RequestError, UnknownDrop
from avlake.lake import Lake
from avlake.media.archives import is_archive
from avlake.pipelines import Pipeline
from avlake.settings import Settings
from avlake.stages import bounded
from avlake.stages.costs import Delivered, Pilot, Step
from avlake.stages.estimate import Estimate, Line, draw, total_by_size
from avlake.stages.pilot import Progress, run_pilot
from avlake.stages.side_by_side import FILES_PER_SHARD
from avlake.stages.store_requests import requests
from avlake.tables import BRONZE_FILES, EXTRACTIONS

# A file that failed to open gets another chance only with other extractors, which is too rare to tell here. What an
# archive holds is below its path, and so are a folder's files, of which nothing is listed.
DONE = """
WITH media AS (SELECT drop_date, path, file_id, sha256 FROM files WHERE is_media(path)),
missing AS (
    SELECT DISTINCT drop_date, string_split(path, '/') AS parts
    FROM (FROM media, identities)
    -- Whether an annotation has changed is not told by a listing: the part of it in the identity is left out.
    ANTI JOIN (
        SELECT * FROM (SELECT * REPLACE (split_part(params_hash, ':', 1) AS params_hash) FROM prior)
        SEMI JOIN identities USING (extractor, params_hash)
    ) AS measured
        USING (drop_date, file_id, sha256, extractor)
    ANTI JOIN (FROM prior WHERE extractor = 'open') AS unreadable USING (drop_date, file_id, sha256)
),
unfinished AS (
    SELECT drop_date, unnest([array_to_string(parts[:i], '/') for i in range(1, len(parts) + 1)]) AS path FROM missing
)
SELECT drop_date, path
FROM listed SEMI JOIN files USING (drop_date, path, source_version) ANTI JOIN unfinished USING (drop_date, path)
"""
PER_DROP = ("ingest", "plan", "measure", "commit")
PER_RUN = ("curate", "publish")
NAMES = (
    *("delivered_files", "delivered_bytes", "files", "media_s", "measure_cpu_s", "cpu_s", "wall_s"),
    *("bronze_bytes", "silver_bytes", "gold_bytes", "writes", "reads"),
)


@dataclass(frozen=True)
class Listing:
    """What a source holds, from listings alone, and what of it the lake has not measured yet."""

    uri: str
    drops: int
    files: int
    size_bytes: int
    to_do: list[Delivered]

    @property
    def drops_to_do(self) -> list[str]:
        return sorted({unit.drop for unit in self.to_do})


@dataclass(frozen=True)
class Forecast:
    """Estimates by name (units are in the names), and where they come from."""

    estimates: dict[str, Estimate]
    basis: str

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]


@dataclass(frozen=True)
class StoredPilot:
    """A pilot as it lies in the lake."""

    source: str
    created_at: str
    drops: list[str]
    hashes: dict[str, str]  # by extractor: the version and the parameters that it measured with
    pilot: Pilot


def list_source(
    settings: Settings,
    pipeline: Pipeline,
    source: str | None,
    drop: str | None = None,
    params: dict[str, dict[str, Any]] | None = None,
) -> Listing:
    """List a source, and compare it with the lake.

    Raises:
        RequestError: without a source, or for a source without files.
        UnknownDrop: listing the dates that exist.
    """
    where = source or settings.landing
    if not where:
        raise RequestError("no source: give --source FOLDER|URI, or set AVLAKE_LANDING")
    opened = pipeline.dataset.open_source(where, settings)
    drops = opened.drops()
    if not drops or (drop is not None and drop not in drops):
        raise UnknownDrop(pipeline.dataset.name, drop, opened.uri, drops)
    found = [Delivered(date, entry) for date in drops if drop in (None, date) for entry in opened.entries(date)]
    if not found:
        raise RequestError(f"{opened.uri}: its drops hold no files; nothing can be forecast")
    done = _done(settings, pipeline, found, params)
    left = [unit for unit in found if (unit.drop, unit.entry.path) not in done]
    size = sum(unit.entry.size_bytes or 0 for unit in found)
    return Listing(opened.uri, len({u.drop for u in found}), len(found), size, left)


def _done(
    settings: Settings, pipeline: Pipeline, found: Sequence[Delivered], params: dict[str, dict[str, Any]] | None
) -> set[tuple[str, str]]:
    """(drop, path) of delivered files of which nothing is left to measure."""
    lake, dataset = Lake.open(settings), pipeline.dataset
    hashes = hashes_of(settings, pipeline, params)
    places = sorted({(dataset.name, unit.drop) for unit in found}.intersection(lake.drops()))
    with bounded.connect() as con:
        bounded.show(con, "files", lake, BRONZE_FILES, places)
        bounded.show(con, "prior", lake, EXTRACTIONS, places)
        bounded.predicate(con, "is_media", dataset.is_media)
        listed = [(unit.drop, unit.entry.path, unit.entry.version) for unit in found if unit.entry.version]
        columns = zip(*listed, strict=True) if listed else ((), (), ())
        arrays = [pa.array(column, pa.string()) for column in columns]
        con.register("listed", pa.table(arrays, ["drop_date", "path", "source_version"]))
        con.register("identities", pa.table({"extractor": list(hashes), "params_hash": list(hashes.values())}))
        return set(con.execute(DONE).fetchall())


def hashes_of(settings: Settings, pipeline: Pipeline, params: dict[str, dict[str, Any]] | None) -> dict[str, str]:
    """By extractor what stands for its version and parameters."""
    return {name: extractor.params_hash for name, extractor in pipeline.configured(params, settings).items()}


def make_pilot(
    settings: Settings,
    pipeline: Pipeline,
    source: str | None,
    listing: Listing,
    *,
    size: int,
    params: dict[str, dict[str, Any]] | None = None,
    progress: Progress | None = None,
) -> StoredPilot:
    """Measure `size` of the files that are left to do, drawn over all drops, and keep that in the lake."""
    by_drop: dict[str, list[Delivered]] = defaultdict(list)
    for unit in listing.to_do:
        by_drop[unit.drop].append(unit)
    opened = pipeline.dataset.open_source(source or settings.landing, settings)
    drawn = draw(by_drop, size, size=lambda unit: unit.entry.size_bytes or 0)
    pilot = run_pilot(settings, pipeline, opened, drawn, params=params, progress=progress)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = StoredPilot(listing.uri, now, listing.drops_to_do, hashes_of(settings, pipeline, params), pilot)
    Lake.open(settings).store.write(_name(pipeline.name), json.dumps(asdict(made), indent=1).encode())
    return made


def has_pilot(lake: Lake, pipeline: str) -> bool:
    return lake.store.exists(_name(pipeline))


def stored_pilot(lake: Lake, pipeline: str, source: str) -> StoredPilot | None:
    """The pilot that was measured of this source; None if there is none, or none that this version can read."""
    try:
        found = TypeAdapter(StoredPilot).validate_json(lake.store.read(_name(pipeline)))
    except (FileNotFoundError, ValidationError):
        return None
    return found if found.source == source and found.pilot.units else None


def _name(pipeline: str) -> str:
    return f"forecasts/{pipeline}.json"


def forecast(
    stored: StoredPilot,
    to_do: Sequence[Delivered],
    *,
    is_media: Callable[[str], bool],
    jobs: int,
    files: int | None = None,
    landing_is_remote: bool,
    opens: Callable[[str], bool] = is_archive,
) -> Forecast:
    """What is left to do, from a pilot.

    Args:
        is_media: is a file of this path measured?
        files: extrapolate to so many delivered files like those of `to_do`, in drops as large as theirs.
        opens: may a file of this path hold recordings?
    """
    pilot, basis = stored.pilot, f"a pilot of {len(stored.pilot.units)} files on {stored.created_at[:10]}"
    if not to_do:
        return Forecast(dict.fromkeys(NAMES, Estimate(0.0)), basis)
    measured = {(u.drop, u.path): u for u in pilot.units}
    inside = [known for u in to_do if (known := measured.get((u.drop, u.entry.path)))]
    by_size = all(u.entry.size_bytes is not None for u in to_do)  # an HTTP index need not tell: then all are alike
    rest = [(u.entry.path, max(1.0, u.entry.size_bytes or 0.0) if by_size else 1.0) for u in to_do]
    scale, count, drops = 1.0, float(len(to_do)), float(len({u.drop for u in to_do}))
    plain = sum(is_media(path) and not opens(path) for path, _ in rest)
    if files is None:
        rest = [one for u, one in zip(to_do, rest, strict=True) if (u.drop, u.entry.path) not in measured]
    else:
        scale, inside = files / count, []
        count, drops = float(files), drops * scale

    def total(column: str, of: Callable[[str], bool] = lambda path: True) -> Estimate:
        """Over the delivered files of which `of` holds; the others have none."""
        already = float(sum(getattr(u, column) for u in inside if of(u.path)))
        sizes = np.array([size for path, size in rest if of(path)])
        if not len(sizes):
            return Estimate(already, least=already)
        seen = [u for u in pilot.units if of(u.path)] or pilot.units
        n = len(sizes) * scale
        return total_by_size(
            [float(max(1, u.size_bytes)) if by_size else 1.0 for u in seen],
            [float(getattr(u, column)) for u in seen],
            rest=n,
            rest_size=float(sizes.sum()) * scale,
            known=already,
            rest_size_sd=n * float(sizes.std(ddof=1)) / len(sizes) ** 0.5 if files and len(sizes) > 1 else 0.0,
        )

    def holding(path: str) -> bool:
        return opens(path) or is_media(path)

    known_size = sum(size for _, size in rest) * scale + sum(u.size_bytes for u in inside)
    delivered = Estimate(known_size) if by_size else total("size_bytes")
    media = total("files", opens) + Estimate(plain * scale, least=plain if files is None else 0.0)
    seconds = total("media_s", holding)
    handled = {"ingest": delivered, "bronze": total("kept_bytes"), "silver": seconds, "gold": seconds}
    shards = math.ceil(max(1.0, media.value / drops / FILES_PER_SHARD))  # of a drop; drops come one after another
    at_once = shards / math.ceil(shards / jobs)

    def step(name: str, resource: str) -> Estimate:
        seen = pilot.steps.get(f"{name}.{resource}", Step([], []))
        times = drops if name in (*PER_DROP, "bronze", "silver") else 1.0
        return Line.fit(seen.handled, seen.cost).total(times, handled.get(name, media))

    estimates = {"delivered_files": Estimate(count), "delivered_bytes": delivered, "files": media, "media_s": seconds}
    start = pilot.start_cpu_s * jobs
    measuring = total("cpu_s", holding) + step("measure", "cpu_s") + Estimate(start)
    estimates["measure_cpu_s"] = measuring
    estimates["cpu_s"] = sum((step(name, "cpu_s") for name in (*PER_DROP, *PER_RUN) if name != "measure"), measuring)
    wall = total("wall_s", holding) + step("measure", "wall_s")
    fetching = Estimate(pilot.fetch_s_per_byte * delivered.value + pilot.start_wall_s)
    serial = (step(name, "wall_s") for name in (*PER_DROP, *PER_RUN) if name != "measure")
    estimates["wall_s"] = sum(serial, wall.times(1 / at_once) + fetching)
    for layer in ("bronze", "silver", "gold"):
        estimates[f"{layer}_bytes"] = step(layer, "bytes")
    asked = requests(drops=drops, files=media, objects=total("objects"), fetched=count * landing_is_remote)
    estimates |= {"writes": asked.writes, "reads": asked.reads}
    return Forecast(estimates, basis)
