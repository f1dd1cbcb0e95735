"""Watch: a run of the command line, set beside its forecast."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.pipelines import Pipeline
from avlake.settings import Settings
from avlake.stages import actual
from avlake.stages.costs import live_bytes


class Watch:
    """What a run is expected to take, and what it took until gold was published."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        source: str,
        drop: str | None,
        drops: list[str],
        params: dict[str, dict[str, Any]] | None,
    ) -> None:
        self._settings, self._pipeline, self._source, self._drops = settings, pipeline, source, drops
        self.expected = None
        with contextlib.suppress(RequestError):  # a drop without files: ingest will say so
            self.expected = actual.expect(settings, pipeline, source, drop=drop, params=params)
        self._before = self._live()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def announced(self) -> str:
        return actual.in_words(self.expected, self._source, self._pipeline.name)

    def compared(self, run_id: str, sandbox_cpu_s: float) -> list[str]:
        """The lines that set what it took beside the forecast."""
        took = {
            "cpu_s": time.process_time() - self._cpu + sandbox_cpu_s,
            "wall_s": time.perf_counter() - self._wall,
        }
        rows = [row for row in actual.run_rows(Lake.open(self._settings)) if row["run_id"] == run_id]
        measured = actual.measured_in(rows)
        if self.expected is None or not measured["files"]:  # a forecast is of measuring
            return []
        grown = {f"{layer}_bytes": float(size - self._before[layer]) for layer, size in self._live().items()}
        return actual.compare(self.expected, {**measured, **took, **grown})

    def _live(self) -> dict[str, int]:
        gold = [f"gold.{name}" for name in self._pipeline.gold]
        return live_bytes(Lake.open(self._settings), self._pipeline.dataset.name, self._drops, gold)
