"""The sandbox's child: reads one request at a time from standard input, measures, replies on standard output."""

from __future__ import annotations

import ctypes
import io
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from avlake.errors import AvlakeError, Quarantined, RequestError, WorkError
from avlake.extractors import base
from avlake.media.clip import Clip
from avlake.media.sandbox import HEADER, STEP_S

PR_SET_PDEATHSIG = 1
NO_ROOM = "failed to map segment"  # how a library's import fails under the memory limit
RESERVED_BYTES = 2 << 30  # address space that libraries reserve and never touch


def main() -> None:
    """Serve requests until standard input ends."""
    requests, replies = _isolate(int(sys.argv[1]))
    replies.write(HEADER.pack(0, 0))
    replies.flush()
    while head := requests.read(HEADER.size):
        size, more = HEADER.unpack(head)
        request = json.loads(requests.read(size))
        content = requests.read(more)
        try:
            source = Path(request["path"]) if request["path"] else content
            reply, payload = _answer(request, Clip(source, _Progress(replies).tell, request["annotation"]))
        except AvlakeError as error:
            reply, payload = {"installation": str(error), "request": isinstance(error, RequestError)}, b""
        packed = json.dumps(reply).encode()
        replies.write(HEADER.pack(len(packed), len(payload)) + packed + payload)
        replies.flush()


def _isolate(memory_bytes: int) -> tuple[IO[bytes], IO[bytes]]:
    """Limit this process, tie it to its parent's life, and keep library prints out of the reply pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A single huge allocation fails at once, here; slow growth is seen by the parent, which watches resident memory.
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + RESERVED_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, replies


class _Progress:
    """Tells the parent how many seconds are decoded, as a header without a reply, but not too often."""

    def __init__(self, replies: IO[bytes]) -> None:
        self._replies, self._told_s = replies, 0.0

    def tell(self, decoded_s: float) -> None:
        if decoded_s >= self._told_s + STEP_S:
            self._told_s = decoded_s
            self._replies.write(HEADER.pack(0, int(decoded_s)))
            self._replies.flush()


def _answer(request: dict[str, Any], clip: Clip) -> tuple[dict[str, Any], bytes]:
    """The reply to one request.

    Raises:
        AvlakeError: for what is wrong with the installation, not with the file.
    """
    try:
        extractors = {name: _extractor(name, params) for name, params in request["extractors"].items()}
        streams = request["streams"]
        if streams is None:
            streams = base.streams_of(type(e) for e in extractors.values())
        able = base.register(clip, extractors.values(), streams=streams)
        clip.check(clip.streams.intersection(streams or clip.streams))
    except Exception as error:
        return _failure(error), b""
    results: dict[str, dict[str, Any]] = {}
    payload = io.BytesIO()
    for name, extractor in extractors.items():
        start, began = payload.tell(), time.perf_counter()
        try:
            batch = _batch(extractor, clip) if extractor in able else _nothing(extractor)
            with pa.ipc.new_stream(payload, batch.schema) as writer:
                writer.write_batch(batch)
            results[name] = {"bytes": payload.tell() - start}
        except Exception as error:
            payload.seek(start)
            payload.truncate()
            results[name] = _failure(error)
        results[name]["seconds"] = time.perf_counter() - began
    return {"results": results}, payload.getvalue()


def _extractor(name: str, params: dict[str, Any]) -> base.Extractor:
    kind = base.load(name)
    return kind(kind.Params(**params))


def _batch(extractor: base.Extractor, clip: Clip) -> pa.RecordBatch:
    """The measured columns, checked against the extractor's own table: a missing or unknown name is an error."""
    columns, declared = extractor.measure(clip), _declared(extractor)
    if columns.keys() != {f.name for f in declared}:
        wrong = sorted(columns.keys() ^ {f.name for f in declared})
        raise ValueError(f"{extractor.name} and its table disagree on columns {wrong}")
    return pa.record_batch([pa.array(columns[f.name], f.type) for f in declared], schema=pa.schema(declared))


def _nothing(extractor: base.Extractor) -> pa.RecordBatch:
    """The rows of a clip that lacks a stream."""
    return pa.RecordBatch.from_pylist([], schema=pa.schema(_declared(extractor)))


def _declared(extractor: base.Extractor) -> list[pa.Field]:
    """What it measures; an object is bytes here and its sha256 in the table."""
    fields = [field for field in extractor.table.schema if field.name not in base.ADDED]
    return [field.with_type(pa.binary()) if field.name in extractor.objects else field for field in fields]


def _failure(error: Exception) -> dict[str, Any]:
    """What the file is to be charged with.

    Raises:
        AvlakeError: where it is the installation instead.
    """
    if isinstance(error, Quarantined):
        return {"error_class": error.error_class, "error": str(error)}
    if isinstance(error, MemoryError) or NO_ROOM in str(error):
        return {"error_class": "out_of_memory", "error": "an allocation failed under the memory limit of one file"}
    if isinstance(error, AvlakeError):
        raise error
    if isinstance(error, ImportError):
        raise WorkError(f"a library does not load ({error}); run `avlake doctor`") from None
    return {"error_class": "measure_error", "error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
