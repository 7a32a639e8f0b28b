"""A forward proxy that refuses, as told, the first times that it is asked to CONNECT.

Rule: what it is not told to refuse, it tunnels to one server, whatever host was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import attrs
from listener import CHUNK, Listener, hang_up

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ConnectProxy"]


@attrs.define(eq=False)
class ConnectProxy:
    r"""Tunnels, as an async context manager; leaves nothing behind.

    Args:
        upstream_port: The server's port on 127.0.0.1.
        refusals: The heads of its first answers, such as ``"503 Busy\r\nRetry-After: 7"``;
            empty to hang up.

    Attributes:
        asked: The first line of each request.
    """

    upstream_port: int
    refusals: Iterable[str] = attrs.field(converter=list[str])
    asked: list[str] = attrs.field(factory=list, init=False)
    _listener: Listener = attrs.field(init=False, repr=False)

    @_listener.default
    def _(self):
        return Listener(self._serve)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._listener.port}"

    async def __aenter__(self):
        self._listener.listen()
        return self

    async def __aexit__(self, *_):
        await self._listener.close()

    async def _serve(self, client, _number):
        reader, writer = client
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(head.split(b"\r\n")[0].decode())
                if self.refusals:
                    refusal = self.refusals.pop(0)  # type: ignore[attr-defined]
                    if refusal:
                        head = f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n"
                        writer.write(head.encode())
                        await writer.drain()
                else:
                    await self._tunnel(client)
        finally:
            await hang_up(writer, reset=False)

    async def _tunnel(self, client):
        server = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        try:
            client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            up, down = _copy(client[0], server[1]), _copy(server[0], client[1])
            tasks = [asyncio.ensure_future(way) for way in (up, down)]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await hang_up(server[1], reset=False)


async def _copy(reader, writer):
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
