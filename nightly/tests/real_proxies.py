"""nginx, haproxy and squid as they are, each on a port and in a folder of its own.

Rule: a test writes the lines of configuration that matter; none of them outlives the test.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import attrs
from ports import unused_port
from programs import needs

__all__ = ["Proxy", "haproxy", "nginx", "squid"]

_SECONDS = 60.0


@attrs.define(eq=False)
class Proxy:
    """A running proxy.

    Attributes:
        port: Where it listens, on 127.0.0.1.
    """

    port: int
    _process: subprocess.Popen[bytes]
    _reload: signal.Signals | None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def reload(self):
        """Have it read its configuration again, as an administrator does."""
        assert self._reload is not None
        self._process.send_signal(self._reload)


@contextlib.contextmanager
def nginx(upstream, *, http="", server="", location=""):
    """Run nginx before a server.

    Args:
        upstream: The server's port on 127.0.0.1.
        http: More lines for the block of this name.
        server: Likewise.
        location: Likewise.
    """
    with unused_port() as port, _folder() as folder:
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = f"""
            daemon off;
            pid {folder}/pid;
            error_log {folder}/log;
            events {{ }}
            http {{
                access_log off;
                {temporary}
                upstream emulator {{ server 127.0.0.1:{upstream} max_fails=0; keepalive 8; }}
                {http}
                server {{
                    listen 127.0.0.1:{port};
                    {server}
                    location / {{
                        proxy_pass http://emulator;
                        proxy_http_version 1.1;
                        proxy_set_header Connection "";
                        proxy_connect_timeout 1s;
                        {location}
                    }}
                }}
            }}
        """
        settings = _written(folder, text)
        command = [needs("nginx"), "-p", folder, "-e", f"{folder}/log", "-c", settings]
        with _running(command, port, reload=signal.SIGHUP) as proxy:
            yield proxy


@contextlib.contextmanager
def haproxy(upstream, *, bind="", frontend="", defaults="", server=""):
    """Run haproxy before a server.

    Args:
        upstream: The server's port on 127.0.0.1.
        bind: More words for the line of this name.
        frontend: More lines for the section of this name.
        defaults: Likewise.
        server: More words for the line of this name.
    """
    with unused_port() as port, _folder() as folder:
        text = f"""
            global
                hard-stop-after 1s
            defaults
                mode http
                timeout connect 1s
                timeout client 60s
                timeout server 60s
                {defaults}
            frontend all
                bind 127.0.0.1:{port} {bind}
                {frontend}
                default_backend emulator
            backend emulator
                server emulator 127.0.0.1:{upstream} {server}
        """
        command = [needs("haproxy"), "-W", "-db", "-f", _written(folder, text)]
        with _running(command, port, reload=signal.SIGUSR2) as proxy:
            yield proxy


@contextlib.contextmanager
def squid(*, settings=""):
    """Run squid as a forward proxy.

    Args:
        settings: Lines before the line that allows everything.
    """
    with unused_port() as port, _folder() as folder:
        text = f"""
{settings}
http_port 127.0.0.1:{port}
http_access allow all
cache deny all
cache_mem 1 MB
access_log none
cache_log /dev/null
cache_store_log none
netdb_filename none
pid_filename none
pinger_enable off
visible_hostname localhost
shutdown_lifetime 0 seconds
coredump_dir {folder}
"""
        command = [needs("squid"), "-N", "-f", _written(folder, text)]
        with _running(command, port, reload=None) as proxy:
            yield proxy


@contextlib.contextmanager
def _folder():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # started by root, they work as somebody else
        yield folder


def _written(folder, text):
    path = Path(folder) / "settings"
    path.write_text(text.strip() + "\n", encoding="utf-8")
    return str(path)


@contextlib.contextmanager
def _running(command, port, *, reload):
    process = subprocess.Popen(  # noqa: S603 - our own words
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        yield Proxy(port, process, reload)
    finally:
        process.terminate()
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_SECONDS)


def _wait_for(port, process):
    deadline = time.monotonic() + _SECONDS
    while True:
        assert process.poll() is None, f"{process.args!r} stopped immediately"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, f"{process.args!r} does not listen"
        time.sleep(0.01)
