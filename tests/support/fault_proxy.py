"""A TCP proxy that misbehaves on purpose, for a test to put between a client and a real server.

Rule: each connection has the faults that were its own when it was made; closing the proxy ends
every connection and leaves nothing behind.

::

    async with FaultProxy(host, port) as proxy:
        proxy.script([CutAfter(100), (Latency(0.05), Slice(7)), ()])   # one entry a connection
        proxy.default = Bandwidth(10_000)                              # each one after those
        ...  # talk to proxy.url
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque

import attrs
from listener import CHUNK, Listener, abort, discard, hang_up, unbuffered
from network_faults import (
    ClientLeft,
    Cut,
    Direction,
    End,
    Fault,
    Faults,
    HalfOpen,
    Lost,
    Reset,
    Send,
    as_tuple,
    now,
)

__all__ = ["FaultProxy"]

READ_AHEAD = 16  # chunks; beyond it the sender is held back, as by any network


@attrs.define(eq=False)
class FaultProxy:
    """Stands before a server, as an async context manager; leaves nothing behind.

    An HTTP client never half-closes, so a client's FIN ends its connection at both ends.

    Args:
        upstream_host: The server's address.
        upstream_port: The server's port.
        default: The faults of each connection that the script has none for. It may be set at any
            time and holds for the connections made from then on.

    Attributes:
        passed: How many bytes were passed on, by direction.
    """

    upstream_host: str
    upstream_port: int
    default: Faults = attrs.field(default=(), kw_only=True, converter=as_tuple)
    passed: Counter[Direction] = attrs.field(factory=Counter, init=False)
    _script: deque[tuple[Fault, ...]] = attrs.field(factory=deque, init=False)
    _listener: Listener = attrs.field(init=False, repr=False)

    @_listener.default
    def _(self):
        return Listener(self._carry)

    @property
    def port(self):
        """The port on 127.0.0.1, the same for the proxy's whole life."""
        return self._listener.port

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def accepted(self):
        """How many connections came."""
        return self._listener.accepted

    @property
    def open(self):
        """How many connections are open."""
        return self._listener.open

    def script(self, entries):
        """Give each of the next connections an entry, in order, in place of what was planned."""
        self._script = deque(map(as_tuple, entries))

    def accept(self):
        """Listen again, after ``refuse``, on the same port."""
        self._listener.listen()

    async def refuse(self):
        """Close the port, so that connecting is refused, and reset what is open."""
        await self._listener.close()

    async def reset(self):
        """Reset every open connection (RST at both ends)."""
        await self._listener.reset()

    async def __aenter__(self):
        self.accept()
        return self

    async def __aexit__(self, *exc_info):
        await self.refuse()

    async def _carry(self, client, _number):
        faults = self._script.popleft() if self._script else as_tuple(self.default)
        writers = [client[1]]
        end: type[End] = Reset
        try:
            with contextlib.suppress(OSError):
                end = await self._carried(client, faults, writers)
        finally:
            for writer in writers:  # all of them before the first await, which may be cancelled
                abort(writer, reset=end is Reset)
            for writer in writers:
                await hang_up(writer, reset=end is Reset)

    async def _carried(self, client, faults, writers):
        if any(isinstance(fault, HalfOpen) for fault in faults):
            await discard(client[0])
            return ClientLeft
        server = unbuffered(await asyncio.open_connection(self.upstream_host, self.upstream_port))
        writers.append(server[1])
        relay = asyncio.ensure_future(self._relay(client, server, faults))
        try:
            await asyncio.wait([relay])  # not the relay itself: it may swallow a cancellation
        finally:
            relay.cancel()
            await asyncio.gather(relay, return_exceptions=True)
        end = relay.result()
        if end is Cut:
            for writer in writers:
                writer.write_eof()
            await discard(client[0])
        return end

    async def _relay(self, client, server, faults):
        """Carry bytes both ways until the connection ends; return how.

        Before Python 3.13, a TaskGroup that ends by an error swallows a cancellation.
        """
        ends: list[type[End]] = []
        try:
            async with asyncio.TaskGroup() as group:
                to_server = self._onto(server[1], faults, "up")
                to_client = self._onto(client[1], faults, "down")
                group.create_task(_carry_up(_arrivals(group, client[0]), to_server))
                group.create_task(_carry_down(_arrivals(group, server[0]), to_client, client[1]))
        except* ClientLeft:
            ends.append(ClientLeft)
        except* Cut:
            ends.append(Cut)
        except* (Reset, OSError):
            ends.append(Reset)
        return ends[-1]

    def _onto(self, writer, faults, direction):
        async def write(data, _arrived):
            writer.write(data)
            await writer.drain()
            self.passed[direction] += len(data)

        send: Send = write
        for fault in reversed(faults):
            if fault.direction == direction:
                send = fault.onto(send)
        return send


Arrivals = asyncio.Queue[tuple[bytes, float] | None]


def _arrivals(group, reader):
    """Read ahead, so that a fault which waits knows when each chunk came; None is the end."""
    arrivals: Arrivals = asyncio.Queue(READ_AHEAD)

    async def collect():
        while data := await reader.read(CHUNK):
            await arrivals.put((data, now()))
        await arrivals.put(None)

    group.create_task(collect())
    return arrivals


async def _carry_up(arrivals, send):
    await _all_passed(arrivals, send)
    raise ClientLeft


async def _carry_down(arrivals, send, to_client):
    if await _all_passed(arrivals, send):
        to_client.write_eof()


async def _all_passed(arrivals, send):
    """Pass on what arrives until its end; tell whether none of it was lost."""
    lost = False
    while (arrival := await arrivals.get()) is not None:
        try:
            if not lost:
                await send(*arrival)
        except Lost:
            lost = True
    return not lost
