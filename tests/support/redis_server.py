"""A redis-server on a port of its own, which a test may stop, start again and kill.

Rule: it keeps nothing on disk, and never outlives the test. While one runs, the token stores of
this process wait a minute for it, because a busy machine may delay it by more than their second.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from tcb_async.tokens import guarded_store

_SECONDS = 60.0
_ELSEWHERE = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))


def redis_program():
    """The path of redis-server; skips the test on a machine without it."""
    folders = (os.environ.get("PATH", os.defpath), _ELSEWHERE)
    path = shutil.which("redis-server", path=os.pathsep.join(folders))
    if path is None:
        pytest.skip("no redis-server: apt install redis-server (or: brew install redis)")
    return path


class RedisServer:
    """A redis-server.

    Attributes:
        port: Where it listens, on 127.0.0.1: the same after a restart.
    """

    def __init__(self, port, folder, *settings):
        self.port = port
        self._command = (
            redis_program(),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder),
            *("--save", "", "--appendonly", "no", "--logfile", f"{folder}/log", *settings),
        )
        self._process = None

    def start(self):
        self._process = subprocess.Popen(self._command)  # noqa: S603 - our own words
        self._until("PING", b"+PONG")

    @property
    def url(self):
        """Where it listens, as `Redis.from_url` takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def form_cluster(self):
        """Make a cluster of it alone; it has to run with ``--cluster-enabled yes``."""
        self._ask("CLUSTER ADDSLOTSRANGE 0 16383")
        self._until("CLUSTER INFO", b"cluster_state:ok")

    def stop(self):
        """Stop it and wait, if it is running."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(_SECONDS)

    @contextlib.contextmanager
    def frozen(self):
        """Make it accept connections and send nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def _until(self, command, answer):
        deadline = time.monotonic() + _SECONDS
        while answer not in self._ask(command):
            assert self._process.poll() is None, "redis-server did not start"
            assert time.monotonic() < deadline, f"redis-server does not reply to {command}"
            time.sleep(0.01)

    def _ask(self, command):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_SECONDS) as connection:
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(1000)
        except OSError:
            return b""


@contextlib.contextmanager
def running_redis(*settings):
    """Run one while the block lasts; skip the test on a machine without one.

    Args:
        settings: More words for its command line.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        unused_port() as port,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(guarded_store, "_TIMEOUT", _SECONDS)
        server = RedisServer(port, folder, *settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()


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
