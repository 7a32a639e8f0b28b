"""One token for all processes, in a real Redis: requested once, whichever of them is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from unittest.mock import AsyncMock

import attrs
import pytest
from constants import APPID, APPSECRET, AUTHORIZER, LIFE, MERCHANT, PLATFORM, STABLE
from fault_proxy import FaultProxy
from hand_clock import HandClock
from hypothesis import example, given, settings
from hypothesis import strategies as st
from network_faults import Fault as NetworkFault
from network_faults import Lost
from redis.asyncio import Redis
from redis_server import running_redis
from token_fixtures import in_redis, open_api, stable

from tcb_async.emulator import EmulatorClock
from tcb_async.tokens import MemoryStore, RedisStore, StoredToken, guarded_store

WORKER = Path(__file__).parent / "token_worker.py"


class Worker:
    """A process of its own that shares the token; see ``token_worker.py``."""

    def __init__(self, process):
        self.process = process

    async def hears(self):
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode().strip()

    def tell(self, order):
        self.process.stdin.write(f"{order}\n".encode())

    async def ask(self, order):
        self.tell(order)
        return await self.hears()


@asynccontextmanager
async def worker(*words):
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
            process.stdin.close()
        await process.wait()


@asynccontextmanager
async def workers(count, emulator, server, *of_merchant, lease_seconds=15.0):
    appid = PLATFORM if of_merchant else APPID
    words = (appid, APPSECRET, emulator.url, server.url, str(lease_seconds), *of_merchant)
    async with AsyncExitStack() as stack:
        each = [await stack.enter_async_context(worker(*words)) for _ in range(count)]
        assert [await one.hears() for one in each] == ["ready"] * count
        yield each


async def ask_all(each, order):
    return await asyncio.gather(*(one.ask(order) for one in each))


async def stored(server, key):
    """Wait until something is stored."""
    async with asyncio.timeout(10), Redis.from_url(server.url) as redis:
        while not await redis.exists(key):  # noqa: ASYNC110 - Redis has no event for us
            await asyncio.sleep(0.01)


@pytest.fixture
def server():
    """A Redis for each test: it is stopped, frozen and replaced."""
    with running_redis("--repl-diskless-sync-delay", "0") as server:
        yield server


class TestProcesses:
    @pytest.fixture
    def clock_of_wechat(self):
        """The machine's clock, which the processes have too."""
        return EmulatorClock()

    @pytest.fixture
    def file(self, tmp_path):
        """Where the processes of a platform save the refresh tokens."""
        return tmp_path / "saved"

    @pytest.fixture
    def of_merchant(self, merchant, file):
        return merchant.ticket, MERCHANT, merchant.first, str(file)

    async def test_one_process_refreshes_for_all(self, emulator, server):
        emulator.latency = 0.2
        async with workers(4, emulator, server) as each:
            first = await ask_all(each, "get")
            emulator.expire_tokens()
            noted = await ask_all(each, "refused")
            second = await ask_all(each, "get")

        assert len(set(first)) == len(set(second)) == len(set(noted)) == 1
        assert first[0] != second[0]
        assert emulator.counts[STABLE] == 2

    async def test_rotation_during_an_outage_reaches_all_processes(
        self, emulator, server, merchant, file, of_merchant
    ):
        async with workers(6, emulator, server, *of_merchant) as each:

            async def all_ask():
                emulator.expire_tokens()
                await ask_all(each, "refused")
                return await ask_all(each, "get")

            assert len(set(await all_ask())) == 1
            server.stop()
            merchant.rotate()
            assert (await all_ask()).count("TokenError") == 5
            server.start()
            await stored(server, in_redis(emulator, "refresh", f"{PLATFORM}:{MERCHANT}"))
            await asyncio.sleep(0.6)  # the others try Redis half a second after they failed
            answers = await all_ask()

        assert len(set(answers)) == 1
        assert answers[0] != "TokenError"
        assert set(file.read_text().split()) == {merchant.accepted}

    async def test_a_process_killed_while_saving_is_replaced(
        self, emulator, server, merchant, file, of_merchant
    ):
        merchant.rotate()
        async with workers(2, emulator, server, *of_merchant, lease_seconds=0.5) as (doomed, heir):
            assert await doomed.ask("die-saving") == "noted"
            doomed.tell("get")
            assert await doomed.process.wait() == -signal.SIGKILL
            assert not file.exists()

            assert await heir.ask("get") != "TokenError"

        assert file.read_text().split() == [merchant.accepted]


class TestOutage:
    async def test_redis_stops_and_comes_back(self, emulator, api, server, redis):
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

        assert await stable(emulator, store=RedisStore(redis)).get_token(api) == token
        assert emulator.counts[STABLE] == 4

    async def test_a_redis_that_hangs_delays_no_caller(
        self, emulator, api, server, redis, monkeypatch
    ):
        asked = AsyncMock(wraps=redis.execute_command)
        monkeypatch.setattr(redis, "execute_command", asked)
        monkeypatch.setattr(guarded_store, "_STORE_TIMEOUT", 1.0)
        with server.frozen():
            assert await stable(emulator, store=RedisStore(redis)).get_token(api)

        assert asked.call_count == 2, "for a second each"

    async def test_a_flush_of_redis_causes_no_error(self, emulator, api, redis, caplog):
        provider = stable(emulator, store=RedisStore(redis))
        token = await provider.get_token(api)
        before = json.loads(await redis.get(in_redis(emulator)))["version"]
        await redis.flushall()
        assert await provider.get_token(api) == token
        emulator.clock.advance(LIFE)

        token = await provider.get_token(api)

        after = json.loads(await redis.get(in_redis(emulator)))
        assert (after["token"], after["version"] > before) == (token, True)
        assert caplog.records == []


PROCESSES = 6


@attrs.frozen
class DroppedAfter(NetworkFault):
    """The bytes that a client sends after an event are lost without a sign."""

    event: asyncio.Event

    def onto(self, send):
        async def until(data, arrived):
            if self.event.is_set():
                raise Lost
            await send(data, arrived)

        return until


@asynccontextmanager
async def stores(url):
    """The stores of six processes: each has a client made as most people make one."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(url)) for _ in range(PROCESSES)]
        yield [RedisStore(client) for client in clients]


async def tokens_of(emulator, providers):
    """Have all get a token concurrently, when the previous one has expired."""
    emulator.clock.advance(LIFE)
    async with open_api(emulator) as api:
        return set(await asyncio.gather(*(provider.get_token(api) for provider in providers)))


async def end_connections(server):
    async with Redis(port=server.port) as redis:
        await redis.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")


async def restart(server):
    server.stop()
    server.start()


@pytest.mark.usefixtures("no_outage")
class TestSixProcessesRefreshOnce:
    """A connection to Redis that was closed between two refreshes costs no second refresh."""

    @pytest.mark.parametrize("end", [end_connections, restart])
    async def test_after_redis_closed_their_idle_connections(self, emulator, server, end):
        async with stores(server.url) as each:
            providers = [stable(emulator, store=store) for store in each]
            for refreshes in range(1, 4):
                assert len(await tokens_of(emulator, providers)) == 1
                assert emulator.counts[STABLE] == refreshes
                await end(server)

    async def test_after_another_redis_took_over(self, emulator, server):
        with running_redis("--replicaof", f"127.0.0.1 {server.port}") as replica:
            async with (
                FaultProxy(server.port) as proxy,
                stores(f"redis://127.0.0.1:{proxy.port}") as each,
                Redis(port=replica.port) as promoted,
            ):
                providers = [stable(emulator, store=store) for store in each]
                assert len(await tokens_of(emulator, providers)) == 1
                server.stop()
                await promoted.execute_command("REPLICAOF", "NO", "ONE")
                proxy.upstream_port = replica.port

                assert len(await tokens_of(emulator, providers)) == 1

        assert emulator.counts[STABLE] == 2

    async def test_after_a_firewall_dropped_idle_connections(self, emulator, server, monkeypatch):
        idle = asyncio.Event()
        async with (
            FaultProxy(server.port, default=DroppedAfter(idle, direction="up")) as proxy,
            stores(f"redis://127.0.0.1:{proxy.port}") as each,
        ):
            providers = [stable(emulator, store=store) for store in each]
            assert len(await tokens_of(emulator, providers)) == 1
            proxy.default = ()
            idle.set()
            # A silent firewall costs the whole time-out, which is not an option of a store.
            monkeypatch.setattr(guarded_store, "_STORE_TIMEOUT", 3.0)

            assert len(await tokens_of(emulator, providers)) == 1

        assert emulator.counts[STABLE] == 2

    async def test_rotation_during_the_outage_keeps_every_process_working(
        self, emulator, server, merchant
    ):
        async with stores(server.url) as each:
            providers = [merchant.shared_token(store) for store in each]
            for refreshes in range(1, 4):
                assert len(await tokens_of(emulator, providers)) == 1
                assert emulator.counts[AUTHORIZER] == refreshes
                merchant.rotate()
                await end_connections(server)
            assert len(await tokens_of(emulator, providers)) == 1

        assert merchant.saved[-1] == merchant.accepted


KEY = f"stable:{APPID}"
LEASE = f"tcb-async:{{{KEY}}}:lease"
STEPS = st.tuples(
    st.sampled_from(["acquire", "release", "lose", "write", "forget"]), st.integers(0, 3)
)


class Both:
    """The same steps on a MemoryStore and on a RedisStore, which must agree on every result."""

    def __init__(self, redis):
        self.redis = redis
        self.clock = HandClock()
        self.stores = (MemoryStore(clock=self.clock), RedisStore(redis))
        self.leases: list[tuple[int, int]] = []
        self.tokens = 0

    async def acquire(self, _):
        one, other = [await store.acquire_lease(KEY) for store in self.stores]
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            self.leases.append((one, other))

    async def release(self, which):
        for store, version in zip(self.stores, self._lease(which), strict=True):
            await store.release_lease(KEY, version)

    async def lose(self, _):
        """The lease expires."""
        self.clock.advance(15)
        await self.redis.delete(LEASE)

    async def write(self, which):
        self.tokens += 1
        one, other = [
            await store.compare_and_set(
                KEY, StoredToken(f"token-{self.tokens}", 0.0, version), ttl=60
            )
            for store, version in zip(self.stores, self._lease(which), strict=True)
        ]
        assert one == other

    async def forget(self, which):
        for store in self.stores:
            await store.delete_if(KEY, f"token-{self.tokens - which}")

    async def compare(self):
        one, other = [await store.get(KEY) for store in self.stores]
        assert (one and one.token) == (other and other.token)

    def _lease(self, which):
        return self.leases[-1 - which % len(self.leases)] if self.leases else (1, 1)


@settings(max_examples=50)
@example(steps=[("acquire", 0), ("lose", 0), ("acquire", 0), ("write", 1), ("write", 0)])
@example(steps=[("acquire", 0), ("lose", 0), ("acquire", 0), ("release", 1), ("acquire", 0)])
@example(steps=[("acquire", 0), ("release", 0), ("acquire", 0), ("write", 0), ("write", 1)])
@given(steps=st.lists(STEPS, min_size=5, max_size=30))
def test_redis_and_memory_agree_on_every_step(redis_port, steps):
    async def take_them():
        async with Redis(port=redis_port) as redis:
            await redis.flushall()
            both = Both(redis)
            for step, which in steps:
                await getattr(both, step)(which)
                await both.compare()

    asyncio.run(take_them())
