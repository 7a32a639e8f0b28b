"""Calls among an observer, a server and callers that do anything at any time."""

import asyncio
import random
from contextlib import contextmanager

import pytest
from virtual_peer import make_peer

from tcb_async import ClientClosedError, SystemBusyError, TransportError

ENDS = {
    bytes,
    asyncio.CancelledError,
    ClientClosedError,
    SystemBusyError,
    TransportError,
    ZeroDivisionError,
}
CALLS = 60


class Disorder:
    """A world of random events; the same seed has the same events."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.peer = make_peer(self.reply, concurrency=self.chance.randint(1, 8), deadline=20.0)
        self.peer.observer = self

    @contextmanager
    def observe(self, _attempt):
        if self.chance.random() < 0.05:
            raise ZeroDivisionError
        yield

    async def reply(self, _number):
        kind = self.chance.choice(["good", "good", "good", "busy", "reset", "hang", "swallow"])
        try:
            await asyncio.sleep(1e9 if kind == "hang" else self.chance.uniform(0.0, 5.0))
        except asyncio.CancelledError:
            if kind != "swallow":
                raise
            await asyncio.sleep(100.0)  # as a session of the caller's may do
        if kind == "busy":
            raise SystemBusyError("busy", errcode=-1)
        if kind == "reset":
            raise TransportError("reset")

    async def begin_calls(self):
        calls = []
        for number in range(CALLS):
            calls.append(asyncio.ensure_future(self.peer.call(number)))
            await asyncio.sleep(self.chance.choice([0.0, 0.0, 0.5]))
        return calls

    async def disturb(self, calls):
        for call in self.chance.sample(calls, CALLS // 3):
            await asyncio.sleep(self.chance.choice([0.0, 0.0, 0.1, 1.0]))
            call.cancel()
        if self.chance.random() < 0.5:
            self.peer.keeper.refuse_calls()


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(8))
async def test_no_order_of_events_loses_a_place_or_waits_for_ever(seed):
    disorder = Disorder(seed)
    calls = await disorder.begin_calls()
    await disorder.disturb(calls)
    async with asyncio.timeout(3600.0):
        ended = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(each) for each in ended} <= ENDS
    assert await disorder.peer.count_free_places() == disorder.peer.concurrency
