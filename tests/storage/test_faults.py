"""What goes wrong with a store is told in one line that names the setting, in seconds, and leaves the store as it was.

Through the command itself, in processes of their own. The S3 server checks signatures and policies (moto's IAM).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from faulty import proxy

from avlake.datasets.synthetic import write_drop
from avlake.storage import open_store
from ports import free_port

S3_SERVER = str(Path(__file__).parents[1] / "s3_server.py")

pytestmark = pytest.mark.storage
DROP = "2026-09-01"
WRONG = "hush/7e1d+secret"  # no message may hold it
TOLD_S = 15  # an endpoint that does not answer is told within this; four times that on a machine that is busy
REGION = {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[dict[str, dict[str, str]]]:
    """An S3 server that checks who asks: the variables of a user who may all, and of one who may read."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, S3_SERVER, "-H", "127.0.0.1", "-p", str(port)]
    env = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "6"}  # to make the two users
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            yield {name: user(address, name, may) for name, may in (("owner", "s3:*"), ("reader", "s3:[GL]*"))}
        finally:
            server.terminate()


def user(address: str, name: str, may: str) -> dict[str, str]:
    actions = ["s3:*"] if may == "s3:*" else ["s3:GetObject", "s3:ListBucket", "s3:HeadObject"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    anybody = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    with contextlib.closing(boto3.client("iam", endpoint_url=address, **anybody)) as client:
        client.create_user(UserName=name)
        client.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        key = client.create_access_key(UserName=name)["AccessKey"]
    found = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return found | {"AWS_ENDPOINT_URL": address} | REGION


@pytest.fixture
def owner(guarded: dict[str, dict[str, str]]) -> dict[str, str]:
    """May all on s3://lake, which is empty."""
    given = guarded["owner"]
    keys = {"aws_access_key_id": given["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": given["AWS_SECRET_ACCESS_KEY"]}
    with contextlib.closing(boto3.client("s3", endpoint_url=given["AWS_ENDPOINT_URL"], **keys)) as client:
        client.create_bucket(Bucket="lake")
    open_store("s3://lake/here", given).delete("")  # without a prefix the bucket would go, too
    return given


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    write_drop(tmp_path / "landing", DROP, speakers=2, utterances=1)
    return tmp_path / "landing"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def avlake(tmp_path: Path) -> Command:
    """The command, with these variables and no other settings or credentials."""

    def run(
        uri: str, *arguments: str, before: tuple[str, ...] = (), limit: int | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AVLAKE_", "AWS_", "AZURE_"))}
        own = {"AVLAKE_URI": uri, "AVLAKE_WAREHOUSE": str(tmp_path / "warehouse.duckdb"), "AVLAKE_JOBS": "1"}
        own |= {"AVLAKE_DOWNLOADS": str(tmp_path / "downloads"), "HOME": str(tmp_path)}
        return subprocess.run(
            [*before, sys.executable, "-m", "avlake.cli", *arguments],
            env=kept | own | variables,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def told(done: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    """The one line that the command says, checked for what it must and must not hold."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("avlake: ")] or [done.stderr]
    assert done.returncode == code, done.stderr
    assert all(word in line for word in words), line
    for hidden in ("Traceback", "Error performing", WRONG, "RequestId", "\x1b"):
        assert hidden not in done.stderr + done.stdout
    return line


S3_FAULTS = {
    "wrong-secret": (2, {"AWS_SECRET_ACCESS_KEY": WRONG}, ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY")),
    "unknown-key": (2, {"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID")),
    "no-key": (2, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ("none found", "AWS_ACCESS_KEY_ID")),
    "missing-bucket": (2, {"AVLAKE_URI": "s3://nowhere/lake"}, ("no such bucket", "s3://nowhere/lake", "AVLAKE_URI")),
    "nobody-listens": (1, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ("connection refused", "AWS_ENDPOINT_URL")),
    "unknown-host": (1, {"AWS_ENDPOINT_URL": "http://nowhere.invalid"}, ("no such host", "AWS_ENDPOINT_URL")),
    "no-address": (2, {"AWS_ENDPOINT_URL": "minio:9000"}, ("AWS_ENDPOINT_URL", "https://host:port")),
}


@pytest.mark.parametrize("fault", S3_FAULTS)
def test_s3_is_told_in_one_line(avlake: Command, owner: dict[str, str], landing: Path, fault: str) -> None:
    code, wrong, words = S3_FAULTS[fault]
    began = time.monotonic()
    run = avlake("s3://lake/here", "run", "voxforge_gender", "--source", str(landing), **{**owner, **wrong})
    told(run, code, *words)
    assert time.monotonic() - began < 4 * TOLD_S
    assert run.stderr.count("\n") == 1 and run.stdout == ""
    told(avlake("s3://lake/here", "tables", **{**owner, **wrong}), code, *words)
    assert open_store("s3://lake", owner).list() == []


def test_a_store_that_never_answers_is_told_in_seconds(avlake: Command, owner: dict[str, str], silent: str) -> None:
    began = time.monotonic()
    done = avlake("s3://lake/here", "tables", **{**owner, "AWS_ENDPOINT_URL": silent})
    told(done, 1, "cannot reach the store", silent, "AWS_ENDPOINT_URL")
    assert time.monotonic() - began < 4 * TOLD_S  # twice 5 s of silence, and the start of the command


def test_the_landing_is_told_the_same_way(avlake: Command, owner: dict[str, str], tmp_path: Path) -> None:
    done = avlake(str(tmp_path / "lake"), "run", "voxforge_gender", "--source", "s3://nowhere/in", **owner)
    assert "AVLAKE_URI" not in told(done, 2, "s3://nowhere/in", "no such bucket", "--source or AVLAKE_LANDING")
    wrong = {**owner, "AWS_SECRET_ACCESS_KEY": WRONG}
    done = avlake(str(tmp_path / "lake"), "run", "voxforge_gender", "--source", "s3://lake/in", **wrong)
    told(done, 2, "s3://lake/in", "AWS_SECRET_ACCESS_KEY")
    assert not (tmp_path / "lake").exists()


def test_a_reader_sees_a_lake_and_cannot_touch_it(
    avlake: Command, guarded: dict[str, dict[str, str]], owner: dict[str, str], landing: Path
) -> None:
    command = ("run", "voxforge_gender", "--source", str(landing), "--no-train")
    told(avlake("s3://lake/here", *command, **guarded["reader"]), 2, "does not allow this", "AWS_ACCESS_KEY_ID")
    assert open_store("s3://lake", owner).list() == []

    made = avlake("s3://lake/here", *command, **owner)
    assert made.returncode == 0, made.stderr
    before = open_store("s3://lake", owner).list()
    tables = avlake("s3://lake/here", "tables", **guarded["reader"])
    assert tables.returncode == 0 and "bronze.files" in tables.stdout
    write_drop(landing, "2026-09-02", speakers=2, utterances=1)
    told(avlake("s3://lake/here", *command, **guarded["reader"]), 2, "does not allow this", "s3://lake/here")
    assert open_store("s3://lake", owner).list() == before

    again = avlake("s3://lake/here", *command, **owner)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("wrong-key", 2, ("AuthorizationFailure", "AZURE_STORAGE_ACCOUNT_KEY")),
        ("no-base64", 2, ("AZURE_STORAGE_ACCOUNT_KEY",)),
        ("missing-container", 2, ("no such container", "AVLAKE_URI")),
        ("nobody-listens", 1, ("connection refused", "AZURE_STORAGE_ENDPOINT")),
        ("no-account", 2, ("AZURE_STORAGE_ACCOUNT_NAME",)),
    ],
)
@pytest.mark.parametrize("store_root", ["azure"], indirect=True)
def test_azure_is_told_in_one_line(
    avlake: Command, store_root: str, landing: Path, fault: str, code: int, words: tuple[str, ...]
) -> None:
    right = {name: value for name, value in os.environ.items() if name.startswith("AZURE_")}
    uri, wrong = f"{store_root}/here", {}
    match fault:
        case "wrong-key":
            wrong = {"AZURE_STORAGE_ACCOUNT_KEY": "aHVzaC1odXNo"}
        case "no-base64":
            wrong = {"AZURE_STORAGE_ACCOUNT_KEY": WRONG}
        case "missing-container":
            uri = uri.replace("://test-", "://not-")
        case "nobody-listens":
            wrong = {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:9/devstoreaccount1"}
        case "no-account":
            uri, wrong = "abfss://container/here", {"AZURE_STORAGE_ACCOUNT_NAME": ""}
    began = time.monotonic()
    done = avlake(uri, "run", "voxforge_gender", "--source", str(landing), **{**right, **wrong})
    line = told(done, code, *words)
    assert time.monotonic() - began < 4 * TOLD_S
    assert done.stderr.count("\n") == 1 and "aHVzaC1odXNo" not in line
    assert open_store(store_root).list() == []


def test_a_folder_that_may_not_be_written(avlake: Command, landing: Path, tmp_path: Path) -> None:
    # Root may write anywhere, unless it gives that up.
    humble = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    command = ("run", "voxforge_gender", "--source", str(landing), "--no-train")
    (tmp_path / "closed").mkdir(mode=0o555)
    lake = tmp_path / "closed" / "lake"
    told(avlake(str(lake), *command, before=humble), 2, str(lake), "permission denied", "AVLAKE_URI")
    assert list((tmp_path / "closed").iterdir()) == []

    (tmp_path / "closed").chmod(0o755)
    assert avlake(str(lake), *command, before=humble).returncode == 0
    write_drop(landing, "2026-09-02", speakers=2, utterances=1)
    before = files(lake)
    folders = [lake, *(path for path in lake.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    told(avlake(str(lake), *command, before=humble), 2, str(lake), "permission denied", "AVLAKE_URI")
    assert files(lake) == before
    for folder in folders:
        folder.chmod(0o755)
    assert avlake(str(lake), *command, before=humble).returncode == 0


def test_a_lake_that_is_a_file(avlake: Command, tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    told(avlake(str(tmp_path / "lake"), "tables"), 2, "a file, not a folder", "AVLAKE_URI")


@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_a_full_disk(avlake: Command, landing: Path, tmp_path: Path, limit: int) -> None:
    """RLIMIT_FSIZE makes every write beyond it fail, as a full disk does (EFBIG for ENOSPC)."""
    command = ("run", "voxforge_gender", "--source", str(landing), "--no-train")
    lake = tmp_path / "lake"
    told(avlake(str(lake), *command, limit=limit), 1, "no room left")
    assert not list(lake.rglob("*.tmp"))
    shown = avlake(str(lake), "tables", "--format", "json")
    assert [row for row in json.loads(shown.stdout) if row["rows"]] == []  # nothing of the drop is seen
    done = avlake(str(lake), *command)
    assert done.returncode == 0, done.stderr
    shown = avlake(str(lake), "tables", "--format", "json")
    assert {row["table"]: row["rows"] for row in json.loads(shown.stdout)}["gold.gender_windows"] > 0


OUTAGE = """
import sys, time
import pyarrow as pa
from avlake.lake import Lake
from avlake.settings import load_settings
from avlake.tables import LABELS
lake = Lake.open(load_settings())
row = {"file_id": "f", "dataset": "voxforge", "drop_date": "2026-09-01", "name": "gender", "value": "f"}
table = pa.Table.from_pylist([row], schema=LABELS.schema)
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
lake.store.write("note", b"written while the store was away")
fragment = lake.write_fragment(LABELS, "voxforge", "2026-09-01", [table])
assert lake.commit_drop(LABELS, "voxforge", "2026-09-01", [fragment], expected_version=0)
print(f"{time.monotonic() - began:.1f}", flush=True)
"""


@pytest.mark.parametrize("store_root", ["s3", "azure"], indirect=True)
def test_a_store_that_is_away_for_20_s_is_waited_for(
    store_root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variable = "AWS_ENDPOINT_URL" if store_root.startswith("s3://") else "AZURE_STORAGE_ENDPOINT"
    server = os.environ[variable]
    with proxy(server, tmp_path / "log") as address:
        port = int(address.split(":")[2].split("/")[0])
        env = os.environ | {variable: address, "AVLAKE_URI": f"{store_root}/lake"}
        task = subprocess.Popen(
            [sys.executable, "-c", OUTAGE], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert task.stdin and task.stdout and task.stdout.readline() == "ready\n"
    task.stdin.write("\n")
    task.stdin.flush()
    time.sleep(20)
    with proxy(server, tmp_path / "log", port=port):
        took = task.communicate()[0]
    assert task.returncode == 0 and float(took) >= 19
    assert open_store(f"{store_root}/lake").read("note").startswith(b"written")


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
