"""The delivered files of a pilot: those drawn, and what their drops say of them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from avlake.datasets.base import Dataset, Source
from avlake.settings import MIB, Settings
from avlake.stages.costs import Delivered

ARCHIVE_BYTES = 128 * MIB  # annotations come in archives, too; a larger one has recordings


def told_beside(dataset: Dataset, source: Source, drops: Collection[str]) -> list[Delivered]:
    """The files in which these drops may say what has to be known where a recording is measured."""
    if dataset.annotations is None:
        return []
    every = [Delivered(drop, entry) for drop in sorted(drops) for entry in source.entries(drop)]
    return [
        one
        for one in every
        if dataset.label_files(one.entry.path)
        or (dataset.opens(one.entry.path) and (one.entry.size_bytes or 0) <= ARCHIVE_BYTES)
    ]


def distinct(group: Sequence[int], drawn: Sequence[Delivered]) -> list[list[int]]:
    """Groups in which no path comes twice: drops may hold files of the same name."""
    groups: list[dict[str, int]] = []
    for index in group:
        path = drawn[index].entry.path
        free = next((g for g in groups if path not in g), None)
        if free is None:
            groups.append(free := {})
        free[path] = index
    return [list(g.values()) for g in groups]


def fetch(settings: Settings, source: Source, drawn: Sequence[Delivered], landing: Path) -> float:
    """The drawn files, and no others, as `landing/<number>`; returns seconds per byte downloaded."""
    landing.mkdir()
    began = time.perf_counter()

    def one(number: int) -> int:
        unit = drawn[number]
        folder = landing / f"fetch-{number}"
        folder.mkdir()
        got, target = source.fetch(unit.entry, folder), landing / str(number)
        if source.is_local:
            shutil.copyfile(got, target)
        else:
            got.rename(target)
        return target.stat().st_size

    with ThreadPoolExecutor(settings.download_concurrency) as pool:
        size = sum(pool.map(one, range(len(drawn))))
    return 0.0 if source.is_local else (time.perf_counter() - began) / max(1, size)
