"""Files measured side by side on one machine: threads that wait, each with a child process that measures."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from avlake.media.sandbox import Sandbox
from avlake.settings import Settings
from avlake.stages.extract import ShardReport, measure_shard

FILES_PER_SHARD = 16  # small, so that the cores finish together


class Measurers:
    """`settings.jobs` sandboxes that measure the shards of one plan after another; use as a context manager.

    The threads live as long as the sandboxes: a child ends with the thread that started it.
    """

    def __init__(self, settings: Settings, kind: type[Sandbox] = Sandbox) -> None:
        self._settings = settings
        self._sandboxes = [kind(settings) for _ in range(settings.jobs)]
        self._idle: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        for sandbox in self._sandboxes:
            self._idle.put(sandbox)
        self._pool = ThreadPoolExecutor(settings.jobs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        for sandbox in self._sandboxes:
            sandbox.close()

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the child processes so far."""
        return sum(sandbox.cpu_s for sandbox in self._sandboxes)

    def measure(
        self, settings: Settings, *, plan: str, shards: int, run_id: str, measured: Callable[[str, Sandbox], None]
    ) -> list[ShardReport]:
        """Measure every shard of a plan.

        Args:
            settings: say in which lake the plan is.
            measured: called after each file with its path and the sandbox it was in, from one of the threads.
        """

        def one_shard(shard: int) -> ShardReport:
            sandbox = self._idle.get()

            def one_more(path: str, _done: int, _total: int) -> None:
                measured(path, sandbox)

            try:
                return measure_shard(
                    settings, plan=plan, shard=shard, run_id=run_id, progress=one_more, sandbox=sandbox
                )
            finally:
                self._idle.put(sandbox)

        waiting = [self._pool.submit(one_shard, shard) for shard in range(shards)]
        try:
            return [future.result() for future in waiting]
        finally:
            for future in waiting:
                future.cancel()
