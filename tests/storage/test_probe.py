"""A store that lets two writers win is refused before anything is written to it; one that does not is remembered."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from faulty import proxy

from avlake import probe
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.settings import load_settings
from avlake.storage import open_store

pytestmark = pytest.mark.storage
MOST_REQUESTS = 45  # the first time: 34 on S3, 42 on Azure


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    probe.forget()
    yield
    probe.forget()


def test_a_good_store_is_probed_once_and_remembered(store_uri: str) -> None:
    store = open_store(store_uri)
    probe.check(store)
    (mark,) = store.list()
    assert mark.startswith("_probe/") and b"racing" in store.read(mark)
    probe.forget()
    probe.check(open_store(store_uri))
    assert store.list() == [mark]


def test_of_racing_creates_one_wins_and_is_read(store_uri: str) -> None:
    store, gate = open_store(store_uri), threading.Barrier(16)
    won: list[int] = []

    def create(writer: int) -> None:
        gate.wait()
        if store.create("a/b", str(writer).encode()):
            won.append(writer)

    threads = [threading.Thread(target=create, args=(writer,)) for writer in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and store.read("a/b") == str(won[0]).encode() and store.list() == ["a/b"]


@pytest.mark.parametrize("store_root", ["s3"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("deaf", "racing writers were told that they were first"),
        ("slow-look", "racing writers were told that they were first"),
        ("garbling", "not what the first writer wrote"),
    ],
)
def test_an_unsafe_store_is_refused_and_left_as_it_was(
    store_root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str, seen: str
) -> None:
    server = os.environ["AWS_ENDPOINT_URL"]
    with proxy(server, tmp_path / "log", fault=fault) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        for _ in range(5):
            with pytest.raises(RequestError, match=seen) as caught:
                Lake.open(load_settings(uri=f"{store_root}/lake"))
        assert "If-None-Match" in str(caught.value) and "AVLAKE_URI" in str(caught.value)
    assert open_store(store_root, {"AWS_ENDPOINT_URL": server}).list() == []


@pytest.mark.parametrize("store_root", ["s3"], indirect=True)
def test_a_store_is_probed_again_behind_another_endpoint(store_root: str, tmp_path: Path) -> None:
    probe.check(open_store(store_root))
    with (
        proxy(os.environ["AWS_ENDPOINT_URL"], tmp_path / "log", fault="deaf") as address,
        pytest.raises(RequestError, match="conditional"),
    ):
        probe.check(open_store(store_root, {"AWS_ENDPOINT_URL": address}))


@pytest.mark.parametrize("store_root", ["s3", "azure"], indirect=True)
def test_both_clients_send_the_condition_and_a_known_store_costs_one_request(
    store_root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variable = "AWS_ENDPOINT_URL" if store_root.startswith("s3://") else "AZURE_STORAGE_ENDPOINT"
    with proxy(os.environ[variable], log := tmp_path / "log") as address:
        monkeypatch.setenv(variable, address)
        store = open_store(f"{store_root}/lake")
        probe.check(store)
        first = Counter((line.split()[0], line.split()[-1]) for line in log.read_text().splitlines())
        assert first["PUT", "*"] == probe.ROUNDS * (probe.WRITERS + 1) and first["PUT", "-"] == 1
        assert sum(first.values()) <= MOST_REQUESTS, first

        log.write_text("")
        probe.forget()
        probe.check(store)
        assert [line.split()[0] for line in log.read_text().splitlines()] == ["GET"]

        DeltaTable.create(store.uri_of("t"), pa.schema([("a", pa.int64())]), storage_options=store.delta_options)
        commits = [line for line in log.read_text().splitlines() if line.startswith("PUT") and "_delta_log" in line]
        assert commits and all(line.endswith(" *") for line in commits)


def test_processes_that_probe_at_once_do_not_disturb_each_other(store_uri: str) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        assert pool.map(_check, [store_uri] * 4) == [None] * 4
    assert len(open_store(store_uri).list()) == 1


def _check(uri: str) -> None:
    probe.check(open_store(uri))
