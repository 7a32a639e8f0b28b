"""One window for all walks of a client, growing by one and halving at most once per window."""

import asyncio

import pytest

from tcb_async.limits import Window


async def test_no_more_permits_than_the_size_are_held_at_once() -> None:
    window = Window(2)
    running = peak = 0

    async def work() -> None:
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


async def test_a_burst_of_busy_answers_halves_it_once() -> None:
    window = Window(16)
    epochs = [await window.acquire() for _ in range(16)]

    for epoch in epochs:
        window.release(epoch, overloaded=True)

    assert window.size == 8


async def test_busy_answers_to_requests_sent_later_halve_it_again_down_to_one() -> None:
    window = Window(4)

    for expected in (2, 1, 1):
        window.release(await window.acquire(), overloaded=True)
        assert window.size == expected


async def test_a_clean_window_grows_it_by_one_up_to_the_ceiling() -> None:
    window = Window(4)
    window.release(await window.acquire(), overloaded=True)
    sizes = []
    for _ in range(9):
        window.release(await window.acquire())
        sizes.append(window.size)

    assert sizes == [2, 3, 3, 3, 4, 4, 4, 4, 4]


async def test_permits_are_given_in_the_order_they_were_asked_for() -> None:
    window = Window(1)
    epoch = await window.acquire()
    order: list[int] = []

    async def work(number: int) -> None:
        mine = await window.acquire()
        order.append(number)
        window.release(mine)

    tasks = [asyncio.create_task(work(n)) for n in range(5)]
    await asyncio.sleep(0)
    window.release(epoch)
    await asyncio.gather(*tasks)

    assert order == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("granted", [False, True])
async def test_a_cancelled_waiter_returns_its_permit(granted: bool) -> None:
    window = Window(1)
    epoch = await window.acquire()
    first = asyncio.create_task(window.acquire())
    second = asyncio.create_task(window.acquire())
    await asyncio.sleep(0)
    if granted:
        window.release(epoch)
    first.cancel()
    if not granted:
        await asyncio.sleep(0)
        window.release(epoch)
    with pytest.raises(asyncio.CancelledError):
        await first

    window.release(await second)

    assert window.in_flight == 0
    assert window.release(await window.acquire()) is None


async def test_a_shrunken_window_gives_no_permit_until_enough_were_returned() -> None:
    window = Window(4)
    epochs = [await window.acquire() for _ in range(4)]
    waiting = asyncio.create_task(window.acquire())
    await asyncio.sleep(0)

    window.release(epochs[0], overloaded=True)
    window.release(epochs[1], overloaded=True)
    await asyncio.sleep(0)
    assert not waiting.done()

    window.release(epochs[2], overloaded=True)
    assert await waiting == 1


@pytest.mark.looptime
async def test_a_waiter_gives_up_in_time_and_leaves_nothing_behind() -> None:
    window = Window(1)
    epoch = await window.acquire()
    loop = asyncio.get_running_loop()
    started = loop.time()

    assert await window.wait(2.5) is None

    assert loop.time() - started == 2.5
    patient = asyncio.create_task(window.acquire())
    await asyncio.sleep(0)
    window.release(epoch)
    assert await patient == 0
    assert window.in_flight == 1


@pytest.mark.looptime
async def test_a_waiter_cancelled_as_its_timeout_expires_returns_no_permit() -> None:
    window = Window(1)
    await window.acquire()
    waiting = asyncio.create_task(window.wait(1.0))
    asyncio.get_running_loop().call_later(1.0, waiting.cancel)
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert window.in_flight == 1


async def test_beyond_what_a_proxy_lets_through_it_grows_eight_times_as_slowly_then_as_usual() -> (
    None
):
    window = Window(8)
    window.shrink_to(2)
    window.shrink_to(5)
    assert window.size == 2, "it only ever shrinks"

    async def clean_answers_until(size: int) -> int:
        answers = 0
        while window.size < size:
            window.release(await window.acquire())
            answers += 1
        return answers

    assert await clean_answers_until(3) == 2 * 8
    assert await clean_answers_until(4) == 3
