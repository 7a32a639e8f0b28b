"""The measurements, as tables and as promises that are met or not.

Rule: a ratio of two things measured in one run, turn by turn; nothing is shown that the run cannot
support.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import math
import resource
import signal
import statistics
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import FrameType

import uvloop
from server import trust_our_ca
from tables import Promise, Table
from walks import CONTENDERS, OURS, RAW, TYPED, Asked

from tcb_async import TcbClient

CONCURRENCY = 8
SAMPLES = 1000  # a share of a quarter is then known to within 3 points, 19 times in 20


def _cpu(who=resource.RUSAGE_SELF):
    """Seconds of CPU so far: user and system."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _walk_once(name, asked):
    """Walk to the end; the CPU for it, without opening and closing the client."""

    async def walk_to_the_end() -> float:
        async with CONTENDERS[name](asked) as walk:
            started = _cpu()
            async for _ in walk:
                pass
            return _cpu() - started

    factory = uvloop.new_event_loop if name.endswith("uvloop") else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(walk_to_the_end())


# The most CPU a page: × raw dicts, × typed by hand.
_GUARD = {20: (1.28, 1.0), 100: (1.33, 0.66)}


def cpu_per_page(served, page_size, *, pages, rounds):
    """CPU of the client by page, all contenders in turn, round by round.

    The first round warms up, and is not counted.
    """
    asked = Asked(served.near, served.token, served.environment(pages * page_size), page_size)
    spent = collections.defaultdict(list)
    requests = {}
    for _ in range(rounds + 1):
        for name in CONTENDERS:
            gc.collect()
            gc.freeze()  # so that no contender pays for the imports of others
            before = served.requests()
            seconds = _walk_once(name, asked)
            requests[name] = served.requests() - before
            spent[name].append(seconds / requests[name])
    for name in CONTENDERS:
        del spent[name][0]

    def ratios(name, other=RAW):
        return [mine / its for mine, its in zip(spent[name], spent[other], strict=True)]

    rows = []
    for name in CONTENDERS:
        low, middle, high = statistics.quantiles(ratios(name), n=4)
        whole = middle * requests[name] / requests[RAW]
        typed = statistics.median(ratios(name, TYPED))
        rows.append((name, middle, f"{low:.2f}–{high:.2f}", whole, typed))
    mine = next(row for row in rows if row[0] == OURS)
    base = statistics.median(spent[RAW]) * 1e6
    promises = [
        Promise(f"CPU for a page of {page_size}, × {other}", figure, most)
        for other, figure, most in zip((RAW, TYPED), mine[1::3], _GUARD[page_size], strict=True)
    ]
    return Table(
        f"Pages of {page_size}; one of raw dicts took {base:.0f} µs in this run.",
        (
            "way to walk",
            "a page, × raw dicts",
            "half of the rounds",
            "all pages, × raw dicts",
            "a page, × typed",
        ),
        rows,
        promises,
    )


async def _timed(awaitable):
    started = time.perf_counter()
    await awaitable
    return time.perf_counter() - started


def ideal_trips(served, *, trip, rounds):
    """Time of a walk in pages of 20, in the time of one request to the same server."""

    async def walks(functions):
        env = served.environment(functions)
        async with TcbClient(served.token, base_url=served.far, concurrency=CONCURRENCY) as client:
            await client.functions(env, page_size=20).collect()
            single = []
            whole = []
            for _ in range(rounds):
                single.append(await _timed(client.function_page(env)))
                pager = client.functions(env, page_size=20)
                whole.append(await _timed(pager.collect()))
        requests = pager.stats.requests
        ideal = 1 + math.ceil((requests - 1) / CONCURRENCY)
        return functions, requests, ideal, statistics.median(whole) / statistics.median(single)

    rows = [asyncio.run(walks(functions)) for functions in (200, 2000)]
    return Table(
        f"Pages of 20, {CONCURRENCY} at a time; round trips of {trip * 1000:g} ms.",
        ("functions", "requests", "ideal round trips", "round trips"),
        rows,
        [
            Promise(f"time for {row[0]} functions, × the ideal", row[3] / row[2], 1.1)
            for row in rows
        ],
    )


_NOISE = 0.5  # of a round trip: a real one more is 1
_SERVERS = {
    "gives 100": (None, "clamp"),
    "clamps to 20": (20, "clamp"),
    "clamps to 10": (10, "clamp"),
    "refuses above 20": (20, "refuse"),
}


async def _two_walks(served, url, trip, functions, page_size, **options):
    """Requests and round trips of a new client's first walk, and of its second."""
    env = served.environment(functions)
    async with TcbClient(served.token, base_url=url, concurrency=CONCURRENCY, **options) as client:
        walks = []
        for _ in range(2):
            before = served.requests()
            seconds = await _timed(client.list_functions(env, page_size=page_size))
            walks.append((served.requests() - before, seconds / trip))
        return walks


def _least(rounds, served, *arguments, **options):
    """The fewest round trips of some clients: other work of the machine only adds to them."""
    runs = [asyncio.run(_two_walks(served, *arguments, **options)) for _ in range(rounds)]
    return [min(walks) for walks in zip(*runs, strict=True)]


def page_sizes(served, *, trip, rounds):
    """Cost of learning the rows per page of a server, compared with pages of 20."""
    counts = (0, 50, 1000)
    walks = {}
    for kind, limits in _SERVERS.items():
        served.limit(*limits)
        for size in (None, 20):
            walks[kind, size] = [
                _least(rounds, served, served.far, trip, count, size) for count in counts
            ]
    served.limit()

    rows = [
        (kind, size or "not given", *(f"{n}, {trips:.1f}" for both in found for n, trips in both))
        for (kind, size), found in walks.items()
    ]
    promises = [Promise("requests for 50 functions", walks["gives 100", None][1][0][0], 1)]
    for kind, (_, above) in _SERVERS.items():
        for walk, name in enumerate(("first", "second")):
            # Only a server that refuses large pages costs a request, in each walk.
            more = 0 if above == "clamp" else 1
            pairs = [
                (found[walk], asked[walk])
                for found, asked in zip(walks[kind, None], walks[kind, 20], strict=True)
            ]
            requests, trips = (max(found[i] - asked[i] for found, asked in pairs) for i in (0, 1))
            about = f"more than with pages of 20, server {kind}, {name} walk"
            promises.append(Promise(f"requests {about}", requests, more))
            promises.append(Promise(f"round trips {about}", trips, more + _NOISE))
    heads = [f"{count:,}, {walk} walk" for count in counts for walk in ("first", "second")]
    return Table(
        f"Requests and round trips ({trip * 1000:g} ms) of a new client, by number of functions.",
        ("the server", "page_size", *heads),
        rows,
        promises,
    )


def cold_tls(served, *, trip, rounds):
    """Round trips of a first walk over TLS, the connection included."""
    rows = []
    promises = []
    for size, most in ((None, 3.2), (20, 6.2)):
        with trust_our_ca():
            requests, trips = _least(rounds, served, served.far_tls, trip, 50, size)[0]
        rows.append((size or "not given", requests, trips))
        label = f"round trips over TLS, 50 functions, page_size {rows[-1][0]}"
        promises.append(Promise(label, trips, most))
    about = f"50 functions over TLS, from a new client; a round trip is {trip * 1000:g} ms."
    return Table(about, ("page_size", "requests", "round trips"), rows, promises)


_IMPORT = "import aiohttp"
_USE = "import tcb_async; TcbClient"
_SCRIPT = str(Path(sys.executable).with_name("tcb-async"))
_STARTS = {
    "bare interpreter": ("-c", ""),
    _IMPORT: ("-c", _IMPORT),
    _USE: ("-c", "import tcb_async; tcb_async.TcbClient"),
    "tcb-async --version": (_SCRIPT, "--version"),
    "tcb-async --help": (_SCRIPT, "--help"),
    "tcb-async, a usage error": (_SCRIPT, "list", "--no-such-option"),
}


def start_up(*, rounds):
    """CPU until a program has started and ended, all in turn, round by round."""
    spent = collections.defaultdict(list)
    for counted in range(rounds + 1):
        for name, arguments in _STARTS.items():
            before = _cpu(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *arguments], capture_output=True, check=False)  # noqa: S603 - our own words
            if counted:
                spent[name].append(_cpu(resource.RUSAGE_CHILDREN) - before)
    # The least: other work of the machine only adds to it.
    least = {name: min(costs) for name, costs in spent.items()}
    bare = least["bare interpreter"]
    imported = least[_IMPORT]
    return Table(
        f"CPU from start to end; the bare interpreter took {bare * 1000:.0f} ms in this run.",
        ("program", "× bare interpreter", f"× {_IMPORT}"),
        [(name, cost / bare, cost / imported) for name, cost in least.items()],
        [Promise(f"CPU of `{_USE}`, × {_IMPORT}", least[_USE] / imported, 1.5)],
    )


def memory(served, short, long):
    """How much more memory a long walk needs at its peak than a short one, by function.

    Counts the allocations of Python, by tracemalloc.
    """
    asked = Asked(served.near, served.token, served.environment(long), 100)

    async def peak(client, functions):
        gc.collect()
        tracemalloc.reset_peak()
        async for _ in client.iter_functions(asked.env, page_size=100, max_items=functions):
            pass
        return tracemalloc.get_traced_memory()[1]

    async def peaks():
        async with TcbClient(served.token, base_url=served.near) as client:
            await peak(client, 1000)
            return await peak(client, short), await peak(client, long)

    tracemalloc.start()
    less, more = asyncio.run(peaks())
    tracemalloc.stop()
    each = (more - less) / (long - short)
    return Table(
        f"Memory: {each:.0f} bytes for each function walked.",
        (),
        [],
        [Promise("bytes for each function walked", each, 200)],
    )


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


def _shares(served, page_size, pages):
    """The share of CPU of each part, from at least `SAMPLES` samples of the running code."""
    samples: collections.Counter[str] = collections.Counter()

    def sample(_signal: int, frame: FrameType | None) -> None:
        samples[_part(frame)] += 1

    asked = Asked(served.near, served.token, served.environment(pages * page_size), page_size)
    _walk_once(OURS, asked)
    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)  # the kernel may give one in 4 to 10 ms
    while samples.total() < SAMPLES:
        _walk_once(OURS, asked)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return {part: n / samples.total() for part, n in samples.most_common()}


def where_time_goes(served, *, pages):
    """The share of CPU of each part of a walk, by page size."""
    small, large = (_shares(served, size, pages) for size in (20, 100))
    return Table(
        "Shares of the CPU of a walk.",
        ("part", "pages of 20", "pages of 100"),
        [
            (part, f"{small.get(part, 0):.0%}", f"{large.get(part, 0):.0%}")
            for part in {**small, **large}
            if max(small.get(part, 0), large.get(part, 0)) >= 0.01
        ],
    )
