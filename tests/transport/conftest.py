"""Fixtures for tests of the transport."""

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
    """Contexts entered here are left after the test."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack):
    """Start a RawServer with this reply, and a client for it."""

    async def serve(reply, **options):
        server = await stack.enter_async_context(RawServer(reply))
        client = TcbClient(**{"token": "T", "base_url": server.url, **options})
        return server, await stack.enter_async_context(client)

    return serve


@pytest.fixture
def client_of(stack):
    """Make a client for an emulator."""

    async def make(emulator, *, base_url=None, **options):
        client = TcbClient(emulator.token, base_url=base_url or emulator.url, **options)
        return await stack.enter_async_context(client)

    return make
