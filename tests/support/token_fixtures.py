"""Shared by the token tests: an account, an emulator with a stopped clock, clients, fixtures."""

import asyncio
import itertools
import logging
from contextlib import asynccontextmanager
from typing import Any

import pytest
from constants import APPID, APPSECRET, AUTHORIZER, ENV, LIFE, MERCHANT, PLATFORM
from hand_clock import HandClock
from redis.asyncio import Redis
from redis_server import running_redis

from tcb_async import TcbClient
from tcb_async._transport import Transport
from tcb_async.emulator import Emulator
from tcb_async.retry import RetryPolicy
from tcb_async.tokens import (
    AuthorizerToken,
    ClassicToken,
    ComponentToken,
    MemoryStore,
    StableToken,
    StoredToken,
)


async def never(*_):
    """A callback that must not be called."""
    raise AssertionError("nothing rotated, and nothing was requested")


async def a_ticket():
    return "ticket"


def warnings(caplog):
    return [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]


@asynccontextmanager
async def wechat(clock=None):
    """A WeChat that knows one app; without a clock, its time passes only when it is advanced."""
    async with Emulator(clock=clock or HandClock()) as emulator:
        emulator.deploy(ENV, count=57)
        emulator.add_app(APPID, APPSECRET)
        yield emulator


@asynccontextmanager
async def open_api(emulator):
    """A `TokenApi` without a client."""
    retry = RetryPolicy(attempts=1)
    transport = Transport(emulator.url, 8, retry)
    try:
        yield transport
    finally:
        await transport.aclose()


def stable(emulator, *, secret=APPSECRET):
    return StableToken(APPID, secret, clock=emulator.clock)


def classic(emulator, store=None, *, appid=APPID):
    return ClassicToken(appid, APPSECRET, store=store, clock=emulator.clock)


def stored_key(emulator, kind="classic", account=APPID):
    """The key of a token that came from an emulator."""
    return f"{kind}:{emulator.url}:{account}"


def in_redis(emulator, kind="classic", account=APPID):
    """The same, as it is in Redis."""
    return f"tcb-async:{{{stored_key(emulator, kind, account)}}}"


async def a_turn():
    """Run every task until it waits for the network."""
    for _ in range(10):
        await asyncio.sleep(0)


class PlainStore:
    """A store as a user would write it for one process."""

    def __init__(self):
        self.values: dict[str, StoredToken] = {}

    async def get(self, key):
        return self.values.get(key)

    async def set(self, key, value, *, ttl):
        assert ttl is None or 0 < ttl <= 7200
        self.values[key] = value

    async def lock(self, key, *, ttl):  # noqa: ARG002 - nobody else is here
        return True

    async def unlock(self, key): ...


class FrailStore(MemoryStore):
    """A store that a test can make fail, hang or refuse writes; it records its calls."""

    def __init__(self):
        super().__init__()
        self.away = self.hanging = self.read_only = False
        self.away_for = set()
        self.asked = []

    async def get(self, key):
        await self._reach("get", key)
        return await super().get(key)

    async def set(self, key, value, *, ttl):
        await self._reach("set", key)
        await super().set(key, value, ttl=ttl)

    async def lock(self, key, *, ttl):
        await self._reach("lock", key)
        return await super().lock(key, ttl=ttl)

    async def unlock(self, key):
        await self._reach("unlock", key)
        await super().unlock(key)

    async def _reach(self, name, key):
        self.asked.append(name)
        if self.hanging:
            await asyncio.Event().wait()
        if self.away or key in self.away_for or (self.read_only and name != "get"):
            raise ConnectionError("planted-token-0123456789abcdef at redis:6379")


class Merchant:
    """A merchant that authorised the platform, and the tokens saved by its owner."""

    def __init__(self, emulator):
        self.emulator = emulator
        self.ticket = emulator.add_component(PLATFORM, APPSECRET)
        self.first = emulator.add_authorizer(PLATFORM, MERCHANT)
        self.saved: list[str] = []
        self.loads = 0
        self.failures, self.failure = 0, OSError
        self.component = self.new_component()
        self.key = stored_key(emulator, "refresh", f"{PLATFORM}:{MERCHANT}")  # of its refresh token

    def new_component(self, store=None):
        clock = self.emulator.clock
        return ComponentToken(PLATFORM, APPSECRET, ticket=self.newest, store=store, clock=clock)

    def token(self, component=None, refresh_token=None, *, on_rotate=None):
        return AuthorizerToken(
            component or self.component,
            MERCHANT,
            refresh_token or self.first,
            on_rotate=on_rotate or self.save,
        )

    def shared_token(self, store):
        return self.token(self.new_component(store))

    async def newest(self):
        return self.ticket

    async def load(self):
        self.loads += 1
        return self.saved[-1] if self.saved else self.first

    async def save(self, refresh_token):
        if self.failures:
            self.failures -= 1
            raise self.failure(f"no room for {refresh_token}")
        self.saved.append(refresh_token)

    def rotate(self):
        self.emulator.rotate_refresh_token(PLATFORM, MERCHANT)

    def expire(self):
        """Expire its token and the platform's."""
        self.emulator.clock.advance(LIFE)

    @property
    def asked(self):
        """The number of requests for its token."""
        return self.emulator.counts[AUTHORIZER]

    @property
    def accepted(self):
        """The refresh token that WeChat accepts now."""
        return self.emulator.refresh_token(PLATFORM, MERCHANT)


async def walk(client):
    return len([function async for function in client.iter_functions(ENV)])


class PacedApi:
    """An API that takes its time over each token: virtual time and sockets do not go together."""

    base_url: str = "https://api.weixin.qq.com"
    refresh_token = None

    def __init__(self, *seconds):
        self.seconds = itertools.chain(seconds, itertools.repeat(0.0))
        self.asked = 0
        self.spawned: list[asyncio.Task[Any]] = []

    async def call_token_endpoint(self, *_, **__):
        self.asked += 1
        token = f"token-{self.asked}"
        await asyncio.sleep(next(self.seconds))
        tokens = {f"{whose}access_token": token for whose in ("", "component_", "authorizer_")}
        return {**tokens, "authorizer_refresh_token": self.refresh_token, "expires_in": LIFE}

    def spawn(self, work):
        self.spawned.append(asyncio.ensure_future(work))
        return self.spawned[-1]

    def close(self):
        for task in self.spawned:
            task.cancel()


def provider_on(store):
    """A provider on the loop's clock, for tests in virtual time."""
    loop = asyncio.get_running_loop()
    return ClassicToken(APPID, APPSECRET, store=store, clock=loop.time)


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
def no_outage(caplog):
    """Nothing that the test does is taken for an outage of the store."""
    yield
    logged = caplog.get_records("call")  # `records` has those of the teardown
    assert [line.getMessage() for line in logged if line.levelno >= logging.WARNING] == []


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
