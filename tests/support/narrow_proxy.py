"""A proxy that serves only so many connections at once, in one of the ways that proxies have.

Rule: what comes beyond is queued until one of the others is closed, dropped, or answered 503.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import attrs
from listener import CHUNK, Listener, hang_up

__all__ = ["NarrowProxy"]

_BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@attrs.define(eq=False)
class NarrowProxy:
    """Passes on bytes to a server, as an async context manager; leaves nothing behind.

    Args:
        upstream_port: The server's port on 127.0.0.1.
        connections: How many it serves at once.
        beyond: What becomes of others.

    Attributes:
        accepted: How many connections came.
    """

    upstream_port: int
    connections: int
    beyond: Literal["queue", "drop", "503"]
    _serving: int = attrs.field(default=0, init=False)
    _freed: asyncio.Condition = attrs.field(factory=asyncio.Condition, init=False)
    _listener: Listener = attrs.field(init=False, repr=False)

    @_listener.default
    def _(self):
        return Listener(self._serve)

    @property
    def port(self):
        return self._listener.port

    @property
    def accepted(self):
        return self._listener.accepted

    async def __aenter__(self):
        self._listener.listen()
        return self

    async def __aexit__(self, *_):
        await self._listener.close()

    async def _serve(self, client, _number):
        try:
            if self._serving < self.connections or self.beyond == "queue":
                await self._serve_in_turn(client)
            elif self.beyond == "503":
                await client[0].readuntil(b"\r\n\r\n")
                client[1].write(_BUSY)
                await client[1].drain()
        finally:
            await hang_up(client[1], reset=False)

    async def _serve_in_turn(self, client):
        async with self._freed:
            await self._freed.wait_for(lambda: self._serving < self.connections)
            self._serving += 1
        try:
            server = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            try:
                await _until_one_ends(_copy(client[0], server[1]), _copy(server[0], client[1]))
            finally:
                await hang_up(server[1], reset=False)
        finally:
            self._serving -= 1
            async with self._freed:
                self._freed.notify_all()


async def _copy(reader, writer):
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


async def _until_one_ends(*ways):
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
