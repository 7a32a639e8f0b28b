"""A hundred thousand requests, a tenth with a fault, with tokens that keep expiring.

Rule: every walk is exact, in however many sittings; memory is flat once it is warm; no task, no
connection and no descriptor is left. The exit status tells whether all of that held.

::

    python nightly/soak.py --requests 100000 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import attrs
import psutil
from processes import in_a_process
from soak_server import APPID, APPSECRET, Counted, serve

from tcb_async import Cursor, RetryPolicy, TcbClient, TcbError
from tcb_async.client import FunctionPager
from tcb_async.tokens import StableToken

WALKERS = 12
CONCURRENCY = 16
SHIFTS, WARM_UP = 20, 4
A_SHIFT = 1000  # requests, at least
FLAT = 0.05
LONG_ENOUGH = 20_000  # requests, before which nothing can be said of memory
SHIFT_SECONDS = 900.0
QUICK = RetryPolicy(base=0.001, cap=0.01, deadline=5.0)


@attrs.define
class Ledger:
    """The results of a run.

    Attributes:
        walks: How many walks came to their end.
        left: How many were left early.
        sittings: How many times a walk had to be resumed.
        functions: How many functions were listed.
        errors: The errors that ended a sitting, by kind.
        wrong: A sentence for each broken rule.
        rss: Bytes of memory at the end of each shift.
        counted: The counts of the server.
    """

    walks: int = 0
    left: int = 0
    sittings: int = 0
    functions: int = 0
    errors: Counter[str] = attrs.field(factory=Counter[str])
    wrong: list[str] = attrs.field(factory=list[str])
    rss: list[int] = attrs.field(factory=list[int])
    counted: Counted = attrs.field(factory=Counted)


@attrs.define
class Shift:
    """A client, and its walks until so many requests were made."""

    client: TcbClient
    listings: Mapping[str, Sequence[str]]
    ledger: Ledger
    budget: int
    spent: int = 0
    _walks: list[FunctionPager] = attrs.field(factory=list["FunctionPager"])

    @property
    def is_over(self):
        under_way = sum(walk.stats.requests + walk.stats.retries for walk in self._walks)
        return self.spent + under_way >= self.budget

    async def walk_on(self, seed):
        """Walk over one environment after the other."""
        chance = random.Random(seed)
        while not self.is_over:
            env = chance.choice(list(self.listings))
            most = chance.choice((None, None, None, 1 + chance.randrange(300)))
            await self._walk(env, chance.randrange(5, 40), most)

    async def _walk(self, env, page_size, leave_after):
        """Walk in as many sittings as it takes, or leave after so many functions."""
        listed: list[str] = []
        cursor: Cursor | None = None
        left = None
        while left is None:
            pager = self.client.functions(env, page_size=page_size, resume=cursor and str(cursor))
            self._walks.append(pager)
            try:
                left = await self._sit(pager, listed, leave_after)
            except TcbError as error:
                self.ledger.errors[type(error).__name__] += 1
                self.ledger.sittings += 1
                cursor = error.cursor
            self._walks.remove(pager)
            self.spent += pager.stats.requests + pager.stats.retries
        expected = self.listings[env]
        if listed != (expected[: len(listed)] if left else expected):
            self.ledger.wrong.append(f"{env}, pages of {page_size}: {len(listed)} functions listed")
        self.ledger.functions += len(listed)
        self.ledger.left += left
        self.ledger.walks += not left

    async def _sit(self, pager, listed, leave_after):
        """Walk on; tell whether the walk was left early."""
        async with pager:
            async for function in pager:
                listed.append(function.name)
                if len(listed) == leave_after or (len(listed) % 50 == 0 and self.is_over):
                    return True
        return False


async def _soak(pipe, requests, seed):
    """Work shift after shift, until the server has counted so many requests."""
    url, listings = pipe.recv()
    ledger, counted = Ledger(), Counted()
    a_shift = max(requests // SHIFTS, A_SHIFT)
    while (left := requests - counted.requests) > 0:
        seeded = f"{seed} {len(ledger.rss)}"
        async with asyncio.timeout(SHIFT_SECONDS):
            await _work(url, listings, ledger, min(left, a_shift), seeded)
        pipe.send("how many?")
        counted = pipe.recv()
    ledger.counted = counted
    return ledger


async def _work(url, listings, ledger, budget, seed):
    """Let a new client do one shift, and look for leftovers."""
    process = psutil.Process()
    before = process.num_fds()
    async with TcbClient(
        StableToken(APPID, APPSECRET),
        base_url=url,
        concurrency=CONCURRENCY,
        timeout=0.25,
        retry=QUICK,
        max_reply_bytes=2**20,
    ) as client:
        shift = Shift(client, listings, ledger, budget)
        await asyncio.gather(*(shift.walk_on(f"{seed} {walker}") for walker in range(WALKERS)))
    await asyncio.sleep(0.05)
    _let_go_of_what_is_free()
    ledger.rss.append(process.memory_info().rss)
    tasks, descriptors = len(asyncio.all_tasks()) - 1, process.num_fds() - before
    if tasks or descriptors > 0:
        ledger.wrong.append(f"{tasks} tasks and {descriptors} descriptors were left in a shift")


def _let_go_of_what_is_free():
    """Give free memory back to the system, where the C library can: RSS is then the used memory."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_flat(rss):
    """Whether memory stays within 5 % of its mean, once it is warm."""
    warm = rss[WARM_UP:]
    mean = sum(warm) / len(warm)
    return all(abs(size - mean) <= FLAT * mean for size in warm)


def _told(ledger, seconds):
    mib = " ".join(f"{size / 2**20:.1f}" for size in ledger.rss)
    errors = ", ".join(f"{kind} {times:,}" for kind, times in ledger.errors.most_common())
    counted = ledger.counted
    total = counted.requests
    walks = f"{ledger.walks:,} walks to the end, {ledger.left:,} left early"
    lines = [
        f"{total:,} requests in {seconds:.0f} s, {total / seconds:,.0f} a second",
        f"{counted.faults:,} met a fault, of {counted.kinds} kinds; {counted.tokens:,} tokens",
        f"{walks}, {ledger.sittings:,} sittings more; {ledger.functions:,} functions listed",
        f"sittings ended by: {errors}",
        f"RSS in MiB, shift by shift: {mib}",
        f"wrong: {len(ledger.wrong) or 'nothing'}",
    ]
    return "\n".join(lines + [f"  {wrong}" for wrong in ledger.wrong[:20]])


def main():
    """Soak, and print the results."""
    parser = argparse.ArgumentParser(description="Soak a client in faults.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    with in_a_process(serve, arguments.seed) as pipe:
        ledger = asyncio.run(_soak(pipe, arguments.requests, arguments.seed))
    if ledger.counted.in_flight:
        ledger.wrong.append(f"{ledger.counted.in_flight} requests are under way at the server")
    if arguments.requests >= LONG_ENOUGH and not is_flat(ledger.rss):
        ledger.wrong.append("memory is not flat")
    told = _told(ledger, time.monotonic() - started)
    print(told)
    return int(bool(ledger.wrong))


if __name__ == "__main__":
    raise SystemExit(main())
