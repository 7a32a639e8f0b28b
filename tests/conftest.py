"""What every test may ask for."""

from __future__ import annotations

import asyncio
import inspect
from unittest.mock import Mock

import aiohttp
import aioresponses
import aioresponses.core
import pytest

from tcb_async.emulator import Emulator

pytest_plugins = ["pytester"]

# looptime asks for a loop in tests without one too, and Python 3.11 makes one that nobody closes.
asyncio.set_event_loop(None)


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
