"""Doctor finds what is wrong with each service, whatever else is wrong, and says what mends it, showing no secret."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from avlake import doctor
from ports import free_port

S3_SERVER = str(Path(__file__).with_name("s3_server.py"))

SECRET = "hush/9c4e"
FACES = "blaze_face_short_range.tflite"


def examined(tmp_path: Path, **variables: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Exit code, rows by check, and everything printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AVLAKE_", "AWS_", "AZURE_", "motherduck"))}
    own = {"AVLAKE_URI": str(tmp_path / "lake"), "AVLAKE_WAREHOUSE": str(tmp_path / "warehouse.duckdb")}
    command = [sys.executable, "-m", "avlake.cli", "doctor", "--format", "json"]
    done = subprocess.run(command, env=kept | own | variables, capture_output=True, text=True, check=False)
    return done.returncode, {row["check"]: row for row in json.loads(done.stdout)}, done.stdout + done.stderr


@pytest.fixture
def moto() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, S3_SERVER, "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(200):
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def test_everything_is_checked_though_everything_is_wrong(tmp_path: Path) -> None:
    code, found, printed = examined(
        tmp_path,
        AVLAKE_URI="s3://lake/here",
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY=SECRET,
        AVLAKE_LANDING=str(tmp_path / "nowhere"),
        AVLAKE_WAREHOUSE="md:avlake",
        AVLAKE_MODELS=str(tmp_path / "models"),
        AVLAKE_APPROVAL="talking_heads, voxforge_gender",
        AIRFLOW_CONN_AVLAKE_AIRFLOW=f"http://user:{SECRET.replace('/', '%2F')}@127.0.0.1:9",
    )
    assert code == 1
    services = ("lake", "landing", "warehouse", doctor.SERVER, "yamnet.tflite", FACES, "approval")
    assert {name: found[name]["state"] for name in services} == dict.fromkeys(services, "PROBLEM")
    assert "AWS_ENDPOINT_URL" in found["lake"]["mend"] and "connection refused" in found["lake"]["found"]
    assert "nowhere" in found["landing"]["found"] and "motherduck_token" in found["warehouse"]["found"]
    assert "127.0.0.1:9" in found[doctor.SERVER]["found"] and "AIRFLOW_CONN" in found[doctor.SERVER]["mend"]
    assert "needed by talking_heads and, where nothing is annotated, active_speaker" in found[FACES]["found"]
    assert "avlake models pull" in found[FACES]["mend"]
    assert "voxforge_gender cannot wait for approval" in found["approval"]["found"]
    assert SECRET not in printed and "hush" not in printed and "Traceback" not in printed


@pytest.mark.storage
def test_a_store_is_probed_afresh_and_left_as_it_was(tmp_path: Path, moto: str) -> None:
    variables = {"AWS_ENDPOINT_URL": moto, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET}
    variables |= {"AVLAKE_URI": "s3://lake/here", "AVLAKE_LANDING": "s3://landing/in"}
    client = boto3.client("s3", endpoint_url=moto, aws_access_key_id="x", aws_secret_access_key="x")
    client.create_bucket(Bucket="lake")
    _, found, _ = examined(tmp_path, **variables)
    assert found["lake"]["state"] == "ok" and "racing" in found["lake"]["found"]
    assert found["landing"]["state"] == "PROBLEM" and "no such bucket" in found["landing"]["found"]
    assert client.list_objects_v2(Bucket="lake")["KeyCount"] == 0
    client.close()


def test_people_read_what_is_wrong_and_below_it_what_to_do() -> None:
    checks = [
        doctor.Check("lake", True, "s3://lake"),
        doctor.Check("models", False, "none " * 30, "avlake models pull"),
    ]
    lines = doctor.text(checks).splitlines()
    assert lines[0] == "ok       lake    s3://lake"
    assert lines[1] == "PROBLEM  models  " + "none " * 30 and lines[2].strip() == "→ avlake models pull"
    assert lines[-1] == "1 of 2 checks found a problem"
