"""The window at work: it finds a server's capacity, and grows with it."""

import asyncio
import random
from collections import Counter
from contextlib import nullcontext
from itertools import pairwise

import attrs
import pytest
from leaks import eventually

from tcb_async import RateLimitError, RetryPolicy, TcbError, TransportError
from tcb_async._transport import ApiRequest, Call, Transport
from tcb_async.emulator import Fault
from tcb_async.limits import Window
from tcb_async.retry import RetryQuota

ENV = "test-777bb9"
PAGES, PAGE_SIZE, CEILING = 79, 20, 16
ROWS = 1 + PAGES * (PAGE_SIZE - 1)


@attrs.define
class Sizes:
    """Watches a client, and notes the size of its window at each attempt."""

    seen: list[int] = attrs.field(factory=list)

    def attempting(self, attempt):
        self.seen.append(attempt.window)
        return nullcontext()

    def walk_started(self, env):  # noqa: ARG002 - the protocol's
        return self

    def fetching(self):
        return nullcontext()

    def ended(self, stats, error):
        """Nothing is noted here."""

    @property
    def steps(self):
        """The old and the new value."""
        return [(old, new) for old, new in pairwise(self.seen) if old != new]


@pytest.fixture
def sizes():
    return Sizes()


@pytest.fixture
async def client(emulator, client_of, sizes):
    emulator.deploy(ENV, count=ROWS)
    emulator.latency = 0.001
    retry = RetryPolicy(sleep=lambda _: asyncio.sleep(0.005))
    return await client_of(emulator, concurrency=CEILING, retry=retry, observer=sizes)


async def walk(client):
    functions = await client.functions(ENV, page_size=PAGE_SIZE).collect()
    return [function.name for function in functions]


def names(emulator):
    return [function.name for function in emulator.functions(ENV)]


async def test_overloaded_server_gets_two_requests_per_page(emulator, client, sizes):
    emulator.capacity = 3

    assert await walk(client) == names(emulator)

    assert len(emulator.requests) <= 2 * PAGES
    later = sizes.seen[PAGES // 2 :]
    assert sum(later) / len(later) <= 2 * emulator.capacity


TOO_MUCH = [*map(Fault.errcode, (-1, 45011)), *map(Fault.status, (429, 502, 503, 504))]
NOT_TOO_MUCH = [Fault.status(500), Fault.body(b""), Fault.truncated()]


@pytest.mark.parametrize("fault", TOO_MUCH, ids=str)
async def test_sign_of_overload_halves_the_window_once(emulator, client, sizes, fault):
    emulator.script([Fault.ok()] + [fault] * CEILING)

    assert await walk(client) == names(emulator)

    assert sizes.steps[0] == (CEILING, CEILING // 2)
    assert all(new == old + 1 for old, new in sizes.steps[1:])


@pytest.mark.parametrize("fault", NOT_TOO_MUCH, ids=str)
async def test_other_failures_do_not_shrink_it(emulator, client, sizes, fault):
    emulator.script([Fault.ok()] + [fault] * CEILING)

    assert await walk(client) == names(emulator)

    assert set(sizes.seen) == {CEILING}


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

    assert sizes.seen[2:] == [2] * 9


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
    clock, chance = asyncio.get_running_loop().time, random.Random(7).random
    retry = RetryPolicy(clock=clock, random=chance, deadline=deadline)
    quota = RetryQuota.for_window(concurrency)
    peer = Peer("http://127.0.0.1:9", Window(concurrency), retry, quota, reply=reply)
    request = ApiRequest(peer.target("/tcb/listfunctions", {}), None)
    return lambda: Call(peer, request, bytes).run()


async def failed(walks, pages, call):
    """Return how many of these concurrent walks fail."""

    async def walk():
        for _ in range(pages):
            await call()

    ended = await asyncio.gather(*(walk() for _ in range(walks)), return_exceptions=True)
    return sum(isinstance(end, TcbError) for end in ended)


@pytest.mark.looptime
async def test_2000_walks_survive_one_percent_of_faults():
    chance = random.Random(1)

    def fail_now_and_then(_):
        if chance.random() < 0.01:
            raise TransportError("reset")
        return 1.0

    call = calls_to(fail_now_and_then, concurrency=64)

    assert await failed(2000, 3, call) == 0, "a retry precedes first attempts"


@pytest.mark.looptime
@pytest.mark.parametrize(("concurrency", "seed"), [(8, 0), (32, 1), (40, 0), (64, 1)])
async def test_200_accounts_succeed_at_a_peer_of_capacity_two(concurrency, seed):
    """A first burst of failures is not a storm of retries."""
    chance = random.Random(seed)

    def refuse_a_third(peer):
        if peer.in_flight > 2:
            error = TransportError("HTTP 503", status=503)
            error._overload = True
            raise error
        return chance.uniform(0.02, 0.08)

    call = calls_to(refuse_a_third, concurrency=concurrency)
    rounds = [await failed(concurrency, 5, call) for _ in range(200 // concurrency)]

    assert sum(rounds) == 0


@pytest.mark.looptime
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
