"""The window at work: it finds a server's capacity, and grows with it."""

import asyncio
import itertools
from contextlib import nullcontext
from itertools import pairwise
from unittest.mock import MagicMock

import pytest
from constants import ENV
from leaks import eventually

from tcb_async._transport.timing import Timing
from tcb_async.emulator import Fault

PAGES, PAGE_SIZE, CEILING = 79, 20, 16
ROWS = 1 + PAGES * (PAGE_SIZE - 1)


@pytest.fixture
def sizes():
    """The size of the client's window at each attempt."""
    return []


@pytest.fixture
async def client(emulator, client_of, sizes):
    def attempting(attempt):
        sizes.append(attempt.window)
        return nullcontext()

    emulator.deploy(ENV, count=ROWS)
    emulator.latency = 0.001
    timing = Timing(sleep=lambda _: asyncio.sleep(0.005))
    observer = MagicMock(attempting=attempting)
    return await client_of(emulator, concurrency=CEILING, timing=timing, observer=observer)


async def walk(client):
    functions = await client.functions(ENV, page_size=PAGE_SIZE).collect()
    return [function.name for function in functions]


def names(emulator):
    return [function.name for function in emulator.functions(ENV)]


CAPACITY = 3  # of the overloaded server


async def test_overloaded_server_gets_two_requests_per_page(emulator, client, sizes):
    too_many = itertools.repeat(Fault.errcode(-1))
    emulator.script(too_many, when=lambda _: emulator.in_flight > CAPACITY)

    assert await walk(client) == names(emulator)

    assert len(emulator.requests) <= 2 * PAGES
    later = sizes[PAGES // 2 :]
    assert sum(later) / len(later) <= 2 * CAPACITY


TOO_MUCH = [*map(Fault.errcode, (-1, 45011)), *map(Fault.status, (429, 502, 503, 504))]
NOT_TOO_MUCH = [Fault.status(500), Fault.body(b""), Fault.truncated()]


@pytest.mark.parametrize("fault", TOO_MUCH, ids=str)
async def test_sign_of_overload_halves_the_window_once(emulator, client, sizes, fault):
    emulator.script([Fault.ok()] + [fault] * CEILING)

    assert await walk(client) == names(emulator)

    first, *later = [(old, new) for old, new in pairwise(sizes) if old != new]
    assert first == (CEILING, CEILING // 2)
    assert all(new == old + 1 for old, new in later)


@pytest.mark.parametrize("fault", NOT_TOO_MUCH, ids=str)
async def test_other_failures_do_not_shrink_it(emulator, client, sizes, fault):
    emulator.script([Fault.ok()] + [fault] * CEILING)

    assert await walk(client) == names(emulator)

    assert set(sizes) == {CEILING}


async def test_cancelled_calls_do_not_grow_it(emulator, client, sizes):
    emulator.script([Fault.errcode(-1), Fault.ok(), *[Fault.hang()] * 9])
    await client.count_functions(ENV)
    tasks = []
    for number in (1, *[2] * 8):  # the first one stays, so that the window of 2 is full
        tasks.append(asyncio.ensure_future(client.count_functions(ENV)))
        await eventually(lambda number=number: emulator.in_flight == number)
        if number == 2:
            tasks[-1].cancel()
            await asyncio.wait(tasks[-1:])
            await eventually(lambda: emulator.in_flight == 1)
    tasks[0].cancel()
    await asyncio.wait(tasks)

    assert sizes[2:] == [2] * 9


async def test_retry_precedes_waiting_first_attempts(emulator, client_of):
    emulator.deploy(ENV)
    emulator.script([Fault.errcode(-1)])
    timing = Timing(sleep=lambda _: asyncio.sleep(0))
    client = await client_of(emulator, concurrency=1, timing=timing)

    await asyncio.gather(*(client.function_page(ENV, offset=offset) for offset in range(4)))

    assert [seen.body["offset"] for seen in emulator.requests] == [0, 1, 0, 2, 3]
