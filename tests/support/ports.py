"""Ports on 127.0.0.1."""

import contextlib
import random
import socket


@contextlib.contextmanager
def unused_port():
    """Reserve a port for a server that cannot choose one itself, or restarts on the same port.

    It is below the ports that the system gives to outgoing connections, so that none takes it while
    the server is stopped. A Redis cluster also listens 10000 ports further up.

    During the block, no second process of the tests gets the port. A server with ``SO_REUSEADDR``,
    as all of ours are, can listen on it.
    """
    with socket.socket() as holder:
        while not holder.getsockname()[1]:
            with contextlib.suppress(OSError):
                holder.bind(("127.0.0.1", random.randrange(12_000, 22_000)))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield holder.getsockname()[1]
