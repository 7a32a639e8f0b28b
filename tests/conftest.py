"""Fixtures of every test."""

from __future__ import annotations

import inspect
from unittest.mock import Mock

import aiohttp
import aioresponses
import aioresponses.core
import pytest
from blockbuster import blockbuster_ctx

from tcb_async.emulator import Emulator

LIBRARY = [
    "tcb_async.client", "tcb_async.pagination", "tcb_async._transport",
    "tcb_async.retry", "tcb_async.watch", "tcb_async.fastapi",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def nothing_blocks_the_loop_of_a_service():
    """A call of the library that blocks the event loop fails.

    Three are not looked at. redis-py reads files when a token store first connects. An inventory's
    store is synchronous, and its docstring says that a service calls it in threads. The command
    line has its process for itself.
    """
    with blockbuster_ctx(scanned_modules=LIBRARY) as blockbuster:
        # The measurement of coverage, which waits where an emulator's thread is measured too.
        lock = blockbuster.functions["threading.Lock.acquire"]
        lock.can_block_in("coverage/collector.py", "lock_data")
        yield


@pytest.fixture
async def emulator():
    """A WeChat server on a socket of its own, which gives 20 functions a page: few make several."""
    async with Emulator(max_page=20) as emulator:
        yield emulator


class _MockableResponse(aiohttp.ClientResponse):
    """aioresponses 0.7.9 does not know the argument that aiohttp 3.14 asks for."""

    def __init__(self, *args, stream_writer=None, **kwargs):
        writer = stream_writer or Mock(output_size=0)
        super().__init__(*args, stream_writer=writer, **kwargs)


@pytest.fixture
def mocked_http(monkeypatch):
    """aiohttp without a network, for unit tests of the transport alone."""
    if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
        monkeypatch.setattr(aioresponses.core, "ClientResponse", _MockableResponse)
    with aioresponses.aioresponses() as mocked:
        yield mocked
