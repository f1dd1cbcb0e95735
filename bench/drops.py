"""What a table's log costs as drops are added to it: commit, size, checkpoints; and with very many live files.

    python bench/drops.py [--drops 300] [--every 50]
    python bench/drops.py --live 100000

Each drop is one commit of one file with one row to ops.extractions of a temporary lake in a folder. With `--live`, a
log of so many files that do not exist, 200 to a drop, is opened as every stage opens it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
import uuid
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from avlake.lake import Lake
from avlake.settings import Settings
from avlake.tables import EXTRACTIONS, PARTITION

DATASET = "voxforge"
FILES_PER_DROP = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drops", type=int, default=300)
    parser.add_argument("--every", type=int, default=50, help="print a line for so many drops")
    parser.add_argument("--live", type=int, help="open a table of so many live files instead")
    asked = parser.parse_args()
    if asked.live:
        _open_large(asked.live)
        return
    with tempfile.TemporaryDirectory(prefix="avlake-drops-") as folder:
        lake, log = Lake.open(Settings(uri=folder)), Path(folder, "ops", "extractions", "_delta_log")
        print(f"{'drops':>6} {'commit ms':>10} {'open ms':>8} {'log KiB':>8} {'commit bytes':>13} {'checkpoints':>12}")
        times: list[float] = []
        for index in range(1, asked.drops + 1):
            times.append(_commit(lake, index))
            if index % asked.every == 0:
                began = time.perf_counter()
                lake.drop_version(EXTRACTIONS, DATASET, _date(index))
                opened = time.perf_counter() - began
                files = [path for path in log.iterdir() if path.is_file()]
                last = max(path for path in files if path.suffix == ".json").stat().st_size
                points = sorted(path for path in files if path.name.endswith(".checkpoint.parquet"))
                shown = f"{len(points)} ({points[-1].stat().st_size / 1024:.0f} KiB)" if points else "0"
                total = sum(path.stat().st_size for path in files) / 1024
                row = f"{index:6} {1000 * statistics.median(times):10.0f} {1000 * opened:8.1f} {total:8.0f}"
                print(f"{row} {last:13} {shown:>12}", flush=True)
                times = []


def _open_large(files: int) -> None:
    with tempfile.TemporaryDirectory(prefix="avlake-drops-") as folder:
        lake = Lake.open(Settings(uri=folder))
        _commit(lake, 0)
        delta = DeltaTable(lake.store.uri_of(EXTRACTIONS.path))
        stats = json.dumps({"numRecords": 5000, "minValues": {"file_id": "0" * 32}, "maxValues": {"file_id": "f" * 32}})
        adds = [_add(_date(1 + index // FILES_PER_DROP), stats) for index in range(files)]
        delta.create_write_transaction(adds, "append", EXTRACTIONS.schema, list(PARTITION))
        DeltaTable(lake.store.uri_of(EXTRACTIONS.path)).create_checkpoint()
        del adds
        points = sorted(Path(folder).rglob("*.checkpoint.parquet"))
        print(f"{files} live files, checkpoint {points[-1].stat().st_size / files:.0f} bytes a file")
        for name, call in {
            "drop_version": lambda: lake.drop_version(EXTRACTIONS, DATASET, _date(1)),
            "drops": lake.drops,
            "rows of one drop": lambda: lake.scan(EXTRACTIONS.name, [(DATASET, _date(0))]),
        }.items():
            began = time.perf_counter()
            call()
            print(f"{name:<17} {time.perf_counter() - began:6.2f} s", flush=True)
        before = time.perf_counter()
        _commit(lake, 10**6 // 2)
        print(f"commit of a drop  {time.perf_counter() - before:6.2f} s")
        print(f"peak memory       {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def _add(drop: str, stats: str) -> AddAction:
    name = f"dataset={DATASET}/drop_date={drop}/{uuid.uuid4().hex}.parquet"
    return AddAction(name, 10**6, {"dataset": DATASET, "drop_date": drop}, 0, True, stats)


def _commit(lake: Lake, index: int) -> float:
    """Seconds of one drop's commit, its fragment not counted."""
    drop = _date(index)
    row = {"file_id": f"{index:032x}", "extractor": "media", "status": "ok", "dataset": DATASET, "drop_date": drop}
    rows = pa.Table.from_pylist([row], schema=EXTRACTIONS.schema)
    fragment = lake.write_fragment(EXTRACTIONS, DATASET, drop, [rows])
    began = time.perf_counter()
    lake.commit_drop(EXTRACTIONS, DATASET, drop, [fragment], expected_version=0)
    return time.perf_counter() - began


def _date(index: int) -> str:
    return str(date(2000, 1, 1) + timedelta(days=index))


if __name__ == "__main__":
    main()
