"""A network that misbehaves between a walk and its server.

Rule: the result is the exact listing, or an error of ours with a cursor, from which a later walk
completes the exact listing.
"""

from __future__ import annotations

import random
import socket

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from fault_proxy import FaultProxy
from leaks import no_leaks
from network_faults import (
    Bandwidth,
    BlackHole,
    CutAfter,
    Fault,
    Faults,
    HalfOpen,
    Latency,
    ResetAfter,
    Slice,
    drip,
)
from transports import transport_of

from tcb_async import RetryPolicy, TcbClient, TransportError
from tcb_async._transport.timing import Timing
from tcb_async.emulator import Emulator

ENV = "test-777bb9"
COUNT = 57
PATIENCE = 0.15
AGAIN = RetryPolicy(attempts=8, base=0.0)
ONCE = RetryPolicy(attempts=1)

PASSABLE: dict[str, Faults] = {
    "latency": Latency(0.02),
    "latency both ways": (Latency(0.01), Latency(0.01, direction="up")),
    "bandwidth": Bandwidth(200_000),
    "bandwidth upwards": Bandwidth(10_000, direction="up"),
    "slices": Slice(100),
    "slices of a request": Slice(5, direction="up"),
    "a slow, far, crumbling line": (Latency(0.01), Bandwidth(400_000), Slice(700)),
}
"""Faults that only make a walk slower."""

WHERE = {
    "at once": (0, "down"),
    "in the request": (100, "up"),
    "in the head": (50, "down"),
    "in the body": (1000, "down"),
    "in the third page": (6500, "down"),
}
DEADLY: dict[str, Fault] = {
    **{
        f"{name} {where}": kind(after, direction=direction)
        for name, kind in (("cut", CutAfter), ("reset", ResetAfter), ("black hole", BlackHole))
        for where, (after, direction) in WHERE.items()
    },
    "half open": HalfOpen(),
    "drip": drip(0.02),
    "drip of a request": drip(0.02, direction="up"),
}
"""Faults that fail every attempt on their connection."""


@pytest.fixture
async def upstream():
    async with no_leaks(), Emulator() as upstream:
        upstream.deploy(ENV, count=COUNT)
        yield upstream


@pytest.fixture
async def proxy(upstream):
    """A proxy between an emulator and its clients."""
    async with FaultProxy(int(upstream.url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
def names(upstream):
    return [function.name for function in upstream.functions(ENV)]


@pytest.fixture
def walk(upstream, proxy):
    """Adds the names that a walk of a new client yields to a list."""

    async def walk(seen, retry, patience, *, resume=None, ahead=2):
        async with TcbClient(
            upstream.token, base_url=proxy.url, retry=retry, timeout=patience
        ) as client:
            async for function in client.iter_functions(ENV, resume=resume, concurrency=ahead):
                seen.append(function.name)

    return walk


@pytest.mark.parametrize("faults", PASSABLE)
async def test_a_slow_network_only_makes_a_walk_slower(proxy, names, walk, faults):
    seen: list[str] = []
    proxy.default = PASSABLE[faults]
    await walk(seen, ONCE, 10.0)

    assert seen == names


@pytest.mark.parametrize("fault", DEADLY)
async def test_retries_make_the_listing_exact(proxy, names, walk, fault):
    seen: list[str] = []
    proxy.script([DEADLY[fault], (), DEADLY[fault], (), DEADLY[fault]])
    await walk(seen, AGAIN, PATIENCE)

    assert seen == names


@pytest.mark.parametrize("fault", DEADLY)
async def test_errors_have_a_cursor_that_completes_the_listing(proxy, names, walk, fault):
    seen: list[str] = []
    proxy.default = DEADLY[fault]
    with pytest.raises(TransportError) as caught:
        await walk(seen, ONCE, PATIENCE, ahead=1)

    assert seen == names[: len(seen)]
    assert (caught.value.env, caught.value.__context__) == (ENV, None)
    proxy.default = ()
    await walk(seen, ONCE, 10.0, resume=str(caught.value.cursor))
    assert seen == names


@pytest.mark.parametrize("way", ["connections reset", "port closed"])
async def test_a_walk_survives_a_short_outage(upstream, proxy, names, way):
    seen: list[str] = []
    waits: list[float] = []

    async def until_it_is_back(seconds):
        waits.append(seconds)
        if way == "port closed" and len(waits) % 3 == 0:
            proxy.listen()

    retry = RetryPolicy(attempts=8)
    async with TcbClient(upstream.token, base_url=proxy.url, retry=retry) as client:
        transport_of(client).timing = Timing(random=lambda: 1.0, sleep=until_it_is_back)
        async for function in client.iter_functions(ENV, page_size=10, concurrency=1):
            seen.append(function.name)
            if len(seen) in {10, 28}:
                await (proxy.reset() if way == "connections reset" else proxy.close())

    assert seen == names
    assert waits in ([], [0.0], [0.0, 0.0], [1.0, 2.0, 4.0] * 2, [0.0, 2.0, 4.0] * 2)


@pytest.mark.parametrize("seed", range(8))
async def test_a_faulty_network_loses_and_repeats_nothing(proxy, names, walk, seed):
    chance = random.Random(seed)
    kinds = (*DEADLY.values(), *PASSABLE.values(), (), (), ())
    seen: list[str] = []
    resume: str | None = None
    twice = RetryPolicy(attempts=2, base=0.0)
    for run in range(20):
        proxy.script(chance.choices(kinds, k=6) if run < 19 else ())
        try:
            await walk(seen, twice, PATIENCE if run < 19 else 10.0, resume=resume)
        except TransportError as error:
            resume = str(error.cursor)
        else:
            break

    assert seen == names


class _KnowsNoName(AbstractResolver):
    async def resolve(self, *_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def close(self):
        pass


async def test_an_unknown_host_is_named_in_the_error():
    connector = aiohttp.TCPConnector(resolver=_KnowsNoName())
    async with aiohttp.ClientSession(connector=connector) as session:
        asking = TcbClient("T", base_url="https://no-such-host", session=session, retry=ONCE)
        with pytest.raises(TransportError, match="the host name no-such-host could not be"):
            await asking.count_functions(ENV)
