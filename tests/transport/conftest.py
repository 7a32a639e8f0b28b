"""What tests of the transport ask for."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from pretend_clock import PretendClock
from raw_server import RawServer
from redis_server import running_redis

from tcb_async import TcbClient


@pytest.fixture
def clock():
    return PretendClock()


@pytest.fixture(scope="module")
def redis_port():
    with running_redis() as server:
        yield server.port


@pytest.fixture
async def stack():
    """What is entered here is left when the test has ended."""
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


@pytest.fixture
def set_proxy(monkeypatch):
    """Names a proxy in the environment, for every host."""

    def set_proxy(url):
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            for written in (name, name.upper()):
                monkeypatch.delenv(written, raising=False)
                if name != "no_proxy":
                    monkeypatch.setenv(written, url)

    return set_proxy
