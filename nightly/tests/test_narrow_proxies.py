"""Proxies that accept only two connections, and what they do with others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Literal

import attrs
import pytest
from constants import ENV
from leaks import no_leaks
from proxies import Proxy
from tls_emulator import knows_our_ca, over_tls

from tcb_async import RetryPolicy, TcbClient
from tcb_async.emulator import Emulator

COUNT = 200
WAYS = [("queue", "http"), ("queue", "https"), ("drop", "http"), ("drop", "https"), ("503", "http")]


@attrs.define(eq=False)
class NarrowProxy(Proxy):
    """Limits the number of concurrent connections, in a way that real proxies have.

    Args:
        connections: The limit.
        beyond: The treatment of other connections: they wait until one is closed, are dropped, or
            get a 503.
    """

    connections: int
    beyond: Literal["queue", "drop", "503"]
    _free: asyncio.Semaphore = attrs.field(init=False)

    @_free.default
    def _(self):
        return asyncio.Semaphore(self.connections)

    async def serve(self, reader, writer):
        if self.beyond == "queue" or not self._free.locked():
            async with self._free:
                await super().serve(reader, writer)
        elif self.beyond == "503":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()


def names(functions):
    return [function.name for function in functions]


@pytest.mark.parametrize(("beyond", "scheme"), WAYS)
async def test_two_connections_of_a_proxy_lose_nothing(beyond, scheme):
    emulator = Emulator(latency=0.01)
    emulator.deploy(ENV, count=COUNT)
    async with no_leaks(), AsyncExitStack() as stack:
        if scheme == "https":
            port = await stack.enter_async_context(over_tls(emulator))
        else:
            await stack.enter_async_context(emulator)
            port = int(emulator.url.rpartition(":")[2])
        proxy = await stack.enter_async_context(NarrowProxy(port, 2, beyond))
        client = TcbClient(
            emulator.token,
            base_url=f"{scheme}://127.0.0.1:{proxy.port}",
            ssl_context=knows_our_ca() if scheme == "https" else None,
            timeout=0.5 if beyond == "queue" else 30.0,  # its waiting requests time out
            retry=RetryPolicy(base=0.1),
            # Calls that a server refuses for being too many are lost in the end.
            concurrency=8 if beyond == "queue" else 2,
        )
        async with client:
            walks = [client.list_functions(ENV, page_size=20) for _ in range(8)]
            for functions in await asyncio.gather(*walks):
                assert names(functions) == names(emulator.functions(ENV))
