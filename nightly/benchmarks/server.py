"""The server of the benchmarks, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from typing import TYPE_CHECKING

import attrs

from tcb_async.emulator import Emulator

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

ENV = "bench-1"


def _serve(pipe, functions, latency):
    async def main() -> None:
        async with Emulator(latency=latency) as emulator:
            emulator.deploy(ENV, count=functions)
            pipe.send((emulator.url, emulator.token))
            while True:
                await asyncio.to_thread(pipe.recv)
                pipe.send(emulator.counts["/tcb/listfunctions"])

    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(main())


@attrs.frozen
class Served:
    """The address of a server in another process, and what it has been asked."""

    url: str
    token: str
    _pipe: Connection

    def requests(self):
        """How many pages were asked for so far."""
        self._pipe.send("count")
        count: int = self._pipe.recv()
        return count


@contextlib.contextmanager
def server(functions, *, latency=0.0):
    """Serve an environment of so many functions."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, functions, latency), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Served(*ours.recv(), ours)
    finally:
        process.kill()
        process.join()
