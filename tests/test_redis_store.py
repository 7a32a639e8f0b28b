"""One token for all processes, in a real Redis: asked for once, whoever dies on the way."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis as sync_redis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from leaks import eventually
from redis.asyncio import Redis, RedisCluster
from redis_server import RedisServer, running_redis
from token_kit import (
    APPID,
    APPSECRET,
    CLASSIC,
    MERCHANT,
    PLATFORM,
    STABLE,
    Merchant,
    open_api,
    stable,
    wechat,
)

from tcb_async import ConfigurationError
from tcb_async._redact import Secret
from tcb_async.emulator import Emulator, EmulatorClock, Fault, token_id
from tcb_async.tokens import LeasingStore, MemoryStore, RedisStore, StoredToken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tcb_async._transport import Transport
    from tcb_async.emulator.faults import Exchange

LIFE = 7200
KEY = f"stable:{APPID}"
VALUE, LEASE, VERSION = (f"tcb-async:{{{KEY}}}{end}" for end in ("", ":lease", ":version"))
WORKER = Path(__file__).parent / "token_worker.py"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis(port=server.port) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with wechat() as emulator:
        yield emulator


@pytest.fixture
async def api(emulator: Emulator) -> AsyncIterator[Transport]:
    async with open_api(emulator) as api:
        yield api


def stored(token: str, version: int, expires_at: float = 0.0) -> StoredToken:
    return StoredToken(Secret(token), expires_at, version)


class Worker:
    """A process of its own that shares the token; see ``token_worker.py``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def hears(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().strip()

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n".encode())

    async def ask(self, order: str) -> str:
        self.tell(order)
        return await self.hears()


@asynccontextmanager
async def worker(
    kind: str, emulator: Emulator, server: RedisServer, lease_seconds: float = 15.0
) -> AsyncIterator[Worker]:
    words = (kind, APPID, APPSECRET, emulator.url, str(server.port), str(lease_seconds))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER),
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
        await process.wait()


class TestProcesses:
    @pytest.fixture
    async def emulator(self) -> AsyncIterator[Emulator]:
        async with Emulator() as emulator:
            emulator.add_app(APPID, APPSECRET)
            yield emulator

    @pytest.mark.usefixtures("redis")
    async def test_one_of_them_asks_for_all(self, emulator: Emulator, server: RedisServer) -> None:
        emulator.latency = 0.2
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(worker("stable", emulator, server))
                for _ in range(4)
            ]
            for each in workers:
                assert await each.hears() == "ready"

            first = await asyncio.gather(*(each.ask("get") for each in workers))
            emulator.expire_tokens()
            noted = await asyncio.gather(*(each.ask("refused") for each in workers))
            second = await asyncio.gather(*(each.ask("get") for each in workers))

        assert len(set(first)) == len(set(second)) == len(set(noted)) == 1
        assert first[0] != second[0]
        assert emulator.counts[STABLE] == 2

    async def test_the_one_that_asks_is_killed_and_another_takes_over_within_the_lease(
        self, emulator: Emulator, server: RedisServer, redis: Redis
    ) -> None:
        emulator.script([Fault.hang()], path=STABLE)
        async with (
            worker("stable", emulator, server, 1.0) as doomed,
            worker("stable", emulator, server, 1.0) as heir,
        ):
            assert await doomed.hears() == await heir.hears() == "ready"
            doomed.tell("get")
            await eventually(lambda: emulator.counts[STABLE] == 1, seconds=10)
            assert await redis.exists(LEASE)
            doomed.process.kill()
            started = time.monotonic()

            token = await heir.ask("get")

        assert time.monotonic() - started < 1.0 + 2.0
        assert token == token_id(json.loads(await redis.get(VALUE))["token"])
        assert emulator.counts[STABLE] == 2

    async def test_one_that_is_too_slow_does_not_overwrite_the_newer_token(
        self, emulator: Emulator, server: RedisServer, redis: Redis
    ) -> None:
        may_arrive = asyncio.Event()

        async def late(exchange: Exchange) -> Any:
            reply = exchange.answer()
            await may_arrive.wait()
            return exchange.send(reply)

        emulator.script([Fault("late", late)], path=CLASSIC)
        async with (
            worker("classic", emulator, server, 0.5) as slow,
            worker("classic", emulator, server, 0.5) as quick,
        ):
            assert await slow.hears() == await quick.hears() == "ready"
            slow.tell("get")
            await eventually(lambda: emulator.counts[CLASSIC] == 1, seconds=10)
            newer = await quick.ask("get")
            may_arrive.set()

            assert await slow.hears() == newer

        value = json.loads(await redis.get(f"tcb-async:{{classic:{APPID}}}"))
        assert token_id(value["token"]) == newer
        assert emulator.counts[CLASSIC] == 2


class TestOutage:
    @pytest.fixture
    def server(self) -> Iterator[RedisServer]:
        with running_redis() as server:
            yield server

    async def test_redis_stops_and_comes_back(
        self,
        emulator: Emulator,
        api: Transport,
        server: RedisServer,
        redis: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, "tcb_async")
        provider = stable(emulator, store=RedisStore(redis))
        token = await provider.get_token(api)
        server.stop()
        assert await provider.get_token(api) == token
        for _ in range(2):
            emulator.clock.advance(LIFE)
            await provider.get_token(api)
        server.start()
        emulator.clock.advance(LIFE)

        token = await provider.get_token(api)

        said = [line.getMessage() for line in caplog.records if "store" in line.getMessage()]
        assert [words.partition(" (")[0] for words in said] == [
            "the token store does not answer",
            "the token store answers again: tokens are shared again",
        ]
        assert await stable(emulator, store=RedisStore(redis)).get_token(api) == token
        assert emulator.counts[STABLE] == 4

    async def test_a_redis_that_hangs_holds_nobody_up(
        self, emulator: Emulator, api: Transport, server: RedisServer, redis: Redis
    ) -> None:
        started = time.monotonic()
        with server.frozen():
            assert await stable(emulator, store=RedisStore(redis)).get_token(api)

        assert time.monotonic() - started < 4

    async def test_a_flush_is_noticed_by_nobody_and_sharing_goes_on(
        self, emulator: Emulator, api: Transport, redis: Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        provider = stable(emulator, store=RedisStore(redis))
        token = await provider.get_token(api)
        before = json.loads(await redis.get(VALUE))["version"]
        await redis.flushall()
        assert await provider.get_token(api) == token
        emulator.clock.advance(LIFE)

        token = await provider.get_token(api)

        after = json.loads(await redis.get(VALUE))
        assert (after["token"], after["version"] > before) == (token, True)
        assert caplog.records == []


class TestLayout:
    async def test_a_token_is_one_value_that_lives_as_long_as_the_token(
        self, emulator: Emulator, api: Transport, redis: Redis
    ) -> None:
        token = await stable(emulator, store=RedisStore(redis)).get_token(api)

        value = json.loads(await redis.get(VALUE))
        assert value == {
            "token": token,
            "expires_at": emulator.clock() + LIFE,
            "version": value["version"],
        }
        assert LIFE - 10 < await redis.ttl(VALUE) <= LIFE

    async def test_the_lease_is_given_back_and_the_version_is_kept_for_a_day(
        self, emulator: Emulator, api: Transport, redis: Redis
    ) -> None:
        await stable(emulator, store=RedisStore(redis)).get_token(api)

        assert sorted(await redis.keys()) == [VALUE.encode(), VERSION.encode()]
        assert 86_400 - 10 < await redis.ttl(VERSION) <= 86_400
        assert int(await redis.get(VERSION)) == json.loads(await redis.get(VALUE))["version"]

    async def test_a_merchants_rotated_refresh_token_is_kept_for_ever(
        self, emulator: Emulator, api: Transport, redis: Redis
    ) -> None:
        merchant = Merchant(emulator)
        merchant.rotate()
        token = merchant.token(merchant.new_component(RedisStore(redis)))
        await token.get_token(api)

        key = f"tcb-async:{{refresh:{PLATFORM}:{MERCHANT}}}"
        assert json.loads(await redis.get(key)) == {
            "token": merchant.accepted,
            "expires_at": None,
            "version": 1,
        }
        assert await redis.ttl(key) == -1
        kept = await RedisStore(redis).get(f"refresh:{PLATFORM}:{MERCHANT}")
        assert kept == StoredToken(Secret(merchant.accepted), math.inf, 1)

    async def test_no_key_holds_a_secret_and_each_stands_in_our_name_space(
        self, emulator: Emulator, api: Transport, redis: Redis
    ) -> None:
        merchant = Merchant(emulator)
        merchant.rotate()
        store = RedisStore(redis)
        tokens = [
            await stable(emulator, store=store).get_token(api),
            await merchant.token(merchant.new_component(store)).get_token(api),
        ]

        keys = [key.decode() for key in await redis.keys()]
        secrets = [*tokens, APPSECRET, merchant.ticket, merchant.first, *merchant.saved]
        assert len(keys) == 8
        assert all(key.startswith("tcb-async:{") for key in keys)
        assert not any(secret in key for key in keys for secret in secrets)

    async def test_a_client_that_decodes_replies_does_as_well(
        self, emulator: Emulator, api: Transport, server: RedisServer, redis: Redis
    ) -> None:
        token = await stable(emulator, store=RedisStore(redis)).get_token(api)

        async with Redis(port=server.port, decode_responses=True) as decoding:
            store = RedisStore(decoding)
            assert await stable(emulator, store=store).get_token(api) == token
            assert isinstance(await store.acquire_lease(KEY), int)
            assert await store.acquire_lease(KEY) is None

    @pytest.mark.parametrize("rubbish", [b"\xff", b"{", b"7", b"null", b'{"token": 1}', b"[]"])
    async def test_what_is_no_token_counts_as_nothing_and_is_replaced(
        self, emulator: Emulator, api: Transport, redis: Redis, rubbish: bytes
    ) -> None:
        store = RedisStore(redis)
        await redis.set(VALUE, rubbish)
        await store.delete_if(KEY, "token")
        assert await redis.get(VALUE) == rubbish

        token = await stable(emulator, store=store).get_token(api)

        assert json.loads(await redis.get(VALUE))["token"] == token

    async def test_on_a_cluster_the_keys_of_an_account_are_on_one_node(
        self, emulator: Emulator, api: Transport
    ) -> None:
        with running_redis("--cluster-enabled", "yes") as server:
            server.form_cluster()
            async with RedisCluster(host="127.0.0.1", port=server.port) as cluster:
                tokens = [
                    await stable(emulator, store=RedisStore(cluster)).get_token(api)
                    for _ in range(2)
                ]

        assert len(set(tokens)) == emulator.counts[STABLE] == 1


def test_tokens_are_of_use_without_redis_installed() -> None:
    without = "import sys; sys.modules['redis'] = None; from tcb_async.tokens import RedisStore"

    assert subprocess.run([sys.executable, "-c", without], check=True).returncode == 0  # noqa: S603


class TestLeases:
    async def test_a_lease_ends_by_itself(self, redis: Redis) -> None:
        store = RedisStore(redis, lease_seconds=0.05)
        first = await store.acquire_lease(KEY)
        assert first is not None
        assert await store.acquire_lease(KEY) is None
        await asyncio.sleep(0.06)

        second = await store.acquire_lease(KEY)

        assert second is not None
        assert second > first

    async def test_versions_go_on_growing_whatever_is_lost(self, redis: Redis) -> None:
        store = RedisStore(redis)
        versions: list[int] = []
        for lost in ([LEASE], [LEASE, VERSION], None, [LEASE, VALUE]):
            version = await store.acquire_lease(KEY)
            assert version is not None
            versions.append(version)
            await (redis.flushall() if lost is None else redis.delete(*lost))

        assert versions == sorted(set(versions))

    async def test_a_clock_of_redis_that_is_set_back_does_not_set_versions_back(
        self, redis: Redis
    ) -> None:
        ahead = 8 * 10**15
        await redis.set(VERSION, ahead)

        assert await RedisStore(redis).acquire_lease(KEY) == ahead + 1

    def test_it_is_a_store_with_leases(self) -> None:
        store = RedisStore(Redis())

        assert isinstance(store, LeasingStore)
        assert repr(store) == "<RedisStore, lease of 15 s>"

    @pytest.mark.parametrize(
        ("redis", "lease_seconds", "why"),
        [
            (sync_redis.Redis(), 15.0, "redis is of type Redis: it must be a client of redis.asy"),
            ("redis://localhost", 15.0, "redis is of type str"),
            (Redis(), 0, "lease_seconds=0"),
            (Redis(), "15", "lease_seconds='15'"),
        ],
    )
    def test_arguments_are_checked(self, redis: Any, lease_seconds: Any, why: str) -> None:
        with pytest.raises(ConfigurationError, match=why):
            RedisStore(redis, lease_seconds=lease_seconds)


class Both:
    """The same steps on a MemoryStore and on a RedisStore, which must agree on every answer."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.clock = EmulatorClock(0.0)
        self.stores = (MemoryStore(clock=self.clock), RedisStore(redis))
        self.leases: list[tuple[int, int]] = []
        self.tokens = 0

    async def acquire(self, _: int) -> None:
        one, other = [await store.acquire_lease(KEY) for store in self.stores]
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            self.leases.append((one, other))

    async def release(self, which: int) -> None:
        for store, version in zip(self.stores, self._lease(which), strict=True):
            await store.release_lease(KEY, version)

    async def lose(self, _: int) -> None:
        """The lease ends by itself."""
        self.clock.advance(15)
        await self.redis.delete(LEASE)

    async def write(self, which: int) -> None:
        self.tokens += 1
        one, other = [
            await store.compare_and_set(KEY, stored(f"token-{self.tokens}", version), ttl=60)
            for store, version in zip(self.stores, self._lease(which), strict=True)
        ]
        assert one == other

    async def forget(self, which: int) -> None:
        for store in self.stores:
            await store.delete_if(KEY, f"token-{self.tokens - which}")

    async def compare(self) -> None:
        one, other = [await store.get(KEY) for store in self.stores]
        assert (one and one.token) == (other and other.token)

    def _lease(self, which: int) -> tuple[int, int]:
        return self.leases[-1 - which % len(self.leases)] if self.leases else (1, 1)


STEPS = st.tuples(
    st.sampled_from(["acquire", "release", "lose", "write", "forget"]), st.integers(0, 3)
)


@settings(max_examples=50)
@example(steps=[("acquire", 0), ("lose", 0), ("acquire", 0), ("write", 1), ("write", 0)])
@given(steps=st.lists(STEPS, min_size=5, max_size=30))
def test_redis_and_memory_agree_on_every_step(
    server: RedisServer, steps: list[tuple[str, int]]
) -> None:
    async def take_them() -> None:
        async with Redis(port=server.port) as redis:
            await redis.flushall()
            both = Both(redis)
            for step, which in steps:
                await getattr(both, step)(which)
                await both.compare()

    asyncio.run(take_them())
