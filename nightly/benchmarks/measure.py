"""The measurements: CPU per page, round trips, memory per function, and where the time goes.

Rule: a ratio of two things measured in one run, turn by turn; nothing is shown that the run cannot
stand behind.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import math
import multiprocessing
import resource
import signal
import statistics
import time
import tracemalloc
from typing import TYPE_CHECKING

import attrs
import uvloop
from server import ENV, server
from walks import WALKS

from tcb_async import TcbClient

if TYPE_CHECKING:
    from types import FrameType

    from server import Served

CONCURRENCY = 8
SAMPLES = 1000  # a share of a quarter is then known to within 3 points, 19 times in 20
RAW = "gather, raw dicts"
TYPED = "gather, typed by hand"


@attrs.frozen
class Cost:
    """What one way of walking costs, beside both that are written by hand.

    Attributes:
        name: Which way.
        per_page: CPU of the client for a page that was asked for, × that of raw dicts.
        whole: CPU for the whole listing, × that of raw dicts. Ours asks for one page in 20 (or
            100) more, for its pages overlap.
        beside_typed: CPU for a page that was asked for, × that of the same values made by hand.
        spread: The middle half of the rounds' `per_page`, from and to.
    """

    name: str
    per_page: float
    whole: float
    beside_typed: float
    spread: tuple[float, float]


def cpu_seconds():
    """CPU of this process: user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def walk_once(name, served, page_size):
    """Walk to the end on a loop of its own."""
    factory = uvloop.new_event_loop if name.endswith("uvloop") else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(consume(name, served, page_size))


async def consume(name, served, page_size):
    """Walk to the end and look at every item once."""
    async with WALKS[name](served.url, served.token, ENV, page_size, CONCURRENCY) as walk:
        async for _ in walk:
            pass


@attrs.frozen
class Costs:
    """All ways, and what the figures are a multiple of.

    Attributes:
        page_size: Functions per page.
        base: Microseconds of CPU for a page of raw dicts, in this run.
        ways: A row for each way.
    """

    page_size: int
    base: float
    ways: list[Cost]

    def of(self, name):
        """The row of one way."""
        return next(cost for cost in self.ways if cost.name == name)


def cpu_per_page(page_size, *, pages, rounds):
    """CPU of the client by page of `page_size` functions, all ways in turn, round by round.

    The first round warms up, and is not counted.
    """
    spent: dict[str, list[float]] = {name: [] for name in WALKS}
    asked: dict[str, int] = {}
    with server(page_size * pages) as served:
        for counted in range(rounds + 1):
            for name in WALKS:
                gc.collect()
                before, started = served.requests(), cpu_seconds()
                walk_once(name, served, page_size)
                seconds = cpu_seconds() - started
                if counted:
                    spent[name].append(seconds)
                asked[name] = served.requests() - before
    base = statistics.median(spent[RAW]) / asked[RAW] * 1e6
    return Costs(page_size, base, [_cost(name, spent, asked) for name in WALKS])


def _cost(name, spent, asked):
    def ratios(other: str) -> list[float]:
        return [ours / theirs for ours, theirs in zip(spent[name], spent[other], strict=True)]

    whole = ratios(RAW)
    pages = asked[RAW] / asked[name]
    first, median, third = (ratio * pages for ratio in statistics.quantiles(whole, n=4))
    typed = statistics.median(ratios(TYPED)) * asked[TYPED] / asked[name]
    return Cost(name, median, statistics.median(whole), typed, (first, third))


@attrs.frozen
class RoundTrips:
    """How long a walk took, in round trips, beside how long it can take at best."""

    functions: int
    page_size: int
    requests: int
    ideal: int
    measured: float

    @property
    def ratio(self):
        """1.0 is ideal."""
        return self.measured / self.ideal


def round_trips(functions, page_size, *, latency, rounds):
    """Time of a walk, measured in the time of one request to the same server."""

    async def main(served: Served) -> RoundTrips:
        async with TcbClient(served.token, base_url=served.url, concurrency=CONCURRENCY) as client:
            await client.functions(ENV, page_size=page_size).collect()
            single, whole = [], []
            for _ in range(rounds):
                started = time.perf_counter()
                await client.count_functions(ENV)
                single.append(time.perf_counter() - started)
                started = time.perf_counter()
                pager = client.functions(ENV, page_size=page_size)
                await pager.collect()
                whole.append(time.perf_counter() - started)
            requests = pager.stats.requests
            ideal = 1 + math.ceil((requests - 1) / CONCURRENCY)
            measured = statistics.median(whole) / statistics.median(single)
            return RoundTrips(functions, page_size, requests, ideal, measured)

    with server(functions, latency=latency) as served:
        return asyncio.run(main(served))


def _walk_and_weigh(pipe, url, token):
    async def walk(client: TcbClient, functions: int) -> int:
        gc.collect()
        tracemalloc.reset_peak()
        async for _ in client.iter_functions(ENV, page_size=100, max_items=functions):
            pass
        return tracemalloc.get_traced_memory()[1]

    async def main() -> None:
        async with TcbClient(token, base_url=url, concurrency=CONCURRENCY) as client:
            await walk(client, 1000)
            tracemalloc.start()
            while True:
                pipe.send(await walk(client, pipe.recv()))

    with contextlib.suppress(EOFError):
        asyncio.run(main())


def bytes_per_function(short, long):
    """How much more memory a long walk needs at its peak than a short one, for each function more.

    It is what Python allocates, counted by tracemalloc, in a process of its own.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with server(long) as served:
        args = (theirs, served.url, served.token)
        process = context.Process(target=_walk_and_weigh, args=args, daemon=True)
        process.start()
        peaks = []
        for functions in (short, long):
            ours.send(functions)
            peaks.append(ours.recv())
        process.kill()
        process.join()
    return (peaks[1] - peaks[0]) / (long - short)


def where_time_goes(page_size, *, pages):
    """The share of CPU that each part takes, from at least `SAMPLES` samples of what runs."""
    samples: collections.Counter[str] = collections.Counter()

    def sample(_signal: int, frame: FrameType | None) -> None:
        samples[_part(frame)] += 1

    with server(page_size * pages) as served:
        walk_once("tcb_async", served, page_size)
        signal.signal(signal.SIGPROF, sample)
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)  # the kernel may give one in 4 to 10 ms
        while samples.total() < SAMPLES:
            walk_once("tcb_async", served, page_size)
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {part: n / samples.total() for part, n in samples.most_common()}


_PARTS = {
    "tcb_async.pagination": "tcb_async: the walk (pagination)",
    "tcb_async._listings": "tcb_async: decoding (_listings, msgspec)",
    "tcb_async.models": "tcb_async: decoding (_listings, msgspec)",
    "tcb_async._codec": "tcb_async: decoding (_listings, msgspec)",
    "tcb_async": "tcb_async: requests (tokens, retries, limits, transport)",
    "aiohttp": "aiohttp",
    "yarl": "aiohttp",
    "multidict": "aiohttp",
    "asyncio": "asyncio and sockets",
    "selectors": "asyncio and sockets",
    "socket": "asyncio and sockets",
    "measure": "the program that iterates",
}
"""By the longest module name that fits; anything else is the rest of the standard library."""


def _part(frame):
    name: str = "" if frame is None else frame.f_globals.get("__name__", "")
    while name:
        if name in _PARTS:
            return _PARTS[name]
        name = name.rpartition(".")[0]
    return "the rest of the standard library"
