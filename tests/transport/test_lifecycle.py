"""A finished walk leaves nothing."""

import asyncio
import gc

import pytest
from constants import ENV
from leaks import eventually, no_leaks, run_strictly

from tcb_async import ClientClosedError, RetryPolicy, SystemBusyError, TcbClient
from tcb_async.emulator import Fault


def walk_of(client):
    return client.iter_functions(ENV, page_size=5)


async def at_its_end(client, _):
    assert len([function async for function in walk_of(client)]) == 57


async def at_an_error(client, emulator):
    emulator.script([Fault.ok(), *[Fault.errcode(-1)] * 99])
    with pytest.raises(SystemBusyError):
        await at_its_end(client, emulator)


async def at_a_break(client, _):
    async for _ in walk_of(client):
        break


async def when_it_is_dropped_in_a_cycle(client, _):
    cycle = [walk_of(client)]
    cycle.append(cycle)
    await anext(cycle[0])
    del cycle
    gc.collect()


async def when_its_client_is_closed(client, emulator):
    emulator.script([Fault.ok(), Fault.hang()])
    task = asyncio.ensure_future(at_its_end(client, emulator))
    await eventually(lambda: len(emulator.requests) > 1)
    await client.aclose()
    with pytest.raises(ClientClosedError) as caught:
        await task
    assert caught.value.env == ENV
    assert caught.value.cursor.scope == f"/tcb/listfunctions?env={ENV}"


@pytest.mark.parametrize(
    "stop",
    [at_its_end, at_an_error, at_a_break, when_it_is_dropped_in_a_cycle, when_its_client_is_closed],
)
async def test_finished_walk_leaves_nothing(emulator, caplog, stop):
    emulator.deploy(ENV, count=57)
    emulator.latency = 0.01
    retry = RetryPolicy(attempts=8, base=0.0)
    async with no_leaks():
        async with TcbClient(emulator.token, base_url=emulator.url, retry=retry) as client:
            await stop(client, emulator)
        gc.collect()

    assert [line for line in caplog.records if line.name == "asyncio"] == []


@pytest.mark.slow
def test_walk_that_the_end_of_asyncio_run_interrupts_is_silent():
    done = run_strictly("""
import asyncio, gc
from tcb_async import TcbClient
from tcb_async.emulator import Emulator

kept = []

async def main():
    async with Emulator() as emulator, TcbClient(emulator.token, base_url=emulator.url) as client:
        emulator.deploy("test-777bb9", count=57)
        pager = client.functions("test-777bb9", page_size=5)
        changes = client.watch_functions("test-777bb9", interval=0.01, since=[])
        for iteration in aiter(pager), client.functions("test-777bb9").by_page(), changes:
            await anext(iteration)
            kept.append(iteration)

asyncio.run(main())
kept.clear()
gc.collect()
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
