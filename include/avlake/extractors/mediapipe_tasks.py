"""MediaPipe's Tasks, loaded where they are used: what keeps them from loading is said, and their chatter is not."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avlake.errors import WorkError

LIBRARIES = "install the system's libgl1, libegl1, libgles2 and libglib2.0-0, then `pip install -r requirements.txt`"


def load(kind: str) -> Any:
    """The module of one kind of task, `audio` or `vision`.

    Raises:
        WorkError: if mediapipe does not load, with the next step.
    """
    try:
        return importlib.import_module(f"mediapipe.tasks.python.{kind}")
    except (ImportError, OSError) as error:
        raise WorkError(f"mediapipe does not load ({error}): {LIBRARIES}") from None


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep a library's start-up lines, a dozen for each process, off standard error; Python's errors are raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
