"""The measurements: CPU per page, round trips, memory per function, and where the time goes.

Rule: a ratio of two things measured in one run, turn by turn; no absolute figure is a promise.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import math
import multiprocessing
import resource
import signal
import statistics
import time
from typing import TYPE_CHECKING

import attrs
import psutil
import uvloop
from server import ENV, server
from walks import WALKS

from tcb_async import TcbClient

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import FrameType

    from server import Served

CONCURRENCY = 8
BASE = "gather + json"
WARM_UP = 20_000


@attrs.frozen
class Cost:
    """What one way of walking costs, beside the hand-written one (a).

    Attributes:
        name: Which way.
        microseconds: CPU of the client for each page that it asked for.
        per_page: The same as a ratio.
        whole: CPU for the whole listing as a ratio; ours asks for one page in 20 (or 100) more,
            for its pages overlap.
    """

    name: str
    microseconds: float
    per_page: float
    whole: float


def cpu_seconds() -> float:
    """CPU of this process: user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def walk_once(name: str, served: Served, page_size: int) -> None:
    """Walk to the end on a loop of its own."""
    factory = uvloop.new_event_loop if name.endswith("uvloop") else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(consume(name, served, page_size))


async def consume(name: str, served: Served, page_size: int) -> None:
    """Walk to the end and look at every item once."""
    async with WALKS[name](served.url, served.token, ENV, page_size, CONCURRENCY) as walk:
        async for _ in walk:
            pass


def cpu_per_page(page_size: int, *, pages: int, rounds: int) -> list[Cost]:
    """CPU of the client by page of `page_size` functions, all ways in turn, round by round."""
    spent: dict[str, list[float]] = {name: [] for name in WALKS}
    asked: dict[str, int] = {}
    with server(page_size * pages) as served:
        for name in WALKS:
            before = served.requests()
            walk_once(name, served, page_size)
            asked[name] = served.requests() - before
        for _ in range(rounds):
            for name in WALKS:
                gc.collect()
                started = cpu_seconds()
                walk_once(name, served, page_size)
                spent[name].append(cpu_seconds() - started)
    return [_cost(name, spent, asked) for name in WALKS]


def _cost(name: str, spent: dict[str, list[float]], asked: dict[str, int]) -> Cost:
    whole = statistics.median(
        ours / theirs for ours, theirs in zip(spent[name], spent[BASE], strict=True)
    )
    microseconds = statistics.median(spent[name]) / asked[name] * 1e6
    return Cost(name, microseconds, whole * asked[BASE] / asked[name], whole)


@attrs.frozen
class RoundTrips:
    """How long a walk took, in round trips, beside how long it can take at best."""

    functions: int
    page_size: int
    requests: int
    ideal: int
    measured: float

    @property
    def ratio(self) -> float:
        """1.0 is ideal."""
        return self.measured / self.ideal


def round_trips(functions: int, page_size: int, *, latency: float, rounds: int) -> RoundTrips:
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


def _walk_and_weigh(pipe: Connection, url: str, token: str) -> None:
    async def main() -> None:
        process, count = psutil.Process(), 0
        warm = 0
        async with TcbClient(token, base_url=url, concurrency=CONCURRENCY) as client:
            async for _ in client.iter_functions(ENV, page_size=100):
                count += 1
                if count == WARM_UP:
                    gc.collect()
                    warm = process.memory_info().rss
            gc.collect()
            pipe.send((process.memory_info().rss - warm) / (count - WARM_UP))

    asyncio.run(main())


def bytes_per_function(functions: int) -> float:
    """Growth of the resident memory of a walk, a function, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with server(functions) as served:
        args = (theirs, served.url, served.token)
        process = context.Process(target=_walk_and_weigh, args=args)
        process.start()
        grown: float = ours.recv()
        process.join()
    return grown


def where_time_goes(page_size: int, *, pages: int) -> dict[str, float]:
    """Microseconds of CPU a page by room, from samples of the running frame."""
    samples: collections.Counter[str] = collections.Counter()

    def sample(_signal: int, frame: FrameType | None) -> None:
        samples[_room(frame)] += 1

    with server(page_size * pages) as served:
        walk_once("tcb_async", served, page_size)
        asked = served.requests()
        signal.signal(signal.SIGPROF, sample)
        started = cpu_seconds()
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
        walk_once("tcb_async", served, page_size)
        signal.setitimer(signal.ITIMER_PROF, 0)
        spent = (cpu_seconds() - started) / asked * 1e6
    return {room: spent * n / samples.total() for room, n in samples.most_common()}


def _room(frame: FrameType | None) -> str:
    if frame is None:
        return "elsewhere"
    parts = frame.f_globals.get("__name__", "elsewhere").split(".")
    if parts[0] == "tcb_async":
        return ".".join(parts[:3])
    return str(parts[0])
