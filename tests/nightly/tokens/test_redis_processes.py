"""One token for all processes, in a real Redis: requested once, whichever of them is killed."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest
from constants import APPID, APPSECRET, AUTHORIZER, CLASSIC, LIFE, MERCHANT, PLATFORM
from proxies import Proxy
from redis.asyncio import Redis
from redis_server import running_redis
from token_fixtures import classic, open_api

from tcb_async.emulator import EmulatorClock
from tcb_async.tokens import RedisStore, guarded_store

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
async def workers(count, emulator, server, *of_merchant):
    appid = PLATFORM if of_merchant else APPID
    words = (appid, APPSECRET, emulator.url, server.url, *of_merchant)
    async with AsyncExitStack() as stack:
        each = [await stack.enter_async_context(worker(*words)) for _ in range(count)]
        assert [await one.hears() for one in each] == ["ready"] * count
        yield each


async def ask_all(each, order):
    return await asyncio.gather(*(one.ask(order) for one in each))


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
    def file(self, merchant, tmp_path):
        """Where the processes of a platform save the refresh tokens."""
        file = tmp_path / "saved"
        file.write_text(f"{merchant.first}\n")
        return file

    @pytest.fixture
    def of_merchant(self, merchant, file):
        return merchant.ticket, MERCHANT, str(file)

    async def test_one_process_refreshes_for_all(self, emulator, server):
        emulator.latency = 0.2
        async with workers(4, emulator, server) as each:
            first = await ask_all(each, "get")
            emulator.expire_tokens()
            noted = await ask_all(each, "refused")
            second = await ask_all(each, "get")

        assert len(set(first)) == len(set(second)) == len(set(noted)) == 1
        assert first[0] != second[0]
        assert emulator.counts[CLASSIC] == 2

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
            # All of them request with the old refresh token at the same time: one is first.
            assert "TokenError" in await all_ask()
            answers = await all_ask()
            server.start()
            await asyncio.sleep(0.6)  # the others try Redis half a second after they failed
            answers += await all_ask()

        assert "TokenError" not in answers
        assert file.read_text().split()[-1] == merchant.accepted

    async def test_a_process_killed_while_saving_is_replaced(
        self, emulator, server, merchant, file, of_merchant
    ):
        merchant.rotate()
        async with workers(2, emulator, server, *of_merchant) as (doomed, heir):
            assert await doomed.ask("die-saving") == "noted"
            doomed.tell("get")
            assert await doomed.process.wait() == -signal.SIGKILL
            assert file.read_text().split() == [merchant.first]

            assert await heir.ask("get") != "TokenError"

        assert file.read_text().split() == [merchant.first, merchant.accepted]


PROCESSES = 6


@attrs.define(eq=False)
class Firewall(Proxy):
    """Loses what comes over the connections of before, and tells nobody."""

    forgotten: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    async def serve(self, reader, writer):
        if self.forgotten.is_set():
            await super().serve(reader, writer)
            return
        passing = asyncio.ensure_future(super().serve(reader, writer))
        await self.forgotten.wait()
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)
        while await reader.read(self.CHUNK):
            pass


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
            providers = [classic(emulator, store) for store in each]
            for refreshes in range(1, 4):
                assert len(await tokens_of(emulator, providers)) == 1
                assert emulator.counts[CLASSIC] == refreshes
                await end(server)

    async def test_after_another_redis_took_over(self, emulator, server):
        with running_redis("--replicaof", f"127.0.0.1 {server.port}") as replica:
            async with (
                Proxy(server.port) as proxy,
                stores(f"redis://127.0.0.1:{proxy.port}") as each,
                Redis(port=replica.port) as promoted,
            ):
                providers = [classic(emulator, store) for store in each]
                assert len(await tokens_of(emulator, providers)) == 1
                server.stop()
                await promoted.execute_command("REPLICAOF", "NO", "ONE")
                proxy.upstream_port = replica.port

                assert len(await tokens_of(emulator, providers)) == 1

        assert emulator.counts[CLASSIC] == 2

    async def test_after_a_firewall_dropped_idle_connections(self, emulator, server, monkeypatch):
        async with (
            Firewall(server.port) as proxy,
            stores(f"redis://127.0.0.1:{proxy.port}") as each,
        ):
            providers = [classic(emulator, store) for store in each]
            assert len(await tokens_of(emulator, providers)) == 1
            proxy.forgotten.set()
            # A silent firewall costs the whole time-out, which is not an option of a store.
            monkeypatch.setattr(guarded_store, "_TIMEOUT", 3.0)

            assert len(await tokens_of(emulator, providers)) == 1

        assert emulator.counts[CLASSIC] == 2

    async def test_rotation_during_the_outage_keeps_every_process_working(
        self, emulator, server, merchant
    ):
        async with stores(server.url) as each:
            providers = [
                merchant.token(merchant.new_component(store), merchant.load) for store in each
            ]
            for refreshes in range(1, 4):
                assert len(await tokens_of(emulator, providers)) == 1
                assert emulator.counts[AUTHORIZER] == refreshes
                merchant.rotate()
                await end_connections(server)
            assert len(await tokens_of(emulator, providers)) == 1

        assert merchant.saved[-1] == merchant.accepted
