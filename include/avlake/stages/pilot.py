"""The pilot: a few delivered files, taken through the real stages in a lake of their own that is removed afterwards.

The drawn files are dealt into drops: some of a single file, then the rest. So each step is seen with little and with
much to do, which tells what it costs by itself from what each file adds (`Step`). What a file costs in the sandbox is
measured file by file. All runs once before, in a lake that does not count, so that imports are not taken for work.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from avlake.datasets.base import Source
from avlake.errors import FailureBudgetExceeded, RequestError, WorkError
from avlake.lake import Lake
from avlake.media.sandbox import Measured, Sandbox
from avlake.pipelines import Pipeline
from avlake.settings import Settings
from avlake.stages.bronze import by_delivered_file, with_bytes
from avlake.stages.commit import commit
from avlake.stages.costs import Delivered, Pilot, Step, UnitCost, live_bytes
from avlake.stages.curate import curate
from avlake.stages.extract import plan
from avlake.stages.ingest import ingest
from avlake.stages.pilot_files import distinct, fetch, told_beside
from avlake.stages.publish import publish
from avlake.stages.side_by_side import FILES_PER_SHARD, Measurers
from avlake.tables import BRONZE_FILES, EXTRACTIONS

SINGLES = 4  # drops of one file
FIRST_DROP = 2000  # the pilot's own drops are 2000-01-01, 2001-01-01, ...

Progress = Callable[[str, int, int], None]


class Meter(Sandbox):
    """A sandbox that knows what its last file took."""

    cpu_last_s = 0.0
    wall_last_s = 0.0

    def measure(
        self,
        source: bytes | Path,
        extractors: Any,
        *,
        streams: Iterable[str] | None = None,
        annotation: str | None = None,
    ) -> dict[str, Measured]:
        began, cpu_began = time.perf_counter(), self.cpu_s
        try:
            return super().measure(source, extractors, streams=streams, annotation=annotation)
        finally:
            self.cpu_last_s = max(0.0, self.cpu_s - cpu_began)
            self.wall_last_s = time.perf_counter() - began


def run_pilot(
    settings: Settings,
    pipeline: Pipeline,
    source: Source,
    drawn: Sequence[Delivered],
    *,
    params: dict[str, dict[str, Any]] | None = None,
    progress: Progress | None = None,
) -> Pilot:
    """Fetch and measure the drawn files; nothing of it stays.

    Raises:
        WorkError: when not one media file could be measured, with reasons.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="avlake-pilot-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        landing = folder / "landing"
        fetch_s_per_byte = fetch(settings, source, drawn, landing)
        told = told_beside(pipeline.dataset, source, {unit.drop for unit in drawn})
        fetch(settings, source, told, folder / "told")
        measurers = stack.enter_context(Measurers(settings, Meter))
        work = _Work(settings, pipeline, folder, drawn, told, params, measurers, progress)
        start_cpu_s, start_wall_s = work.warm_up()
        work.run()
    if not any(unit.files > unit.failed for unit in work.units):
        reasons = "; ".join(work.failures) or "they hold no media files"
        raise WorkError(
            f"all {len(drawn)} files of the pilot failed, so there is nothing to forecast from: {reasons}. "
            "Look at these, or draw more with --pilot"
        )
    return Pilot(
        jobs=settings.jobs,
        seconds=time.perf_counter() - began,
        units=work.units,
        steps=dict(work.steps),
        start_cpu_s=start_cpu_s,
        start_wall_s=start_wall_s,
        fetch_s_per_byte=fetch_s_per_byte,
        failures=work.failures,
    )


class _Work:
    """The pilot's lake, its drops, and what was seen of them."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        folder: Path,
        drawn: Sequence[Delivered],
        told: Sequence[Delivered],
        params: dict[str, dict[str, Any]] | None,
        measurers: Measurers,
        progress: Progress | None,
    ) -> None:
        self._base, self._pipeline, self._folder, self._params = settings, pipeline, folder, params
        self._measurers, self._progress = measurers, progress
        self._settings = self._lake_at("lake")
        sizes = sorted(range(len(drawn)), key=lambda i: (folder / "landing" / str(i)).stat().st_size)
        self._drawn, self._told = drawn, told
        single = max(0, min(SINGLES, len(sizes) - 2))
        self._singles = sizes[:single]  # the smallest: their own work blurs least
        self._rest = sizes[single:]
        self.units: list[UnitCost] = []
        self.steps: dict[str, Step] = defaultdict(Step)
        self.failures: list[str] = []
        self._marks: dict[str, tuple[float, float]] = {}  # path → CPU and wall seconds in the sandbox
        self._done = 0

    def _lake_at(self, name: str) -> Settings:
        warehouse = str(self._folder / f"{name}.duckdb")
        return self._base.model_copy(update={"uri": str(self._folder / name), "warehouse": warehouse})

    def warm_up(self) -> tuple[float, float]:
        """A file through everything, and one through each process; CPU and wall seconds that a process start takes."""
        index, cold = (self._singles or self._rest)[-1], []
        for number in range(self._base.jobs):  # the one that has waited longest is the next
            settings = self._lake_at(f"warm-{number}")
            marks = self._take(settings, f"{FIRST_DROP - 1 - number}-01-01", [index])
            if number == 0:
                self._finish(settings)
            if marks:  # the first file pays for the start
                others = marks[1:] or [(0.0, 0.0)]
                cpu_s, wall_s = (marks[0][k] - sum(m[k] for m in others) / len(others) for k in (0, 1))
                cold.append((max(0.0, cpu_s), max(0.0, wall_s)))
        return (sum(c for c, _ in cold) / len(cold), max(w for _, w in cold)) if cold else (0.0, 0.0)

    def run(self) -> None:
        """Every drawn file, in drops of one and in a last one of many; then gold and the warehouse after each."""
        for number, group in enumerate([[index] for index in self._singles] + distinct(self._rest, self._drawn)):
            drop = f"{FIRST_DROP + number}-01-01"
            self._take(self._settings, drop, group, self._mark)
            self._count(drop, group)
            files, media_s = sum(u.files for u in self.units), sum(u.media_s for u in self.units)
            for name, cost in self._finish(self._settings).items():
                self.steps[name].add(media_s if name == "gold.bytes" else files, cost)

    def _mark(self, path: str, cost: tuple[float, float]) -> None:
        self._marks[path] = cost
        if self._progress:
            self._done += 1
            self._progress(f"pilot {path}", self._done, max(self._done, self._expected))

    @property
    def _expected(self) -> int:
        """Media files of the whole pilot, as far as one can tell from those seen."""
        files = sum(u.files for u in self.units) or 1
        return round(files / max(1, len(self.units)) * len(self._drawn))

    def _take(
        self,
        settings: Settings,
        drop: str,
        group: Sequence[int],
        mark: Callable[[str, tuple[float, float]], None] | None = None,
    ) -> list[tuple[float, float]]:
        """One drop, from landing to silver; CPU and wall seconds of each file in the sandbox. `mark`: it counts."""
        dataset, placed = self._pipeline.dataset.name, []
        for index in group:
            placed.append((self._folder / "landing" / str(index), self._drawn[index].entry.path))
        for number, beside in enumerate(self._told):
            if beside.drop in {self._drawn[index].drop for index in group}:
                placed.append((self._folder / "told" / str(number), f"{beside.drop}/{beside.entry.path}"))
        for file, path in placed:
            delivered = self._folder / "source" / dataset / drop / path
            delivered.parent.mkdir(parents=True, exist_ok=True)
            delivered.hardlink_to(file)
        size = sum(file.stat().st_size for file, _ in placed)
        took: dict[str, float] = {}
        with _timed(took, "ingest"):
            ingest(settings, dataset=dataset, source=str(self._folder / "source"), drop=drop, run_id="pilot")
        with _timed(took, "plan"):
            made = plan(
                settings,
                pipeline=self._pipeline.name,
                drop=drop,
                run_id=f"pilot/{drop}",
                params=self._params,
                files_per_task=FILES_PER_SHARD,
            )
        marks: list[tuple[float, float]] = []

        def measured(path: str, sandbox: Sandbox) -> None:
            assert isinstance(sandbox, Meter)
            marks.append((sandbox.cpu_last_s, sandbox.wall_last_s))
            if mark:
                mark(path, marks[-1])

        reports = self._measurers.measure(
            settings, plan=made.plan, shards=made.shards, run_id="pilot", measured=measured
        )
        took["measure.cpu_s"] = max(0.0, sum(r.cpu_s or 0 for r in reports) - sum(cpu for cpu, _ in marks))
        took["measure.wall_s"] = max(0.0, sum(r.seconds for r in reports) - sum(wall for _, wall in marks))
        with _timed(took, "commit"), contextlib.suppress(FailureBudgetExceeded):  # what was good is committed
            commit(settings, plan=made.plan, run_id="pilot")
        if mark:
            for name, cost in took.items():
                self.steps[name].add(size if name.startswith("ingest") else made.to_measure, cost)
        return marks

    def _finish(self, settings: Settings) -> dict[str, float]:
        """Gold and the warehouse: what they took, and the bytes of gold."""
        took: dict[str, float] = {}
        with contextlib.suppress(RequestError):  # no silver: every file so far has failed
            with _timed(took, "curate"):
                curate(settings, pipeline=self._pipeline.name, run_id="pilot")
            with _timed(took, "publish"):
                publish(settings, run_id="pilot")
            gold = [f"gold.{name}" for name in self._pipeline.gold]
            took["gold.bytes"] = live_bytes(Lake.open(settings), self._pipeline.dataset.name, [], gold)["gold"]
        return took

    def _count(self, drop: str, group: Sequence[int]) -> None:
        """The drop's units, and the bytes it took in the lake."""
        lake, dataset = Lake.open(self._settings), self._pipeline.dataset
        extractions = lake.rows(EXTRACTIONS, dataset.name, drop).to_pylist()
        failed = {row["path"]: f"{row['path']}: {row['error']}" for row in extractions if row["status"] != "ok"}
        self.failures = (self.failures + list(failed.values()))[:3]
        media = Lake.open(self._settings).scan("silver.media", [(dataset.name, drop)])
        rows = media.to_table(columns=["file_id", "duration_s"]).to_pylist() if media is not None else []
        durations = {row["file_id"]: row["duration_s"] or 0.0 for row in rows}
        by_path = {self._drawn[i].entry.path: self._drawn[i] for i in group}
        made, all_kept = [], 0
        for path, found in by_delivered_file(lake.rows(BRONZE_FILES, dataset.name, drop).to_pylist()).items():
            all_kept += sum(row["size_bytes"] for row in with_bytes(found))
            if path not in by_path:
                continue  # what a drop says of its recordings lies beside them
            files = [row for row in found if dataset.is_media(row["path"])]
            kept = with_bytes(found)
            costs = [self._marks.get(row["path"], (0.0, 0.0)) for row in files]
            unit = UnitCost(
                drop=by_path[path].drop,
                path=path,
                size_bytes=found[0]["size_bytes"],
                files=len(files),
                failed=sum(row["path"] in failed for row in found),
                kept_bytes=sum(row["size_bytes"] for row in kept),
                objects=sum(row["uri"] is not None for row in kept),
                media_s=sum(durations.get(row["file_id"], 0.0) for row in files),
                cpu_s=sum(cpu for cpu, _ in costs),
                wall_s=sum(wall for _, wall in costs),
            )
            made.append(unit)
        self.units += made
        live = live_bytes(lake, dataset.name, [drop], [])
        self.steps["bronze.bytes"].add(all_kept, live["bronze"])
        self.steps["silver.bytes"].add(sum(u.media_s for u in made), live["silver"])


@contextlib.contextmanager
def _timed(took: dict[str, float], step: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    took[f"{step}.wall_s"], took[f"{step}.cpu_s"] = time.perf_counter() - wall, time.process_time() - cpu
