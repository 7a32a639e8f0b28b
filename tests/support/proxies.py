"""Proxies, some of which refuse to CONNECT; and how a client uses one."""

import asyncio
from collections import deque
from collections.abc import Iterable

import attrs
from listener import Listener

_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
_VARIABLES += tuple(map(str.upper, _VARIABLES))

PROXY_FORMS = (
    "http://svc:{}@127.0.0.1:9",
    "http://svc:{}@[::1]:9",
    "http://svc:{}%2F@127.0.0.1:9",
    "http://svc:%2F{}@127.0.0.1:9",
    "http://{}@127.0.0.1:9",
    "http://svc:{}@proxy.invalid:3128",
    "https://svc:{}@127.0.0.1:9",
    "socks5://svc:{}@127.0.0.1:9",
    "//svc:{}@127.0.0.1:9",
    # not valid
    "svc:{}@127.0.0.1:9",
    "svc:{}@[::1]:9",
    "svc%3A{}%40127.0.0.1:9",
    "{}:svc@127.0.0.1:9",
    "http:svc:{}@127.0.0.1:9",
    "http://svc:{}",
    "http://svc:{}@",
    "http://svc:{}@127.0.0.1:port",
    "http://svc:{}@127.0.0.1:99999",
    "http://svc:/{}@127.0.0.1:9",
    "http://svc:{}@[::1:9",
    "http://svc:{}@ex\xe4mple..com:9",
    "{}",
)
"""How a user may write the address of a proxy that nobody listens on, with a password."""


def use_proxy(monkeypatch, url, variables=_VARIABLES):
    """Name a proxy in the environment, for every host."""
    for variable in (*_VARIABLES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    for variable in variables:
        monkeypatch.setenv(variable, url)


@attrs.define(eq=False)
class Proxy(Listener):
    """Passes bytes on to a server, until either side closes its connection.

    Args:
        upstream_port: The server's port on 127.0.0.1.
    """

    upstream_port: int

    async def serve(self, reader, writer):
        server = self.unbuffered(await asyncio.open_connection("127.0.0.1", self.upstream_port))
        ways = [
            asyncio.ensure_future(_pass_on(reader, server[1])),
            asyncio.ensure_future(_pass_on(server[0], writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.abort(server[1], reset=False)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(reader, writer):
    while data := await reader.read(Listener.CHUNK):
        writer.write(data)
        await writer.drain()


@attrs.define(eq=False)
class ConnectProxy(Proxy):
    r"""A forward proxy that refuses the first CONNECT requests.

    Tunnels accepted requests to one server, for any host.

    Args:
        refusals: The heads of its first replies, such as ``"503 Busy\r\nRetry-After: 7"``;
            empty to hang up.

    Attributes:
        asked: The first line of each request.
    """

    refusals: Iterable[str] = attrs.field(converter=deque[str])
    asked: list[str] = attrs.field(factory=list, init=False)

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b"\r\n")[0].decode())
        if not self.refusals:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await super().serve(reader, writer)
        elif refusal := self.refusals.popleft():
            writer.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
