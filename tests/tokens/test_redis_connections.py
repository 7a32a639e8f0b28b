"""A connection to Redis that ended between two refreshes: asked once more, and shared as before."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
from fault_proxy import FaultProxy
from network_faults import Direction, Fault, Lost
from redis.asyncio import Redis
from redis_server import running_redis
from token_kit import (
    AUTHORIZER,
    STABLE,
    Merchant,
    open_api,
    stable,
    wechat,
)

from tcb_async.tokens import RedisStore, refresh

if TYPE_CHECKING:
    from tcb_async.tokens import TokenProvider

LIFE = 7200
PROCESSES = 6


@attrs.frozen
class DroppedAfter(Fault):
    """Whatever the client sends after an event is lost without a sign."""

    event: asyncio.Event
    direction: Direction = attrs.field(default="up", init=False)

    def onto(self, send):
        async def until(data: bytes, arrived: float) -> None:
            if self.event.is_set():
                raise Lost
            await send(data, arrived)

        return until


@pytest.fixture
def server():
    with running_redis("--repl-diskless-sync-delay", "0") as server:
        yield server


@pytest.fixture
async def emulator():
    async with wechat() as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def no_outage(patient, caplog):
    """None of it is taken for an outage."""
    yield
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


@asynccontextmanager
async def stores(url):
    """What six processes have: a client each, made as most people make one."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(url)) for _ in range(PROCESSES)]
        yield [RedisStore(client) for client in clients]


async def tokens_of(emulator, providers):
    """Have each ask for a token, all at once, when the one before has expired."""
    emulator.clock.advance(LIFE)
    async with open_api(emulator) as api:
        return set(await asyncio.gather(*(provider.get_token(api) for provider in providers)))


async def end_connections(server):
    async with Redis(port=server.port) as redis:
        await redis.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")


class TestSixProcessesRefreshOnce:
    async def test_after_redis_closed_their_idle_connections(self, emulator, server):
        async with stores(server.url) as each:
            providers: list[TokenProvider] = [stable(emulator, store=store) for store in each]
            for refreshes in range(1, 4):
                assert len(await tokens_of(emulator, providers)) == 1
                assert emulator.counts[STABLE] == refreshes
                await end_connections(server)

    async def test_after_a_restart(self, emulator, server):
        async with stores(server.url) as each:
            providers: list[TokenProvider] = [stable(emulator, store=store) for store in each]
            for refreshes in range(1, 3):
                assert len(await tokens_of(emulator, providers)) == 1
                assert emulator.counts[STABLE] == refreshes
                server.stop()
                server.start()

    async def test_after_another_redis_took_over(self, emulator, server):
        with running_redis("--replicaof", f"127.0.0.1 {server.port}") as replica:
            async with (
                FaultProxy("127.0.0.1", server.port) as proxy,
                stores(f"redis://127.0.0.1:{proxy.port}") as each,
                Redis(port=replica.port) as promoted,
            ):
                providers: list[TokenProvider] = [stable(emulator, store=store) for store in each]
                assert len(await tokens_of(emulator, providers)) == 1
                server.stop()
                await promoted.execute_command("REPLICAOF", "NO", "ONE")
                proxy.upstream_port = replica.port

                assert len(await tokens_of(emulator, providers)) == 1

        assert emulator.counts[STABLE] == 2

    async def test_after_a_firewall_dropped_their_idle_connections_without_a_word(
        self, emulator, server, monkeypatch
    ):
        idle = asyncio.Event()
        async with (
            FaultProxy("127.0.0.1", server.port, default=DroppedAfter(idle)) as proxy,
            stores(f"redis://127.0.0.1:{proxy.port}") as each,
        ):
            providers: list[TokenProvider] = [stable(emulator, store=store) for store in each]
            assert len(await tokens_of(emulator, providers)) == 1
            proxy.default = ()
            idle.set()
            monkeypatch.setattr(refresh, "_PATIENCE", 3.0)  # it is waited for: a firewall is silent

            assert len(await tokens_of(emulator, providers)) == 1

        assert emulator.counts[STABLE] == 2

    async def test_and_a_refresh_token_that_rotates_then_locks_none_of_them_out(
        self, emulator, server
    ):
        merchant = Merchant(emulator)
        async with stores(server.url) as each:
            providers: list[TokenProvider] = [
                merchant.token(merchant.new_component(store)) for store in each
            ]
            for refreshes in range(1, 4):
                assert len(await tokens_of(emulator, providers)) == 1
                assert emulator.counts[AUTHORIZER] == refreshes
                merchant.rotate()
                await end_connections(server)
            assert len(await tokens_of(emulator, providers)) == 1

        assert merchant.saved[-1] == merchant.accepted
