"""Only what was started is ever stopped."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from avlake.errors import WorkError
from avlake.orchestration.server import Server, Session, free_port

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
FAMILY = [sys.executable, "-c", f"import subprocess, time; subprocess.Popen({SLEEP!r}); time.sleep(60)"]


@pytest.fixture
def processes():
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        for child in (*psutil.Process(process.pid).children(recursive=True),) if process.poll() is None else ():
            child.kill()
        process.kill()
        process.wait()


def remember(folder: Path, process: subprocess.Popen[bytes], *, started: float | None = None) -> Server:
    folder.mkdir(parents=True, exist_ok=True)
    created = psutil.Process(process.pid).create_time() if started is None else started
    (folder / "session.json").write_text(json.dumps({"sid": process.pid, "started": created, "port": 1}))
    return Server(folder)


def ended(process: psutil.Process) -> bool:
    """A container's first process may leave it a zombie."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_stop_ends_the_whole_session(tmp_path, processes):
    leader = processes(FAMILY)
    while not (children := psutil.Process(leader.pid).children()):
        time.sleep(0.05)
    server = remember(tmp_path, leader)
    assert {p.pid for p in server.session.members()} == {leader.pid, children[0].pid}
    assert server.stop()
    assert leader.wait(timeout=5) != 0
    assert ended(children[0])
    assert server.session is None


def test_stop_finds_children_whose_leader_died(tmp_path, processes):
    leader = processes(FAMILY)
    while not (children := psutil.Process(leader.pid).children()):
        time.sleep(0.05)
    server = remember(tmp_path, leader)
    leader.kill()
    leader.wait()
    assert server.stop()
    assert ended(children[0])


def test_a_stranger_with_the_same_pid_is_left_alone(tmp_path, processes):
    stranger = processes(SLEEP)
    server = remember(tmp_path, stranger, started=psutil.Process(stranger.pid).create_time() - 100)
    assert server.session is None
    assert not server.stop()
    assert stranger.poll() is None


def test_nothing_to_stop(tmp_path):
    assert not Server(tmp_path / "nowhere").stop()


def test_without_a_server_the_client_says_how_to_start_one(tmp_path):
    with pytest.raises(WorkError, match="make run"):
        Server(tmp_path).client()


def test_a_taken_port_is_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port


def test_our_own_session_is_no_member_of_another():
    me = psutil.Process()
    session = Session(os.getsid(0), me.create_time() + 1e9, 1)
    assert session.members() == []
