"""Cancelled or timed out at every step of a call, a client leaves nothing and still works.

Rule: each call is made again and again by a fresh client, interrupted one step later each time,
until it gets through. A step is any callback of the loop that the call has caused: so no await of
ours, of aiohttp's or of redis-py's is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from interrupted_calls import (
    CALLS,
    ENV,
    Call,
    expiry,
    immediate_expiry,
    items,
    one_page,
    redis_tokens,
    slow_replies,
)
from leaks import eventually, no_leaks
from stepping import SOON, Caller, run, watched
from transports import transport_of

from tcb_async import ClientClosedError, TcbClient

Ask = Callable[[TcbClient], Awaitable[None]]

SOME = ("items, shifts", "items, token that expires", "pages, faults", "one page")
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
some_calls = pytest.mark.parametrize("call", [CALLS[name] for name in SOME], ids=SOME)
both_moments = pytest.mark.parametrize("moment", ["before", "after"])


def nothing_is_under_way(client, session):
    transport = transport_of(client)
    assert session.connector is not None
    acquired = session.connector._acquired  # aiohttp has no public count
    return not acquired and not transport.live and transport.limit.running == 0


async def interrupt_and_call_again(call, emulator, caller, interruption):
    async with (
        no_leaks(),
        aiohttp.ClientSession() as session,
        call.client(emulator, session) as client,
    ):
        interruption.act = caller.interrupt
        work = caller.wait_for(lambda: call.checked(client, emulator))
        caller.task = watched(work, interruption)
        await caller.ended()
        await eventually(lambda: nothing_is_under_way(client, session))
        emulator.clear_faults()
        await CALLS["one page"].checked(client, emulator)


def at_every_step(call, moment="after", *, again=False, timed=False):
    """Interrupt a call at each of its steps in turn; return how many there are."""

    async def interrupted(emulator, interruption):
        interruption.again = again
        await interrupt_and_call_again(call, emulator, Caller(timed=timed), interruption)

    return run(call.step_by_step(interrupted, moment))


@both_moments
@every_call
def test_cancellation_at_any_step_leaves_nothing(call, moment):
    assert at_every_step(call, moment) > 5


@some_calls
def test_callers_timeout_is_raised_at_any_step(call):
    assert at_every_step(call, timed=True) > 5


@both_moments
@some_calls
def test_repeated_cancellation_leaves_nothing(call, moment):
    assert at_every_step(call, moment, again=True) > 5


@both_moments
@pytest.mark.parametrize(
    ("listed", "expires", "steps"), [(items, expiry, 40), (one_page, immediate_expiry, 20)]
)
def test_cancellation_in_redis_is_never_swallowed(redis_port, listed, expires, steps, moment):
    """In Python 3.11 ``asyncio.wait_for`` swallows some, and redis-py waits with it."""
    call = Call(listed, changes=expires, tokens=redis_tokens(redis_port))

    assert at_every_step(call, moment) > steps


async def close_under(call, emulator, interruption, session=None):
    """Close a client at one step of a call."""
    async with call.client(emulator, session) as client:
        closing: list[asyncio.Task[None]] = []
        interruption.act = lambda: closing.append(asyncio.ensure_future(client.aclose()))
        task = watched(call.checked(client, emulator), interruption)
        await asyncio.wait((task,), timeout=SOON)
        if closing and not task.cancelled():
            assert task.exception() is None or type(task.exception()) is ClientClosedError
        else:
            task.result()
        await client.aclose()
        await asyncio.gather(*closing)
    await eventually(lambda: emulator.in_flight == 0)


@some_calls
def test_callers_session_survives_closing_the_client(call):
    async def closed(emulator, interruption):
        async with no_leaks(), aiohttp.ClientSession() as session:
            await close_under(call, emulator, interruption, session)
            emulator.clear_faults()
            emulator.forget_requests()
            token = emulator.issue_token()
            async with TcbClient(token, base_url=emulator.url, session=session) as other:
                await CALLS["one page"].checked(other, emulator)

    assert run(call.step_by_step(closed, "after")) > 5


@every_call
def test_closing_the_client_at_any_step_raises_client_closed_error(call):
    async def closed(emulator, interruption):
        async with no_leaks():
            await close_under(call, emulator, interruption)

    assert run(call.step_by_step(closed, "after")) > 5


async def interrupt_closing(call, emulator, asked, interruption):
    """Cancel ``aclose`` after ``requests`` requests."""
    caller = Caller()
    async with no_leaks(), call.client(emulator) as client:
        walk = asyncio.ensure_future(call.checked(client, emulator))
        await eventually(lambda: len(emulator.requests) >= asked)
        interruption.act = caller.interrupt
        caller.task = watched(caller.wait_for(client.aclose), interruption)
        await caller.ended()
        if not client.closed:  # it never began
            await client.aclose()
        await asyncio.wait((walk,), timeout=SOON)
        with pytest.raises(ClientClosedError):
            await walk
        await eventually(lambda: not transport_of(client).live)
        with pytest.raises(ClientClosedError):
            await client.count_functions(ENV)


@both_moments
@pytest.mark.parametrize("asked", [1, 3])
def test_cancelled_aclose_closes_the_client_and_leaves_nothing(redis_port, asked, moment):
    call = Call(items, slow_replies, expiry, redis_tokens(redis_port))

    async def cancelled(emulator, interruption):
        await interrupt_closing(call, emulator, asked, interruption)

    assert run(call.step_by_step(cancelled, moment)) > 2
