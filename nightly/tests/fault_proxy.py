"""TCP proxies that misbehave on purpose, for a test to put between a client and a real server.

Rule: each connection has the faults that were its own when it was made; closing the proxy closes
every connection and leaves nothing.

::

    async with FaultProxy(port) as proxy:
        proxy.script([CutAfter(100), (Latency(0.05), Slice(7)), ()])   # one entry a connection
        proxy.default = Bandwidth(10_000)                              # each one after those
        ...  # talk to proxy.url
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import attrs
from listener import Listener
from network_faults import Cut, Fault, Faults, HalfOpen, Lost, Reset, as_tuple, now


@attrs.define(eq=False)
class FaultProxy(Listener):
    """Stands before a server.

    An HTTP client never half-closes, so a client's FIN closes both sides of its connection.

    Args:
        upstream_port: The server's port on 127.0.0.1.
        default: The faults of each connection that the script has none for. It may be set at any
            time and holds for the connections made from then on.
    """

    upstream_port: int
    default: Faults = attrs.field(default=(), kw_only=True, converter=as_tuple)
    _script: deque[tuple[Fault, ...]] = attrs.field(factory=deque, init=False)

    def script(self, entries):
        """Give each of the next connections an entry, in order, in place of the plan."""
        self._script = deque(map(as_tuple, entries))

    async def serve(self, reader, writer):
        faults = self._script.popleft() if self._script else as_tuple(self.default)
        if any(isinstance(fault, HalfOpen) for fault in faults):
            await _discard(reader)
            return
        server = Listener.unbuffered(await asyncio.open_connection("127.0.0.1", self.upstream_port))
        await _connected((reader, writer), server, faults)


async def _connected(client, server, faults):
    """Carry bytes until a side closes its connection, and close the other side in the same way."""
    reset = True
    try:
        await _until_one_ends(
            _passed_on(client[0], _through(faults, "up", server[1])),
            _passed_down(server[0], _through(faults, "down", client[1]), client[1]),
        )
        reset = False
    except Cut:
        reset = False
        for _, writer in (client, server):
            writer.write_eof()
        await _discard(client[0])
    except Reset:
        pass
    finally:
        for _, writer in (client, server):  # both before the first await, which may be cancelled
            Listener.abort(writer, reset=reset)
        await Listener.hang_up(server[1], reset=reset)


async def _discard(reader):
    """Read until the peer closes or resets the connection."""
    with contextlib.suppress(OSError):
        while await reader.read(Listener.CHUNK):
            pass


def _through(faults, direction, writer):
    """Return a function that sends bytes through the faults, and then writes them."""

    async def write(data, _arrived):
        writer.write(data)
        await writer.drain()

    send = write
    for fault in reversed(faults):
        if fault.direction == direction:
            send = fault.onto(send)
    return send


async def _passed_on(reader, send):
    """Pass on all bytes; return whether none of them was lost."""
    lost = False
    while data := await reader.read(Listener.CHUNK):
        try:
            if not lost:
                await send(data, now())
        except Lost:
            lost = True
    return not lost


async def _passed_down(reader, send, to_client):
    if await _passed_on(reader, send):
        to_client.write_eof()
    await asyncio.Event().wait()  # the client closes the connection then


async def _until_one_ends(*ways):
    # Before Python 3.13, a TaskGroup that fails swallows a cancellation.
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
