"""One window for all walks of a client, growing by one and halving at most once per window."""

import asyncio
import math
import random

import pytest

from tcb_async.limits import Window


async def acquire(window, *, seconds=math.inf, priority=False):
    """Wait for a permit as long as needed, or for these seconds."""
    end = asyncio.get_running_loop().time() + seconds
    return await window.acquire(lambda: end - asyncio.get_running_loop().time(), priority=priority)


async def filled(size):
    """A window, and the epochs of as many permits as it has."""
    window = Window(size)
    return window, [await acquire(window) for _ in range(size)]


async def answered(window, **outcome):
    """Finish one request of a full window, and begin the next."""
    epochs = [await acquire(window) for _ in range(window.size - window.in_flight)]
    window.release(epochs[0], **outcome)
    for epoch in epochs[1:]:
        window.release(epoch, clean=False)


async def test_later_busy_replies_halve_it_down_to_one():
    window = Window(4)

    for expected in (2, 1, 1):
        await answered(window, overloaded=True)
        assert window.size == expected


@pytest.mark.parametrize(("in_flight", "size"), [(1, 1), (3, 3), (7, 4), (8, 4)])
async def test_busy_reply_cuts_it_to_the_requests_in_flight(in_flight, size):
    window = Window(8)
    epochs = [await acquire(window) for _ in range(in_flight)]

    window.release(epochs[0], overloaded=True)

    assert window.size == size


async def test_growing_to_a_size_that_failed_takes_eight_times_as_long():
    window = Window(5)
    epochs = [await acquire(window) for _ in range(4)]
    window.release(epochs[0], overloaded=True)
    for epoch in epochs[1:]:
        window.release(epoch, clean=False)
    sizes = []
    while window.size < window.ceiling:
        sizes.append(window.size)
        await answered(window)

    assert sizes == [2] * 2 + [3] * 3 * 8 + [4] * 4


async def test_it_does_not_grow_while_it_is_not_full():
    window = Window(4)
    await answered(window, overloaded=True)

    for _ in range(20):
        window.release(await acquire(window))

    assert window.size == 2


async def test_permits_go_to_retries_first():
    window, (epoch,) = await filled(1)
    order = []

    async def work(number, *, priority):
        mine = await acquire(window, priority=priority)
        order.append(number)
        window.release(mine)

    tasks = [asyncio.create_task(work(n, priority=n in {2, 4})) for n in range(5)]
    await asyncio.sleep(0)
    window.release(epoch)
    await asyncio.gather(*tasks)

    assert order == [2, 4, 0, 1, 3]


@pytest.mark.parametrize("priority", [False, True])
@pytest.mark.parametrize("order", ["release, cancel", "cancel, release", "cancel, wait, release"])
async def test_cancelled_waiter_returns_its_permit(order, priority):
    window, (epoch,) = await filled(1)
    first = asyncio.create_task(acquire(window, priority=priority))
    second = asyncio.create_task(acquire(window))
    await asyncio.sleep(0)
    for step in order.split(", "):
        if step == "release":
            window.release(epoch)
        elif step == "cancel":
            first.cancel()
        else:
            await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await first

    window.release(await second)

    assert window.in_flight == 0
    window.release(await acquire(window))


async def test_shrunken_window_waits_for_returned_permits():
    window, epochs = await filled(4)
    waiting = asyncio.create_task(acquire(window))
    await asyncio.sleep(0)

    window.release(epochs[0], overloaded=True)
    window.release(epochs[1], overloaded=True)
    await asyncio.sleep(0)
    assert not waiting.done()

    window.release(epochs[2], overloaded=True)
    assert await waiting == 1


@pytest.mark.looptime
async def test_wait_ends_when_its_time_is_over():
    window, (epoch,) = await filled(1)
    clock = asyncio.get_running_loop().time

    assert await acquire(window, seconds=60.0) is None
    assert clock() == pytest.approx(60.0)
    window.release(epoch)
    assert window.in_flight == window.waiting == 0


@pytest.mark.looptime
async def test_permit_at_the_end_of_the_time_is_taken():
    window, (epoch,) = await filled(1)
    loop, problems = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    loop.call_at(loop.time() + 60.0, window.release, epoch)

    assert await acquire(window, seconds=60.0) is not None
    assert window.in_flight == 1
    assert problems == []


@pytest.mark.looptime
async def test_waiter_whose_time_grows_keeps_its_place():
    window, (epoch,) = await filled(1)
    clock, end, order = asyncio.get_running_loop().time, 10.0, []

    async def work(number):
        mine = await window.acquire(lambda: end - clock())
        order.append(number)
        window.release(mine)

    first = asyncio.create_task(work(1))
    await asyncio.sleep(9.0)
    second = asyncio.create_task(work(2))
    end = 30.0
    await asyncio.sleep(11.0)  # the first timer is over
    window.release(epoch)
    await asyncio.gather(first, second)

    assert order == [1, 2]


@pytest.mark.slow
async def test_cancelled_queue_of_25000_leaks_no_permit():
    window, epochs = await filled(8)
    tasks = [asyncio.create_task(acquire(window)) for _ in range(25_000)]
    await asyncio.sleep(0)
    random.Random(1).shuffle(tasks)
    for task in tasks:
        task.cancel()
    for epoch in epochs:
        window.release(epoch)  # in the same turn of the loop
    await asyncio.wait(tasks)

    assert window.in_flight == window.waiting == 0
