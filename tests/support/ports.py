"""Ports on 127.0.0.1."""

from __future__ import annotations

import contextlib
import random
import socket

import psutil

__all__ = ["listening_ports", "unused_port"]


def unused_port() -> int:
    """Find a port for a server that cannot choose one itself, or comes back on the same.

    It is below those that the system gives to outgoing connections, so that none takes it while
    the server is stopped. A Redis cluster also listens 10000 ports further up.
    """
    while True:
        port = random.randrange(12_000, 22_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listening_ports() -> set[int]:
    """The ports on which this process listens."""
    connections = psutil.Process().net_connections("tcp")
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
