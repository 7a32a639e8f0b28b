"""A cancelled or closed client sends nothing more and goes on working."""

import asyncio
import itertools

import aiohttp
import pytest
from constants import ENV
from leaks import eventually

from tcb_async import ClientClosedError, RetryPolicy, TcbClient, TransportError
from tcb_async._transport import Timing
from tcb_async.emulator import Fault


async def a_walk(client):
    await client.functions(ENV).collect()


async def a_count(client):
    await client.function_page(ENV)


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
