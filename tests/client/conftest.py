"""Fixtures for tests of the client."""

import pytest

from tcb_async import RetryPolicy, TcbClient


@pytest.fixture
async def client(emulator):
    """A client that retries without waiting."""
    retry = RetryPolicy(base=0.0)
    async with TcbClient(emulator.token, base_url=emulator.url, retry=retry) as client:
        yield client
