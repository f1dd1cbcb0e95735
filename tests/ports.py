"""Ports for the servers that tests start."""

from __future__ import annotations

import contextlib
import os
import random
import socket

# Linux gives connections their ports from 32768 on. A server's own lies below: none of the other process's connections
# takes it before the server is up, or while it is away. And each process of pytest-xdist has every second one.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(20_000 + WORKER % 2, 32_000, 2)


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
