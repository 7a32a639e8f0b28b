"""The window, the retries and the quota together, in simulations of many walks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import attrs
import pytest

from tcb_async import RateLimitError, RetryPolicy, TcbError, TransportError
from tcb_async._transport import ApiRequest, Call, Transport
from tcb_async._transport.timing import Timing
from tcb_async.limits import Window
from tcb_async.retry import RetryQuota

pytestmark = pytest.mark.looptime


@attrs.define(eq=False)
class Peer(Transport):
    """A transport to a peer that replies in virtual time: `reply` returns the seconds."""

    reply: object = attrs.field(kw_only=True)
    in_flight: int = 0

    def get_session(self):
        """A transport without a network."""

    async def send(self, *_, **_facts):
        await asyncio.sleep(0.01)  # on its way, so that a burst is sent before its first failure
        self.in_flight += 1
        try:
            await asyncio.sleep(self.reply(self))
        finally:
            self.in_flight -= 1
        return b""


def calls_to(reply, *, concurrency, deadline=60.0):
    """Returns a function that calls a peer."""
    timing = Timing(clock=asyncio.get_running_loop().time, random=random.Random(7).random)
    retry = RetryPolicy(deadline=deadline)
    quota = RetryQuota.for_window(concurrency)
    peer = Peer("http://127.0.0.1:9", Window(concurrency), retry, quota, timing=timing, reply=reply)
    request = ApiRequest(peer.target("/tcb/listfunctions", {}), None)
    return lambda: Call(peer, request, bytes).run()


async def failed(walks, pages, call):
    """Return how many of these concurrent walks fail."""

    async def walk():
        for _ in range(pages):
            await call()

    ended = await asyncio.gather(*(walk() for _ in range(walks)), return_exceptions=True)
    return sum(isinstance(end, TcbError) for end in ended)


async def test_2000_walks_survive_one_percent_of_faults():
    chance = random.Random(1)

    def fail_now_and_then(_):
        if chance.random() < 0.01:
            raise TransportError("reset")
        return 1.0

    call = calls_to(fail_now_and_then, concurrency=64)

    assert await failed(2000, 3, call) == 0, "a retry precedes first attempts"


@pytest.mark.parametrize(("concurrency", "seed"), [(8, 0), (32, 1), (40, 0), (64, 1)])
async def test_200_accounts_succeed_at_a_peer_of_capacity_two(concurrency, seed):
    """A first burst of failures is not a storm of retries."""
    chance = random.Random(seed)

    def refuse_a_third(peer):
        if peer.in_flight > 2:
            error = TransportError("HTTP 503", status=503)
            error.overload = True
            raise error
        return chance.uniform(0.02, 0.08)

    call = calls_to(refuse_a_third, concurrency=concurrency)
    rounds = [await failed(concurrency, 5, call) for _ in range(200 // concurrency)]

    assert sum(rounds) == 0


@pytest.mark.parametrize("second", [0, 20, 40])
async def test_six_listings_share_a_quota_of_60_requests_a_minute(second):
    """As ``how-to/troubleshooting.md`` says. They begin at this second of a minute."""
    clock, sent = asyncio.get_running_loop().time, Counter[float]()

    def refuse_above_60(_):
        minute = (second + clock()) // 60
        sent[minute] += 1
        if sent[minute] > 60:
            raise RateLimitError("slow down", errcode=45011)
        return 0.05

    call = calls_to(refuse_above_60, concurrency=1, deadline=90.0)

    assert await failed(6, 21, call) == 0
