"""Fixtures for tests of tokens and of Redis, by day and by night."""

import pytest
from redis.asyncio import Redis
from redis_server import running_redis
from token_kit import Merchant, open_api, stable, warnings, wechat

from tcb_async import TcbClient
from tcb_async.tokens import context


@pytest.fixture
def clock_of_wechat():
    """None: it stands still."""


@pytest.fixture
async def emulator(clock_of_wechat):
    """A WeChat that knows one app."""
    async with wechat(clock_of_wechat) as emulator:
        yield emulator


@pytest.fixture
async def api(emulator):
    """The `TokenApi` of a client of the emulator."""
    async with open_api(emulator) as api:
        yield api


@pytest.fixture
def provider(emulator):
    return stable(emulator)


@pytest.fixture
async def client(emulator, provider):
    async with TcbClient(provider, base_url=emulator.url) as client:
        yield client


@pytest.fixture
def merchant(emulator):
    return Merchant(emulator)


@pytest.fixture
def patient(monkeypatch):
    # Not an option of a store. A busy machine delays Redis, which is not an outage.
    monkeypatch.setattr(context, "_STORE_TIMEOUT", 10.0)


@pytest.fixture
def no_outage(caplog):
    """Nothing that the test does is taken for an outage of the store."""
    yield
    assert warnings(caplog) == []


@pytest.fixture(scope="module")
def server():
    """A Redis that the tests of one module share."""
    with running_redis() as server:
        yield server


@pytest.fixture
async def redis(server):
    """A client of that Redis, which is empty."""
    async with Redis(port=server.port) as redis:
        await redis.flushall()
        yield redis
