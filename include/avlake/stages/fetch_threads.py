"""Connections side by side, which share a rate and can be stopped in the middle of a file.

The threads are daemons: who presses Ctrl-C does not wait for a server that says nothing for 30 seconds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

TICK_S = 0.1
PATIENCE_S = 0.5  # to let threads end by themselves
T = TypeVar("T")


class Stopped(Exception):
    """The run is over; not an error of the file."""


class Threads:
    """Some threads, and together at most so many MB/s."""

    def __init__(self, count: int, rate_mb_s: float | None) -> None:
        self._count = count
        self._s_per_byte = 1 / (rate_mb_s * 1e6) if rate_mb_s else 0.0
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._free = 0.0  # when the bytes that came are paid for
        self._running: list[threading.Thread] = []

    def each(self, items: Iterable[T], work: Callable[[T], None], tick: Callable[[], None]) -> None:
        """Do the work of all items; `tick` is called now and then meanwhile, and at the end.

        Raises:
            Exception: the first that a `work` has not caught; the others are stopped then.
        """
        waiting, raised = deque(items), list[BaseException]()
        queue = iter(lambda: waiting.popleft() if waiting else None, None)

        def run() -> None:
            try:
                while not self._stop.is_set() and (item := next(queue, None)) is not None:
                    work(item)
            except Stopped:
                return
            except BaseException as error:
                raised.append(error)
                self._stop.set()

        self._running = [threading.Thread(target=run, daemon=True) for _ in range(min(self._count, len(waiting)))]
        for thread in self._running:
            thread.start()
        try:
            for thread in self._running:
                while thread.is_alive():
                    thread.join(TICK_S)
                    tick()
        except BaseException:
            self.stop()
            raise
        tick()
        if raised:
            raise raised[0]

    def stop(self) -> None:
        """Let the threads end at their next block of bytes; those that wait for a server are left alone."""
        self._stop.set()
        until = time.monotonic() + PATIENCE_S
        for thread in self._running:
            thread.join(max(0.0, until - time.monotonic()))

    def wait(self, seconds: float) -> None:
        """Raises: Stopped: if the run ends meanwhile."""
        if self._stop.wait(seconds):
            raise Stopped

    def spend(self, count: int) -> None:
        """Wait until so many bytes may have come.

        Raises:
            Stopped: if the run ends meanwhile.
        """
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now) + count * self._s_per_byte
            wait_s = self._free - now if self._s_per_byte else 0.0
        self.wait(wait_s)
