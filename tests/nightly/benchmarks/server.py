"""The one server of the benchmarks: the emulator in a process of its own, near and far.

Rule: one process serves every measurement, and is told how to behave. *Near* is the emulator
itself. *Far* adds a round trip of `TRIP` seconds to each connection and each request, as a network
would, plain or over TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import sys
from functools import partial
from pathlib import Path

import attrs

from tcb_async.emulator import Emulator, Fault

sys.path.append(str(Path(__file__).parents[2] / "support"))
from multiprocessing.connection import Connection

from tls_emulator import over_tls, trust_our_ca

__all__ = ["Served", "server", "trust_our_ca"]

_COUNTED = "/tcb/listfunctions"


async def _pump(reader, writer, trip, *, connecting=False):
    """Deliver bytes half a round trip later; the first ones after the connection was made, too."""
    later = asyncio.get_running_loop().call_later
    if connecting:
        await asyncio.sleep(trip)
    while sent := await reader.read(1 << 16):
        later(trip / 2, writer.write, sent)
    later(trip / 2, writer.close)


async def _far(port, trip):
    """Listen for an emulator that is far away; returns the port."""

    async def connected(reader, writer) -> None:
        its_reader, its_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(
                _pump(reader, its_writer, trip, connecting=True), _pump(its_reader, writer, trip)
            )

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1]


def _serve(pipe, trip):
    async def main() -> None:
        async with Emulator() as emulator, over_tls(emulator) as tls_port:
            near = int(emulator.url.rpartition(":")[2])
            far, far_tls = await _far(near, trip), await _far(tls_port, trip)
            urls = (emulator.url, f"http://127.0.0.1:{far}", f"https://127.0.0.1:{far_tls}")
            pipe.send((*urls, emulator.token))
            while order := await asyncio.to_thread(pipe.recv):
                pipe.send(order(emulator))

    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(main())


def _requests(emulator):
    return emulator.counts[_COUNTED]


def _deploy(emulator, functions):
    env = f"bench-{functions}"
    emulator.add_environment(env)
    emulator.deploy(env, count=functions)
    return env


def _limit(emulator, most, above):
    emulator.clear_faults()
    emulator.max_page = most if above == "clamp" else None
    if above == "refuse":

        def is_beyond(request):
            return (request.body or {}).get("limit", 0) > most

        emulator.script(itertools.repeat(Fault.errcode(40097)), when=is_beyond)


@attrs.define
class Served:
    """The emulator in the other process: its addresses, and its orders."""

    near: str
    far: str
    far_tls: str
    token: str
    _pipe: Connection
    _environments: dict[int, str] = attrs.field(factory=dict)

    def _order(self, order):
        self._pipe.send(order)
        return self._pipe.recv()

    def requests(self):
        """Number of pages requested so far."""
        return self._order(_requests)

    def environment(self, functions):
        """An environment of so many functions."""
        if functions not in self._environments:
            self._environments[functions] = self._order(partial(_deploy, functions=functions))
        return self._environments[functions]

    def limit(self, most=None, above="clamp"):
        """Give at most so many functions on a page."""
        self._order(partial(_limit, most=most, above=above))


@contextlib.contextmanager
def server(trip):
    """Serve until the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, trip), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Served(*ours.recv(), ours)
    finally:
        process.kill()
        process.join()
