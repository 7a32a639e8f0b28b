"""Places for calls: a number at a time, first come, first served, whatever is cancelled."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcb_async.limits import CallLimit


async def test_calls_wait_in_order():
    limit, order = CallLimit(2), []

    async def call(number):
        async with limit as had_to_wait:
            order.append((number, had_to_wait))
            await asyncio.sleep(0)

    await asyncio.gather(*map(call, range(5)))

    assert order == [(0, False), (1, False), (2, True), (3, True), (4, True)]
    assert (limit.running, limit.waiting) == (0, 0)


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60))
def test_cancelled_calls_leave_no_place_taken(size, steps):
    async def main():
        limit, tasks = CallLimit(size), []

        async def call():
            async with limit:
                assert limit.running <= size
                await asyncio.sleep(0)

        for number, is_new in steps:
            if is_new or not tasks:
                tasks.append(asyncio.ensure_future(call()))
            else:
                tasks[number % len(tasks)].cancel()
            if number % 3 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (limit.running, limit.waiting) == (0, 0)
        for _ in range(size):
            await asyncio.wait_for(limit.__aenter__(), 1)

    asyncio.run(main())


@pytest.mark.parametrize("ending", ["reply", "idle"])
async def test_failing_since_ends_with_a_reply_or_when_the_client_is_idle(ending):
    limit = CallLimit(2)
    async with limit:
        limit.note_failure(5.0)
        limit.note_failure(9.0)
        assert limit.failing_since == 5.0
        if ending == "reply":
            limit.note_reply()
            assert limit.failing_since is None
    assert limit.failing_since is None
