"""A gold table of made-up speakers, in a warehouse file: women and men differ in some features, speakers in all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from avlake.delivery import WHOLE, Delivery, Incoming
from avlake.learn.splits import split_of
from avlake.settings import Settings
from avlake.tables import EXTRACTIONS
from avlake.warehouse import publish

CLASSES = ("female", "male")


def gold(
    *,
    speakers: int = 12,
    files: int = 3,
    features: int = 12,
    telling: int = 4,
    gap: float = 2.0,
    seed: int = 0,
    shift: float = 0.0,
) -> pa.Table:
    """`speakers` of each class, `files` files each of one to three windows; `telling` features differ by `gap`."""
    rng = np.random.default_rng(seed)
    rows = []
    for label, gender in enumerate(CLASSES):
        for speaker in range(speakers):
            name = f"{gender}{speaker}"
            voice = rng.normal(size=features) + shift
            voice[:telling] += gap * label
            for file in range(files):
                file_id = f"{name}-{file}"
                for window in range(1 + (speaker + file) % 3):
                    values = voice + rng.normal(scale=0.7, size=features)
                    rows.append(
                        {
                            "file_id": file_id,
                            "dataset": "voxforge",
                            "drop_date": f"2026-09-0{1 + file % 3}",
                            "path": f"{name}/wav/{file}.wav",
                            "subject_id": name,
                            "window_index": window,
                            "window_start_s": float(window),
                            "window_end_s": window + 3.0,
                            "gender": gender,
                            "age_range": None,
                            "language": "en",
                            "dialect": None,
                            "split": split_of(name, "voxforge_gender"),
                            "kept": True,
                            "reject_reason": None,
                            **{f"f0_{i}": float(v) for i, v in enumerate(values)},
                        }
                    )
    table = pa.Table.from_pylist(rows)
    columns = [
        table[n].cast(
            pa.float32() if n.startswith("f0_") else pa.string() if table[n].type == pa.null() else table[n].type
        )
        for n in table.column_names
    ]
    return pa.table(columns, names=table.column_names)


def whole(table: pa.Table, seen: str) -> Incoming:
    """A table for the warehouse, all of it one slice."""
    return Incoming({WHOLE: seen}, lambda slices: ds.dataset(table if slices else table.slice(0, 0)))


def published(
    folder: Path, table: pa.Table, *, extractions: list[dict[str, str]] | None = None, seen: str = "1"
) -> Settings:
    """Settings of a lake in `folder` whose warehouse holds `table` as gold.gender_windows, and ops.extractions."""
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))
    ops = pa.Table.from_pylist(extractions or [], schema=EXTRACTIONS.schema)
    tables = {"gold.gender_windows": table, "ops.extractions": ops}
    publish(settings, lambda: Delivery({name: whole(data, seen) for name, data in tables.items()}))
    return settings
