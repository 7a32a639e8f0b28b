"""Places for calls: a number at a time, first come, first served; and outages of endpoints."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcb_async.limits import CallLimit, Outages


async def test_calls_wait_in_order():
    limit, order = CallLimit(2), []

    async def call(number):
        had_to_wait = limit.is_full
        await limit.acquire()
        order.append((number, had_to_wait))
        await asyncio.sleep(0)
        limit.release()

    await asyncio.gather(*map(call, range(5)))

    assert order == [(0, False), (1, False), (2, True), (3, True), (4, True)]
    assert limit.running == 0


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60))
def test_cancelled_calls_leave_no_place_taken(size, steps):
    async def main():
        limit, tasks = CallLimit(size), []

        async def call():
            await limit.acquire()
            try:
                assert limit.running <= size
                await asyncio.sleep(0)
            finally:
                limit.release()

        for number, is_new in steps:
            if is_new or not tasks:
                tasks.append(asyncio.ensure_future(call()))
            else:
                tasks[number % len(tasks)].cancel()
            if number % 3 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limit.running == 0
        for _ in range(size):
            await asyncio.wait_for(limit.acquire(), 1)

    asyncio.run(main())


PATH = "/tcb/listfunctions"
LONGEST_CALL = 90.0


@pytest.fixture
def outages():
    """Calls to one endpoint have failed from 5 s to 100 s."""
    outages = Outages(LONGEST_CALL)
    outages.note_failure(PATH, 5.0, "first")
    outages.note_failure(PATH, 50.0, "second")
    outages.note_failure(PATH, 100.0, "third")
    return outages


def test_outage_is_of_one_endpoint_and_has_its_latest_error(outages):
    outages.note_reply("/tcb/getenvinfo")

    assert outages.find(PATH, 101.0).error == "third"
    assert outages.find("/tcb/getenvinfo", 101.0) is None


def test_reply_ends_an_outage(outages):
    outages.note_reply(PATH)

    assert outages.find(PATH, 101.0) is None


def test_outage_counts_when_it_is_longer_than_any_call(outages):
    assert outages.find(PATH, 95.0) is None
    assert outages.find(PATH, 95.1) is not None


def test_outage_that_no_call_confirms_is_forgotten(outages):
    assert outages.find(PATH, 190.0) is not None
    assert outages.find(PATH, 190.1) is None


def test_failure_after_a_long_pause_begins_a_new_outage(outages):
    outages.note_failure(PATH, 100_000.0, "of the next night")

    assert outages.find(PATH, 100_001.0) is None
