"""Where recordings are opened: a long-lived child process that may hang, crash or run out of memory.

The parent sends one file at a time over a pipe and enforces time and memory; whatever happens in the child costs that
one file, and the next one gets a new child. Only what the installation lacks ends the run: it would condemn every file.
A plain subprocess over pipes, because multiprocessing and pebble fail
inside Airflow tasks. The child sees neither credentials nor the network's variables: it decodes hostile bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa

from avlake.errors import Quarantined, RequestError, WorkError
from avlake.settings import MIB, Settings

POLL_S = 0.05
HEADER = struct.Struct("<IQ")  # lengths of the JSON head and of the payload; or 0, and the seconds decoded so far
START_S = 120.0  # for the child to load its libraries
STEP_S = 5.0  # the child tells its progress this often, in seconds of the recording
ALLOWED_PER_S = 2.0  # time that a second of the recording gives besides; measuring everything takes about 0.2
ALLOWED_MOST_S = 3600.0  # a few kilobytes can be pictures for days
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Measured(NamedTuple):
    """What one extractor made of one file: a batch, or why there is none; and the time it took."""

    batch: pa.RecordBatch | None
    error: Quarantined | None
    seconds: float


class Sandbox:
    """Opens and measures files, one at a time; use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.file_timeout_s
        self._memory_bytes = settings.file_memory_mb * MIB
        self._models = settings.models
        self._child: subprocess.Popen[bytes] | None = None
        self._ended_cpu_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def measure(
        self,
        source: bytes | Path,
        extractors: Mapping[str, Mapping[str, Any]],
        *,
        streams: Iterable[str] | None = None,
        annotation: str | None = None,
    ) -> dict[str, Measured]:
        """Open one file and run extractors, given as name → parameters, on it.

        Args:
            streams: what the file must have at least one of, `audio` or `video`; by default what the extractors read.
            annotation: what annotated extractors are to know of it.

        Raises:
            Quarantined: when the file cannot be opened, or ended the child: `timeout`, `out_of_memory`, `crashed`.
            RequestError, WorkError: when the installation lacks what an extractor needs, with the next step.
        """
        inline = isinstance(source, bytes)
        head = {
            "path": None if inline else str(source),
            "extractors": {k: dict(v) for k, v in extractors.items()},
            "streams": None if streams is None else sorted(streams),
            "annotation": annotation,
        }
        reply, payload = self._exchange(head, source if isinstance(source, bytes) else b"")
        if "installation" in reply:
            raise (RequestError if reply["request"] else WorkError)(reply["installation"])
        if "error_class" in reply:
            raise Quarantined(reply["error_class"], reply["error"])
        found, start = {}, 0
        for name, result in reply["results"].items():
            if "error_class" in result:
                found[name] = Measured(None, Quarantined(result["error_class"], result["error"]), result["seconds"])
                continue
            stop = start + result["bytes"]
            batch = pa.ipc.open_stream(payload[start:stop]).read_next_batch()
            found[name], start = Measured(batch, None, result["seconds"]), stop
        return found

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all children so far, in steps of 10 ms; 0 where this is no Linux."""
        child = self._child
        return self._ended_cpu_s + (_cpu_s(child.pid) if child and child.returncode is None else 0.0)

    def close(self) -> None:
        """End the child."""
        self._ended_cpu_s = self.cpu_s
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _exchange(self, head: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], memoryview]:
        child = self._child if self._child and self._child.poll() is None else self._start()
        assert child.stdin and child.stdout
        deadline = first = time.monotonic() + self._timeout_s
        packed = json.dumps(head).encode()
        try:
            self._send(child, HEADER.pack(len(packed), len(payload)) + packed, deadline)
            self._send(child, payload, deadline)
            size, more = HEADER.unpack(self._receive(child, HEADER.size, deadline))
            while not size:
                deadline = first + min(more * ALLOWED_PER_S, ALLOWED_MOST_S)
                size, more = HEADER.unpack(self._receive(child, HEADER.size, deadline))
            reply = json.loads(bytes(self._receive(child, size, deadline)))
            return reply, self._receive(child, more, deadline)
        except Quarantined:
            self.close()
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        self.close()
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | ONE_THREAD
        env["AVLAKE_MODELS"] = str(self._models)
        self._child = subprocess.Popen(
            # -P: what lies in the folder where somebody works is no module of the child's.
            [sys.executable, "-P", "-m", "avlake.media.worker", str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=env,
        )
        assert self._child.stdin and self._child.stdout
        os.set_blocking(self._child.stdin.fileno(), False)
        os.set_blocking(self._child.stdout.fileno(), False)
        try:
            self._receive(self._child, HEADER.size, time.monotonic() + START_S)
        except Quarantined:
            self.close()
            raise WorkError("the measuring process did not start, see what it printed; run `avlake doctor`") from None
        return self._child

    def _send(self, child: subprocess.Popen[bytes], data: bytes, deadline: float) -> None:
        assert child.stdin
        left = memoryview(data)
        while left:
            self._wait(child, deadline, writing=True)
            try:
                left = left[os.write(child.stdin.fileno(), left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended(child) from None

    def _receive(self, child: subprocess.Popen[bytes], size: int, deadline: float) -> memoryview:
        assert child.stdout
        data, got = memoryview(bytearray(size)), 0
        while got < size:
            self._wait(child, deadline, writing=False)
            try:
                n = os.readv(child.stdout.fileno(), [data[got:]])
            except BlockingIOError:
                continue
            if n == 0:
                raise self._ended(child)
            got += n
        return data

    def _wait(self, child: subprocess.Popen[bytes], deadline: float, *, writing: bool) -> None:
        """Wait until the pipe is ready; check time and memory every 50 ms."""
        assert child.stdin and child.stdout
        reading, sending = ([], [child.stdin.fileno()]) if writing else ([child.stdout.fileno()], [])
        while not any(select.select(reading, sending, [], min(POLL_S, max(deadline - time.monotonic(), 0.0)))):
            if time.monotonic() > deadline:
                raise Quarantined(
                    "timeout", f"not opened and measured in time (AVLAKE_FILE_TIMEOUT_S={self._timeout_s:g})"
                )
            if _resident_bytes(child.pid) > self._memory_bytes:
                raise Quarantined("out_of_memory", f"needs more than {self._memory_bytes // MIB} MiB")

    def _ended(self, child: subprocess.Popen[bytes]) -> Quarantined:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # over, but its CPU time can still be read
        self._ended_cpu_s = self.cpu_s
        code = child.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Quarantined("crashed", f"opening or measuring it ended the process ({how})")


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0  # it has ended, or this is no Linux: RLIMIT_AS in the child remains


def _cpu_s(pid: int) -> float:
    """User and system time of a process, its threads included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0
