"""Calls to interrupt: the call, its token provider, and the changes during the call.

Rule: in each, calls wait for a place, as the client that makes it has two.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
from redis.asyncio import Redis
from stepping import Interruption

from tcb_async import RetryPolicy, TcbClient
from tcb_async.emulator import Emulator, Fault
from tcb_async.tokens import ClassicToken, RedisStore, StableToken, TokenProvider

ENV, LIST = "test-777bb9", "/tcb/listfunctions"
APPID, APPSECRET = "wx1234567890abcdef", "0123456789abcdef0123456789abcdef"
ROWS = 29

Token = str | Callable[[], Awaitable[str]] | TokenProvider
Tokens = Callable[[Emulator], AbstractAsyncContextManager[Token]]


async def items(client):
    walk = client.iter_functions(ENV, page_size=8, concurrency=4)
    return [function.name async for function in walk]


async def pages(client):
    walk = client.functions(ENV, page_size=8).by_page()
    return [function.name async for page in walk for function in page.items]


async def collected(client):
    return [function.name for function in await client.functions(ENV, page_size=8).collect()]


async def two_walks(client):
    one, other = await asyncio.gather(items(client), pages(client))
    assert one == other
    return one


async def one_page(client):
    page = await client.function_page(ENV, limit=ROWS)
    return [function.name for function in page.items]


@asynccontextmanager
async def its_own(emulator):
    yield emulator.token


@asynccontextmanager
async def of_a_slow_callable(emulator):
    async def token():
        await asyncio.sleep(0)
        return emulator.token

    yield token


@asynccontextmanager
async def of_an_app(emulator):
    emulator.add_app(APPID, APPSECRET)
    yield StableToken(APPID, APPSECRET)


def redis_tokens(port):
    """Return the way to tokens of an app that are shared through an empty Redis."""

    @asynccontextmanager
    async def tokens(emulator):
        emulator.add_app(APPID, APPSECRET)
        async with Redis(port=port) as redis:
            await redis.flushall()
            yield ClassicToken(APPID, APPSECRET, store=RedisStore(redis))

    return tokens


def nothing(_emulator):
    """Have the server reply without a fault."""


def faults(emulator):
    emulator.script(
        [Fault.ok(), Fault.errcode(-1), Fault.reset(), Fault.ok(), Fault.truncated(), Fault.ok()]
    )


def slow_replies(emulator):
    emulator.script([Fault.delay(0.05)] * 3)


def expiry(emulator):
    """Expire the token during the walk."""
    _once_asked(emulator, {3: emulator.expire_tokens})


def immediate_expiry(emulator):
    """Expire the token before the first page."""
    _once_asked(emulator, {1: emulator.expire_tokens})


def shifts(emulator):
    """Shift the rows under the walk twice, so that it drops its requests in flight."""

    def delete():
        emulator.delete(ENV, emulator.functions(ENV)[0].name)

    def insert():
        emulator.deploy(ENV, index=0)

    _once_asked(emulator, {2: delete, 3: insert})


def _once_asked(emulator, what):
    """Change something before the reply to a page, by the number of pages requested in this run."""

    @emulator.on_request
    def act(_request):
        what.get(emulator.counts[LIST], lambda: None)()


@attrs.frozen(eq=False)
class Call:
    """A call to interrupt.

    Attributes:
        make: The call; returns the names that it listed.
        faults: Sets up the faults of one run.
        changes: Sets up, once, the changes at the server in each run.
        tokens: Returns the token provider of the client.
    """

    make: Callable[[TcbClient], Awaitable[list[str]]]
    faults: Callable[[Emulator], None] = nothing
    changes: Callable[[Emulator], None] = nothing
    tokens: Tokens = its_own

    async def checked(self, client, emulator):
        """Make the call; check that it lists each function that stayed, and none twice."""
        before = _names(emulator)
        listed = await self.make(client)
        assert {*before} & {*_names(emulator)} <= {*listed}
        assert len({*listed}) == len(listed)

    async def step_by_step(self, interrupted, moment):
        """Interrupt it at its first step, at its second, …; return how many there are."""
        async with self._server() as emulator:
            for at in itertools.count(1):
                interruption = Interruption(at, moment)
                await interrupted(emulator, interruption)
                if interruption.steps < at:
                    return at - 1
        raise AssertionError

    @asynccontextmanager
    async def _server(self):
        """Run the server that all runs of it have in common."""
        async with Emulator() as emulator:
            emulator.deploy(ENV, count=ROWS)
            self.changes(emulator)
            yield emulator

    @asynccontextmanager
    async def client(self, emulator, session=None):
        """Make a client for one run."""
        emulator.forget_requests()
        emulator.clear_faults()
        self.faults(emulator)
        async with self.tokens(emulator) as token:
            yield TcbClient(
                token,
                base_url=emulator.url,
                session=session,
                retry=RetryPolicy(base=0.0),
                concurrency=2,
            )


CALLS = {
    "items": Call(items),
    "items, faults": Call(items, faults),
    "items, shifts": Call(items, changes=shifts),
    "items, token of a callable": Call(items, tokens=of_a_slow_callable),
    "items, token that expires": Call(items, changes=expiry, tokens=of_an_app),
    "pages, faults": Call(pages, faults),
    "collected, faults": Call(collected, faults),
    "two walks, faults": Call(two_walks, faults),
    "one page": Call(one_page),
}


def _names(emulator):
    return [function.name for function in emulator.functions(ENV)]
