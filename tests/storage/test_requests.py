"""The requests that the forecast counts on, against what an S3 server was really asked for."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest

from avlake.datasets.synthetic import write_drop
from avlake.runner import run
from avlake.settings import load_settings
from avlake.stages.estimate import Estimate
from avlake.stages.store_requests import requests
from ports import free_port

S3_SERVER = str(Path(__file__).parents[1] / "s3_server.py")

pytestmark = pytest.mark.storage
REQUEST = re.compile(r'"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1.1"')
TOLERANCE = 0.2


@pytest.mark.parametrize(("drops", "speakers"), [(1, 2), (2, 2), (4, 2), (1, 12)])
def test_the_formula_counts_what_the_stages_ask_for(
    drops: int, speakers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(drops):
        write_drop(tmp_path / "landing", f"2026-09-{day + 1:02d}", speakers=speakers, utterances=4)
    port = free_port()
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    env = dict.fromkeys(names, "testing") | {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (env | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}).items():
        monkeypatch.setenv(name, value)
    log, command = tmp_path / "requests.log", (sys.executable, S3_SERVER, "-H", "127.0.0.1", "-p", str(port))
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            _wait(log)
            with contextlib.closing(boto3.client("s3")) as client:
                client.create_bucket(Bucket="lake")
            settings = load_settings(uri="s3://lake/here", warehouse=str(tmp_path / "warehouse.duckdb"), jobs=1)
            run(settings, pipeline="voxforge_gender", source=str(tmp_path / "landing"), train=False)
        finally:
            server.terminate()
    asked = REQUEST.findall(log.read_text())
    listed = sum("list-type" in path for _, path in asked)
    writes = sum(method in ("PUT", "POST") for method, _ in asked) + listed
    reads = sum(method in ("GET", "HEAD") for method, _ in asked) - listed
    files = Estimate(float(drops * speakers * 4))
    told = requests(drops=drops, files=files, objects=Estimate(0.0), fetched=0)
    counts = f"writes {writes}, told {told.writes.value:.0f}; reads {reads}, told {told.reads.value:.0f}"
    assert told.writes.value == pytest.approx(writes, rel=TOLERANCE), counts
    assert told.reads.value == pytest.approx(reads, rel=TOLERANCE), counts


def _wait(log: Path) -> None:
    for _ in range(300):
        if "Running on" in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
