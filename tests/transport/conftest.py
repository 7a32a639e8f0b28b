"""Fixtures for tests of the transport."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from hand_clock import HandClock
from raw_server import RawServer

from tcb_async import TcbClient


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
async def stack():
    """Contexts entered here are left when the test has ended."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack):
    """Starts a server that answers so, and makes a client of it."""

    async def serve(reply, **options):
        server = await stack.enter_async_context(RawServer(reply))
        client = TcbClient(**{"token": "T", "base_url": server.url, **options})
        return server, await stack.enter_async_context(client)

    return serve


@pytest.fixture
def client_of(stack):
    """Makes a client of an emulator."""

    async def make(emulator, *, base_url=None, **options):
        client = TcbClient(emulator.token, base_url=base_url or emulator.url, **options)
        return await stack.enter_async_context(client)

    return make
