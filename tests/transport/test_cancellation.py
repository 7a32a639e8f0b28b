"""A cancelled or closed client sends nothing more and goes on working."""

import asyncio
import itertools
from contextlib import asynccontextmanager

import aiohttp
import pytest
from constants import APPID, APPSECRET, ENV, LIST, MERCHANT, PLATFORM, STABLE
from leaks import eventually
from token_fixtures import a_turn

from tcb_async import ClientClosedError, RetryPolicy, TcbClient, TransportError
from tcb_async._transport import Timing
from tcb_async.emulator import Fault
from tcb_async.tokens import AuthorizerToken, ComponentToken, StableToken


async def a_walk(client):
    await client.functions(ENV).collect()


async def a_count(client):
    await client.function_page(ENV)


async def a_plain_call(client):
    await client.call("/tcb/getenvinfo", repeatable=True)


async def a_token(client):
    await client.get_token()


both_kinds = pytest.mark.parametrize("ask", [a_walk, a_count])


@both_kinds
@pytest.mark.parametrize("fault", [Fault.hang(), Fault.drip(0.5), Fault.endless()])
async def test_cancelled_attempt_is_the_last(emulator, client_of, ask, fault):
    emulator.deploy(ENV, count=5)
    emulator.script([fault])
    client = await client_of(emulator, retry=RetryPolicy(attempts=8, base=0.0))
    task = asyncio.ensure_future(ask(client))
    await eventually(lambda: emulator.in_flight == 1)
    task.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait((task,))
    assert task.cancelled()

    await eventually(lambda: emulator.in_flight == 0 and not client._transport.tasks)
    assert (await client.function_page(ENV)).total == 5
    assert len(emulator.requests) == 2


async def test_closed_client_sends_no_pending_retry(emulator):
    emulator.fail_next()
    waits, waited = asyncio.Event(), asyncio.Event()

    async def wait(_seconds):
        waits.set()
        await waited.wait()

    async with aiohttp.ClientSession() as session:
        client = TcbClient(emulator.token, base_url=emulator.url, session=session)
        client._transport.timing = Timing(sleep=wait)
        task = asyncio.ensure_future(client.function_page(ENV))
        await waits.wait()
        await client.aclose()
        waited.set()

        with pytest.raises(ClientClosedError):
            await task
    assert len(emulator.requests) == 1


@both_kinds
async def test_callers_timeout_may_expire_together_with_ours(emulator, client_of, ask):
    emulator.script(itertools.repeat(Fault.hang()))
    client = await client_of(emulator, timeout=0.005, retry=RetryPolicy(attempts=1))
    for seconds in (0.0, 0.001, 0.002, 0.003, 0.005, 0.008, 0.013):
        with pytest.raises((TimeoutError, TransportError)):
            async with asyncio.timeout(seconds):
                await ask(client)
        await eventually(lambda: emulator.in_flight == 0 and not client._transport.tasks)


class TestClosing:
    """It stops each call within a few turns of the loop, whatever the call waits for."""

    @pytest.fixture
    def world(self, emulator):
        return World(emulator)

    @pytest.mark.parametrize("call", [a_walk, a_count, a_plain_call, a_token])
    @pytest.mark.parametrize(
        "wait", ["callable", "ticket", "refresh_token", "on_rotate", "foreign_refresh"]
    )
    async def test_wait_for_a_token_ends(self, world, wait, call):
        async with getattr(world, wait)() as client:
            await world.check_it_ends(client, call)

    @pytest.mark.parametrize("call", [a_walk, a_count, a_plain_call])
    @pytest.mark.parametrize("wait", ["place", "pause", "response"])
    async def test_wait_for_a_reply_ends(self, world, wait, call):
        async with getattr(world, wait)() as client:
            await world.check_it_ends(client, call)

    async def test_refresh_of_a_second_client_goes_on(self, world):
        async with world.foreign_refresh() as client:
            await world.check_it_ends(client, a_token)

            assert "refreshing" in repr(client.provider)

    @pytest.mark.parametrize("since", [None, []])
    async def test_it_stops_the_pause_of_a_watch(self, world, since):
        async def watch(client):
            async for _ in client.watch_functions(ENV, interval=3600, since=since):
                pass

        async def wait(client):
            await client.wait_until_active(ENV, "absent", timeout=7200, interval=3600)

        world.emulator.deploy(ENV)
        for call in (watch, wait):
            world.emulator.forget_requests()
            world.is_waiting = lambda: world.emulator.requests and not world.emulator.in_flight
            async with world.client(world.emulator.token) as client:
                await world.check_it_ends(client, call)

    async def test_it_stops_a_forced_refresh(self, world):
        world.emulator.script([Fault.hang()], path=STABLE)
        async with world.client(world.stable_token()) as client:
            world.is_waiting = lambda: world.emulator.in_flight == 1
            await world.check_it_ends(client, TcbClient.force_refresh_token)

    async def test_callers_own_timeout_is_raised(self, emulator):
        async def give_up():
            raise TimeoutError("of the caller's vault")

        async with TcbClient(give_up, base_url=emulator.url) as client:
            with pytest.raises(TimeoutError, match="vault"):
                await client.get_token()


class World:
    """Clients whose calls wait for something that never happens."""

    def __init__(self, emulator):
        self.emulator = emulator
        self.is_waiting = lambda: self.callbacks == 1
        self.callbacks = 0
        self.may_return = asyncio.Event()

    async def check_it_ends(self, client, call):
        task = asyncio.ensure_future(call(client))
        await eventually(self.is_waiting)
        await a_turn()
        assert not task.done()
        closing = asyncio.ensure_future(client.aclose())
        await a_turn()
        assert task.done()
        assert isinstance(task.exception(), ClientClosedError)
        self.may_return.set()
        await closing

    async def wait(self, *_):
        self.callbacks += 1
        await self.may_return.wait()
        return "text"

    def client(self, token, **options):
        return TcbClient(token, base_url=self.emulator.url, **options)

    def stable_token(self):
        self.emulator.add_app(APPID, APPSECRET)
        return StableToken(APPID, APPSECRET)

    def merchant(self, **callbacks):
        ticket, refresh_token = callbacks.get("ticket"), callbacks.get("refresh_token")
        valid_ticket = self.emulator.add_component(PLATFORM, APPSECRET)
        valid_token = self.emulator.add_authorizer(PLATFORM, MERCHANT)

        async def get_ticket():
            return valid_ticket

        platform = ComponentToken(PLATFORM, APPSECRET, ticket=ticket or get_ticket)
        on_rotate = callbacks.get("on_rotate", self.wait)
        return self.client(
            AuthorizerToken(platform, MERCHANT, refresh_token or valid_token, on_rotate=on_rotate)
        )

    def callable(self):
        return self.client(self.wait)

    def ticket(self):
        return self.merchant(ticket=self.wait)

    def refresh_token(self):
        return self.merchant(refresh_token=self.wait)

    def on_rotate(self):
        client = self.merchant(on_rotate=self.wait)
        self.emulator.rotate_refresh_token(PLATFORM, MERCHANT)
        return client

    @asynccontextmanager
    async def foreign_refresh(self):
        self.is_waiting = lambda: True
        self.emulator.script([Fault.hang()], path=STABLE)
        provider = self.stable_token()
        async with self.client(provider) as other, self.client(provider) as client:
            task = asyncio.ensure_future(other.get_token())
            await eventually(lambda: self.emulator.in_flight == 1)
            yield client
            task.cancel()

    @asynccontextmanager
    async def place(self):
        self.is_waiting = lambda: True
        self.emulator.script(itertools.repeat(Fault.hang()), path=LIST)
        async with self.client(self.emulator.token, concurrency=1) as client:
            first = asyncio.ensure_future(client.function_page(ENV))
            await eventually(lambda: self.emulator.in_flight == 1)
            yield client
            await asyncio.wait((first,))
            assert isinstance(first.exception(), ClientClosedError)

    def pause(self):
        self.emulator.script(itertools.repeat(Fault.errcode(-1)))
        self.is_waiting = lambda: len(self.emulator.requests) == 1 and not self.emulator.in_flight
        return self.client(self.emulator.token)

    def response(self):
        self.emulator.script(itertools.repeat(Fault.hang()))
        self.is_waiting = lambda: self.emulator.in_flight == 1
        return self.client(self.emulator.token)
