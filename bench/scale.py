"""What plan, commit, curate and publish cost for a drop of a million recordings, and whether it stays within bounds.

    python bench/scale.py [--files 1000000] [--keep FOLDER]

Bronze is generated without media, ten recordings to an archive as in VoxForge; measuring is replaced by fragments of
the size that `measure_shard` writes (two windows of voice features to a recording). Each step is a process of its own:
seconds are its wall time with all imports, memory is the most it held resident (VmHWM of /proc). Three runs: the first,
one where nothing changed, one where 1 % of the recordings changed. The exit status is 1 if a bound is broken.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from avlake.settings import Settings
    from avlake.stages.work import Item, Output, Plan

PIPELINE, DATASET, DROP = "voxforge_gender", "voxforge", "2026-01-01"
ARCHIVE_FILES = 10
WINDOWS = 2
BATCH = 1_000  # archives to a row group of bronze
MIB = 1 << 20
# Most MiB, and seconds for a million recordings (fewer take less) on two cores.
BOUNDS = {"plan": (2000, 300), "commit": (1000, 100), "curate": (3000, 300), "publish": (4500, 300)}
README = "User Name:speaker{speaker}\nGender: {gender}\nAge Range: Adult\nLanguage: EN\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000, help="recordings of the drop")
    parser.add_argument("--keep", type=Path, help="the folder to work in, which is then not removed")
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="avlake-scale-"))
    if asked.step:
        print(json.dumps(STEPS[asked.step](_settings(folder), asked.run, asked.files)))
        print(json.dumps({"mib": _peak_mib()}))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _all(folder, asked.files)
    finally:
        if not asked.keep:
            shutil.rmtree(folder)


def _all(folder: Path, files: int) -> int:
    broken = []
    print(f"{'run':<10} {'step':<9} {'seconds':>8} {'MiB':>7}  of {files} recordings")
    for run in ("first", "unchanged", "changed"):
        for step in STEPS:
            if step == "generate" and run == "unchanged":
                continue
            began = time.perf_counter()
            command = [sys.executable, __file__, "--step", step, "--run", run, "--files", str(files), "--keep", folder]
            report, cost = map(json.loads, subprocess.check_output(command, text=True).splitlines()[-2:])
            seconds = time.perf_counter() - began
            print(f"{run:<10} {step:<9} {seconds:8.1f} {cost['mib']:7.0f}  {json.dumps(report)}", flush=True)
            if step in BOUNDS:
                mib, limit_s = BOUNDS[step]
                if cost["mib"] > mib:
                    broken.append(f"{run} {step}: {cost['mib']:.0f} MiB, more than {mib}")
                if seconds > (most := 10 + limit_s * files / 1e6):
                    broken.append(f"{run} {step}: {seconds:.0f} s, more than {most:.0f}")
    print("\n".join(broken) or "all within bounds")
    return 1 if broken else 0


# --- the steps, each in a process of its own


def generate(settings: Settings, run: str, files: int) -> dict[str, Any]:
    """Commit bronze as `ingest` would; in the run `changed` every hundredth recording has other bytes."""
    import pyarrow as pa

    from avlake.lake import Lake
    from avlake.tables import BRONZE_CONTENTS, BRONZE_FILES

    lake, place = Lake.open(settings), (DATASET, DROP)
    texts: dict[str, bytes] = {}
    rows = lake.write_fragment(
        BRONZE_FILES,
        *place,
        (pa.Table.from_pylist(part, schema=BRONZE_FILES.schema) for part in _bronze(files, run == "changed", texts)),
    )
    shas = sorted(texts)
    parts = [shas[start : start + 10_000] for start in range(0, len(shas), 10_000)]
    contents = lake.write_fragment(
        BRONZE_CONTENTS,
        *place,
        (pa.table({"sha256": part, "content": pa.array([texts[s] for s in part], pa.binary())}) for part in parts),
    )
    for table, fragment in ((BRONZE_CONTENTS, contents), (BRONZE_FILES, rows)):
        lake.commit_drop(table, *place, [fragment], expected_version=lake.drop_version(table, *place))
    return {"file_rows": rows.rows, "mib": rows.size_bytes // MIB}


def plan(settings: Settings, run: str, files: int) -> dict[str, Any]:
    from avlake.lake import Lake
    from avlake.stages.extract import plan
    from avlake.stages.work import folder

    made = plan(settings, pipeline=PIPELINE, drop=DROP, run_id=run)
    store = Lake.open(settings).store
    store.write("plan.json", json.dumps(asdict(made)).encode())
    work = sum(store.fs.size(store.path(name)) for name in store.list(folder(DATASET, DROP)))
    sizes = {"xcom_bytes": len(json.dumps(asdict(made))), "plan_bytes": len(store.read(made.plan)), "work_bytes": work}
    return {"shards": made.shards, "to_measure": made.to_measure, "unchanged": made.unchanged, **sizes}


def measure(settings: Settings, run: str, files: int) -> dict[str, Any]:
    """Write what `measure_shard` would."""
    from avlake.lake import Lake
    from avlake.stages import work

    lake = Lake.open(settings)
    chosen = work.Plan.load(lake, json.loads(lake.store.read("plan.json"))["plan"])
    for shard in chosen.shards:
        items = work.load_shard(lake, chosen, shard)
        report = dict.fromkeys(("seconds", "cpu_s", "media_s", "bytes"), 1.0) | {"files": len(items), "quarantined": 0}
        work.store_result(lake, chosen, shard, _measured(lake, chosen, items, run), report)
    return {"shards": len(chosen.shards)}


def commit(settings: Settings, run: str, files: int) -> dict[str, Any]:
    from avlake.lake import Lake
    from avlake.stages.commit import commit

    lake = Lake.open(settings)
    report = commit(settings, plan=json.loads(lake.store.read("plan.json"))["plan"], run_id=run)
    assert report.files == report.measured == files, report
    return {"changed": report.changed, "files": report.files}


def curate(settings: Settings, run: str, files: int) -> dict[str, Any]:
    from avlake.stages.curate import curate

    report = curate(settings, pipeline=PIPELINE, run_id=run)
    assert sum(report.rows.values()) == WINDOWS * files, report
    return {"changed": report.changed, **report.rows}


def publish(settings: Settings, run: str, files: int) -> dict[str, Any]:
    from avlake.stages.publish import publish

    report = publish(settings, run_id=run)
    return {"changed": report.changed, "rows": sum(report.tables.values())}


STEPS: dict[str, Callable[[Settings, str, int], dict[str, Any]]] = {
    step.__name__: step for step in (generate, plan, measure, commit, curate, publish)
}


# --- what they are made of


def _settings(folder: Path) -> Settings:
    from avlake.settings import Settings

    return Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))


def _bronze(files: int, changed: bool, texts: dict[str, bytes]) -> Iterator[list[dict[str, Any]]]:
    """Rows of bronze.files, a batch of archives at a time; `texts` is filled with what the text files hold."""
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def row(path: str, data: bytes, kind: str, size: int) -> dict[str, Any]:
        return {
            "file_id": hashlib.sha256(f"{DATASET}/{path}".encode()).hexdigest()[:32],
            "dataset": DATASET,
            "drop_date": DROP,
            "path": path,
            "source_uri": f"s3://landing/{DATASET}/{DROP}/{path.split('/')[0]}",
            "source_version": "etag",
            "media_type": kind,
            "size_bytes": size,
            "sha256": hashlib.sha256(data).hexdigest(),
            "uri": None,
            "ingested_at": now,
            "licence": "CC0-1.0",
        }

    rows: list[dict[str, Any]] = []
    for archive in range(-(-files // ARCHIVE_FILES)):
        name = f"speaker{archive // 3:06d}-20260101-{archive:06d}"
        gender = "Female" if archive // 3 % 2 else "Male"
        inside = [f"wav/a{k:04d}" for k in range(min(ARCHIVE_FILES, files - archive * ARCHIVE_FILES))]
        prompts = "".join(f"{name}/mfc/{stem[4:]} THE WORDS OF RECORDING {stem} OF {archive}\n" for stem in inside)
        rows.append(row(f"{name}.tgz", name.encode(), "application/gzip", 1_300_000))
        said = {"README": README.format(speaker=archive // 3, gender=gender), "PROMPTS": prompts}
        for kind, text in said.items():
            rows.append(row(f"{name}.tgz/{name}/etc/{kind}", text.encode(), "text/plain", len(text)))
            texts[rows[-1]["sha256"]] = text.encode()
        for k, stem in enumerate(inside):
            path = f"{name}.tgz/{name}/{stem}.wav"
            other = changed and (archive * ARCHIVE_FILES + k) % 100 == 0
            rows.append(row(path, f"{path}{other}".encode(), "audio/wav", 130_000))
        if archive % BATCH == BATCH - 1:
            yield rows
            rows = []
    yield rows


def _measured(lake: Any, plan: Plan, items: list[Item], run: str) -> Output:
    import pyarrow as pa

    from avlake.extractors import base
    from avlake.stages.work import Output
    from avlake.tables import EXTRACTIONS

    output, place = Output(), (plan.dataset, plan.drop)
    asked: dict[str, list[Item]] = {}
    for item in items:
        for name in item.extractors:
            asked.setdefault(name, []).append(item)
    for name, found in asked.items():
        table = base.load(name).table
        rows = _silver(table.schema, [i.file_id for i in found], WINDOWS if len(table.key) > 1 else 1)
        output.add(table, lake.write_fragment(table, *place, [rows]))
    done = [
        {
            "dataset": DATASET,
            "drop_date": DROP,
            "file_id": item.file_id,
            "path": item.path,
            "sha256": item.sha256,
            "extractor": name,
            "params_hash": plan.hashes[name],
            "status": "ok",
            "seconds": 0.1,
            "run_id": run,
        }
        for item in items
        for name in item.extractors
    ]
    rows = pa.Table.from_pylist(done, schema=EXTRACTIONS.schema)
    output.add(EXTRACTIONS, lake.write_fragment(EXTRACTIONS, *place, [rows]))
    return output


def _silver(schema: pa.Schema, ids: list[str], windows: int) -> pa.Table:
    """Random measurements, the same for the same files."""
    import numpy as np
    import pyarrow as pa

    total, rng = len(ids) * windows, np.random.default_rng(len(ids))
    known = {
        "file_id": [i for i in ids for _ in range(windows)],
        "dataset": [DATASET] * total,
        "drop_date": [DROP] * total,
        "window_index": np.tile(np.arange(windows, dtype=np.int32), len(ids)),
        "codec": ["pcm_s16le"] * total,
        "clipping_ratio": np.zeros(total),
    }

    def column(field: pa.Field) -> pa.Array:
        values = known.get(field.name, rng.random(total) * 100)
        return pa.array(values).cast(field.type, safe=False)

    return pa.table({field.name: column(field) for field in schema}, schema=schema)


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
