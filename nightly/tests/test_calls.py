"""The places of calls and their retries together, in simulations of many walks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import contextmanager

import pytest
from virtual_peer import make_peer

from tcb_async import (
    ClientClosedError,
    RateLimitError,
    SystemBusyError,
    TcbError,
    TransportError,
)

pytestmark = pytest.mark.looptime


async def failed(walks, pages, call):
    """Return how many of these concurrent walks fail."""

    async def walk():
        for _ in range(pages):
            await call()

    ended = await asyncio.gather(*(walk() for _ in range(walks)), return_exceptions=True)
    return sum(isinstance(end, TcbError) for end in ended)


async def test_2000_walks_survive_one_percent_of_faults():
    chance = random.Random(1)

    async def fail_now_and_then(_):
        if chance.random() < 0.01:
            raise TransportError("reset")
        await asyncio.sleep(1.0)

    call = make_peer(fail_now_and_then, concurrency=64).call

    assert await failed(2000, 3, call) == 0


@pytest.mark.parametrize("seed", range(4))
async def test_200_accounts_succeed_at_a_peer_of_capacity_two(seed):
    chance = random.Random(seed)
    in_flight = 0

    async def refuse_a_third(_):
        nonlocal in_flight
        if in_flight >= 2:
            raise TransportError("HTTP 503", status=503)
        in_flight += 1
        await asyncio.sleep(chance.uniform(0.02, 0.08))
        in_flight -= 1

    peer = make_peer(refuse_a_third)
    rounds = [await failed(8, 5, peer.call) for _ in range(25)]

    assert sum(rounds) == 0


@pytest.mark.parametrize("second", [0, 20, 40])
async def test_six_listings_share_a_quota_of_60_requests_a_minute(second):
    """As ``docs/errors.md`` says. They begin at this second of a minute."""
    clock, sent = asyncio.get_running_loop().time, Counter[float]()

    async def refuse_above_60(_):
        minute = (second + clock()) // 60
        sent[minute] += 1
        if sent[minute] > 60:
            raise RateLimitError("slow down", errcode=45011)
        await asyncio.sleep(0.05)

    call = make_peer(refuse_above_60, concurrency=1, deadline=90.0).call

    assert await failed(6, 21, call) == 0


class Disorder:
    """A peer, its observer and its callers, each of which does anything at any time."""

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

    async def disturb(self, calls):
        for call in self.chance.sample(calls, len(calls) // 3):
            await asyncio.sleep(self.chance.choice([0.0, 0.0, 0.1, 1.0]))
            call.cancel()
        if self.chance.random() < 0.5:
            self.peer.keeper.close()


@pytest.mark.parametrize("seed", range(400))
async def test_no_order_of_events_loses_a_place_or_waits_for_ever(seed):
    disorder = Disorder(seed)
    peer, calls = disorder.peer, []
    for number in range(60):
        calls.append(asyncio.ensure_future(peer.call(number)))
        await asyncio.sleep(disorder.chance.choice([0.0, 0.0, 0.5]))
    await disorder.disturb(calls)
    async with asyncio.timeout(3600.0):
        ended = await asyncio.gather(*calls, return_exceptions=True)

    assert await peer.count_free_places() == peer.concurrency
    assert {type(each) for each in ended} <= {
        bytes, asyncio.CancelledError, ClientClosedError, SystemBusyError, TransportError,
        ZeroDivisionError,
    }  # fmt: skip
