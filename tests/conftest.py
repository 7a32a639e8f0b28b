"""Fixtures of every test."""

import asyncio
import sys
from contextlib import AsyncExitStack

import aioresponses
import pytest
from blockbuster import blockbuster_ctx
from raw_server import RawServer

from tcb_async import RetryPolicy, TcbClient
from tcb_async._transport import Timing
from tcb_async.emulator import Emulator

SYSTEM_TIME = Timing()
LIBRARY = [
    "tcb_async.client", "tcb_async.pagination", "tcb_async._transport",
    "tcb_async.retry", "tcb_async._watch", "tcb_async.fastapi",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def nothing_blocks_the_loop_of_a_service():
    """A call of the library that blocks the event loop fails.

    `tokens`, `inventory` and `cli` are not checked: redis-py reads files when it first connects, a
    service calls a night in threads, and the command has its own process.
    """
    with blockbuster_ctx(scanned_modules=LIBRARY) as blockbuster:
        if "coverage" in sys.modules and sys.modules["coverage"].Coverage.current() is not None:
            # In any function, coverage waits for its lock while an emulator's thread is measured.
            blockbuster.functions["threading.Lock.acquire"].deactivate()
        yield


@pytest.fixture
async def emulator():
    """A WeChat server on a socket, with pages of 20 functions.

    ``deploy`` and ``delete`` change its functions, ``script`` assigns a fault to each of the next
    requests (``Fault.ok()`` is a normal reply), and ``requests`` has what it received::

        emulator.deploy("test-777bb9", count=45)  # fn-0001 to fn-0045
        emulator.script([Fault.ok(), Fault.errcode(-1), Fault.reset()])
    """
    async with Emulator(max_page=20) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator):
    """A client that retries without waiting."""
    retry = RetryPolicy(attempts=8, base=0.0)
    async with TcbClient(emulator.token, base_url=emulator.url, retry=retry) as client:
        yield client


@pytest.fixture
async def stack():
    """Contexts entered here are left after the test."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack):
    """Start a RawServer with this reply, and a client for it."""

    async def serve(reply, *, timing=SYSTEM_TIME, **options):
        server = await stack.enter_async_context(RawServer(reply))
        client = TcbClient(**{"token": "TOKEN", "base_url": server.url, **options})
        client._transport.timing = timing
        return server, await stack.enter_async_context(client)

    return serve


@pytest.fixture
def client_of(stack):
    """Make a client for an emulator."""

    async def make(emulator, *, base_url=None, timing=SYSTEM_TIME, **options):
        client = TcbClient(emulator.token, base_url=base_url or emulator.url, **options)
        client._transport.timing = timing
        return await stack.enter_async_context(client)

    return make


@pytest.fixture
def leap(monkeypatch):
    """Move the clocks of all event loops forward: a time-out is due, however busy the machine.

    ``leap(10.0)`` moves them by ten seconds. To skip every sleep, mark the test ``looptime``.
    """
    leaps, own = [0.0], asyncio.BaseEventLoop.time
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda loop: own(loop) + sum(leaps))
    return leaps.append


@pytest.fixture
def mocked_http():
    """aiohttp without a network, for unit tests of the transport alone."""
    with aioresponses.aioresponses() as mocked:
        yield mocked
