"""One window for all walks of a client, growing by one and halving at most once per window."""

import asyncio

import pytest

from tcb_async.limits import Window


async def filled(size):
    """A window, and the epochs of as many permits as it has."""
    window = Window(size)
    return window, [await window.acquire() for _ in range(size)]


async def answered(window, **outcome):
    """Ends one request of a full window, and begins another."""
    epochs = [await window.acquire() for _ in range(window.size - window.in_flight)]
    window.release(epochs[0], **outcome)
    for epoch in epochs[1:]:
        window.release(epoch, clean=False)


async def test_no_more_permits_than_the_size_are_held_at_once():
    window = Window(2)
    running = peak = 0

    async def work():
        nonlocal running, peak
        epoch = await window.acquire()
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running -= 1
        window.release(epoch)

    await asyncio.gather(*(work() for _ in range(20)))

    assert peak == 2
    assert window.in_flight == 0


async def test_a_burst_of_busy_answers_halves_it_once():
    window, epochs = await filled(16)

    for epoch in epochs:
        window.release(epoch, overloaded=True)

    assert window.size == 8


async def test_busy_answers_to_requests_sent_later_halve_it_again_down_to_one():
    window = Window(4)

    for expected in (2, 1, 1):
        await answered(window, overloaded=True)
        assert window.size == expected


@pytest.mark.parametrize(("in_flight", "size"), [(1, 1), (3, 3), (7, 4), (8, 4)])
async def test_a_busy_answer_cuts_the_window_to_at_most_the_requests_in_flight(in_flight, size):
    window = Window(8)
    epochs = [await window.acquire() for _ in range(in_flight)]

    window.release(epochs[0], overloaded=True)

    assert window.size == size


async def test_a_clean_window_grows_it_by_one_but_eight_take_it_to_a_size_that_was_too_much():
    window = Window(5)
    epochs = [await window.acquire() for _ in range(4)]
    window.release(epochs[0], overloaded=True)
    for epoch in epochs[1:]:
        window.release(epoch, clean=False)
    sizes = []
    while window.size < window.ceiling:
        sizes.append(window.size)
        await answered(window)

    assert sizes == [2] * 2 + [3] * 3 * 8 + [4] * 4


async def test_clean_answers_that_arrive_while_it_is_not_full_do_not_grow_it():
    window = Window(4)
    await answered(window, overloaded=True)

    for _ in range(20):
        window.release(await window.acquire())

    assert window.size == 2


async def test_permits_are_granted_in_order_and_retries_come_first():
    window, (epoch,) = await filled(1)
    order = []

    async def work(number, *, ahead):
        mine = await window.acquire(ahead=ahead)
        order.append(number)
        window.release(mine)

    tasks = [asyncio.create_task(work(n, ahead=n in {2, 4})) for n in range(5)]
    await asyncio.sleep(0)
    window.release(epoch)
    await asyncio.gather(*tasks)

    assert order == [2, 4, 0, 1, 3]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("order", ["release, cancel", "cancel, release", "cancel, wait, release"])
async def test_a_cancelled_waiter_returns_its_permit(order, ahead):
    window, (epoch,) = await filled(1)
    first = asyncio.create_task(window.acquire(ahead=ahead))
    second = asyncio.create_task(window.acquire())
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
    window.release(await window.acquire())


async def test_a_shrunken_window_gives_no_permit_until_enough_were_returned():
    window, epochs = await filled(4)
    waiting = asyncio.create_task(window.acquire())
    await asyncio.sleep(0)

    window.release(epochs[0], overloaded=True)
    window.release(epochs[1], overloaded=True)
    await asyncio.sleep(0)
    assert not waiting.done()

    window.release(epochs[2], overloaded=True)
    assert await waiting == 1
