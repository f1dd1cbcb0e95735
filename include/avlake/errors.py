"""Every error avlake raises on purpose, as one tree.

    AvlakeError
    ├── RequestError        the request was wrong (command line exit code 2)
    │   └── UnknownDrop     no such drop; lists the dates that exist
    └── WorkError           the work failed (exit code 1)
        ├── Quarantined     one file could not be read or measured; never ends a run by itself
        ├── FailureBudgetExceeded
        └── StaleRun        another run committed this drop first; nothing was changed

A message says what was wrong, where, and the next step.
"""

from __future__ import annotations

from collections.abc import Iterable


class AvlakeError(Exception):
    """Base of all errors raised on purpose."""


class RequestError(AvlakeError):
    """The request was wrong: a setting, a name, a path."""


class UnknownDrop(RequestError):
    """The source holds no drop of that date."""

    def __init__(self, dataset: str, drop: str | None, source: str, existing: Iterable[str]) -> None:
        dates = ", ".join(sorted(existing)) or "none"
        asked = f"no drop {drop}" if drop else "no drop"
        super().__init__(f"{asked} of {dataset} in {source}; drops there: {dates}")


class WorkError(AvlakeError):
    """The work failed."""


class Quarantined(WorkError):
    """One file could not be opened or measured.

    `error_class` is a short stable word (`too_short`, `truncated_archive`, ...) that users group by; the message says
    what was found in this file.
    """

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


class FailureBudgetExceeded(WorkError):
    """Too many files of one drop failed; what was good is committed already."""


class StaleRun(WorkError):
    """The drop was committed by another run after this one was planned; this run changed nothing."""
