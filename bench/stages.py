"""What each stage costs, scaled to 10,000 recordings: tasks, seconds, CPU, memory, bytes and requests to S3.

    python bench/stages.py [--recordings 400] [--files-per-task 64]

One drop of synthesised recordings goes through the stages twice, one shard after the other as in one Airflow task slot:
into a folder, for seconds, CPU and bytes, and into moto's S3 server, whose log is counted. Fixed costs are scaled, too.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil

from avlake.datasets.synthetic import write_drop
from avlake.settings import Settings
from avlake.stages.commit import commit
from avlake.stages.curate import curate
from avlake.stages.extract import measure_shard, plan
from avlake.stages.ingest import ingest
from avlake.stages.publish import publish

DROP, PIPELINE = "2026-01-01", "voxforge_gender"
UTTERANCES = 10  # to an archive, as in VoxForge
SCALED = 10_000
REQUEST = re.compile(r'"(GET|HEAD|PUT|POST|DELETE) ')
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=400)
    parser.add_argument("--files-per-task", type=int, default=64)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="avlake-stages-") as name:
        folder = Path(name)
        write_drop(folder / "landing", DROP, speakers=asked.recordings // UTTERANCES, utterances=UTTERANCES)
        costs = _run(folder, str(folder / "lake"), asked.files_per_task, lambda: _folder_bytes(folder))
        with _s3(folder) as log:
            counts = _run(folder, "s3://lake/bench", asked.files_per_task, lambda: _requests(log))
    factor = SCALED / asked.recordings
    print(f"{asked.recordings} recordings in {asked.recordings // UTTERANCES} archives, times {factor:g}\n")
    print(f"{'stage':8} {'tasks':>6} {'seconds':>8} {'CPU s':>8} {'MB written':>11} {'writes':>8} {'reads':>8}")
    for stage, (tasks, seconds, cpu_s, size) in costs.items():
        writes, reads = counts[stage][3]
        row = [f"{seconds * factor:8.1f}", f"{cpu_s * factor:8.1f}", f"{size[0] / 1e6 * factor:11.1f}"]
        many = tasks if tasks == 1 else round(tasks * factor)
        print(f"{stage:8} {many:6}", *row, f"{writes * factor:8.0f} {reads * factor:8.0f}")


def _run(folder: Path, uri: str, files_per_task: int, meter: Callable[[], tuple[int, int]]) -> dict[str, Any]:
    """Stage → (tasks, seconds, CPU seconds, what `meter` grew by)."""
    settings = Settings(uri=uri, warehouse=str(folder / f"{'s3' if '://' in uri else 'wh'}.duckdb"))
    found: dict[str, Any] = {}

    def cost(stage: str, tasks: int, do: Callable[[], Any]) -> Any:
        meter_before, cpu_before, began = meter(), _cpu_s(), time.perf_counter()
        done = do()
        seconds, cpu_s = time.perf_counter() - began, _cpu_s() - cpu_before
        grown = tuple(now - then for now, then in zip(meter(), meter_before, strict=True))
        found[stage] = (tasks, seconds, cpu_s, grown)
        return done

    run = {"run_id": "bench"}
    source = {"dataset": "voxforge", "source": str(folder / "landing"), "drop": DROP}
    cost("ingest", 1, lambda: ingest(settings, **source, **run))
    made = cost("plan", 1, lambda: plan(settings, pipeline=PIPELINE, drop=DROP, files_per_task=files_per_task, **run))
    measure = {"plan": made.plan, **run}
    cost("extract", made.shards, lambda: [measure_shard(settings, shard=n, **measure) for n in range(made.shards)])
    cost("commit", 1, lambda: commit(settings, plan=made.plan, **run))
    cost("curate", 1, lambda: curate(settings, pipeline=PIPELINE, **run))
    cost("publish", 1, lambda: publish(settings, **run))
    return found


def _cpu_s() -> float:
    """Of this process and of the children it has ended."""
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def _folder_bytes(folder: Path) -> tuple[int, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and "landing" not in path.parts]
    return sum(path.stat().st_size for path in files), 0


def _requests(log: Path) -> tuple[int, int]:
    """Writes (PUT, POST, and GET of a listing) and reads (GET, HEAD) that the server has logged."""
    lines = [line for line in log.read_text().splitlines() if REQUEST.search(line)]
    writes = sum(1 for line in lines if re.search(r'"(PUT|POST) |"GET [^"]*list-type', line))
    return writes, sum(1 for line in lines if re.search(r'"(GET|HEAD) ', line) and "list-type" not in line)


@contextmanager
def _s3(folder: Path) -> Iterator[Path]:
    """moto's server, the bucket `lake` and the environment that leads there; yields the server's log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint, log = f"http://127.0.0.1:{port}", folder / "moto.log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with subprocess.Popen(command, stdout=out, stderr=out) as server:
            try:
                os.environ |= {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}
                _wait(endpoint)
                boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="lake")
                yield log
            finally:
                server.terminate()


def _wait(endpoint: str) -> None:
    for _ in range(100):
        try:
            httpx.get(endpoint, timeout=1)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit(f"moto's server does not answer at {endpoint}")


if __name__ == "__main__":
    main()
