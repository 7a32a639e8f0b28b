"""What an inventory costs: time over the ideal, CPU a request, memory, and one large account.

``python nightly/benchmarks/inventories.py [--quick]``

The emulator is in a process of its own. The ideal is what the requests take if the window is full
all the time: requests, times latency, over the window. On a machine that has other work, a round
trip takes longer than the emulator's latency; so the same is said with what a round trip took, in
the same run, when eight tasks did nothing but ask for one page after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import time

import psutil

from tcb_async import Account, TcbClient
from tcb_async.emulator import Emulator
from tcb_async.tokens import AuthorizerToken, ComponentToken

PLATFORM, SECRET = "wx00112233445566aa", "5b1d0c7a9e6f4a8db3c2e1f0a9b8c7d6"
WINDOW, LATENCY = 8, 0.05
LARGE = "wxlarge"


def _serve(pipe, merchants, latency):
    async def main() -> None:
        async with Emulator(latency=latency) as emulator:
            ticket = emulator.add_component(PLATFORM, SECRET)
            appids = emulator.add_merchants(PLATFORM, merchants, functions=25)
            emulator.add_authorizer(PLATFORM, LARGE)
            emulator.add_environment("large-1", owner=LARGE)
            emulator.deploy("large-1", count=2000)
            tokens = {one: emulator.refresh_token(PLATFORM, one) for one in (*appids, LARGE)}
            pipe.send((emulator.url, ticket, tokens))
            await asyncio.to_thread(pipe.recv)

    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(main())


async def _list(url, ticket, tokens, appids):
    async def newest() -> str:
        return ticket

    async def forget(_: str) -> None:
        pass

    platform = ComponentToken(PLATFORM, SECRET, ticket=newest)
    accounts = (
        Account(one, AuthorizerToken(platform, one, tokens[one], on_rotate=forget))
        for one in appids
    )
    async with TcbClient(platform, base_url=url, concurrency=WINDOW) as client:
        large = client.with_token(AuthorizerToken(platform, LARGE, tokens[LARGE], on_rotate=forget))
        before = await _round_trip(large)
        cpu = time.process_time()
        async with client.inventory(accounts) as inventory:
            async for found in inventory:
                assert found.error is None, found
        cpu = time.process_time() - cpu
        after = await _round_trip(large)
    return inventory.summary, cpu, (before + after) / 2


async def _round_trip(client):
    """Seconds of a round trip, while the window is full all the time."""
    await client.function_page("large-1")

    async def ask() -> None:
        for offset in range(0, 1000, 20):
            await client.function_page("large-1", offset=offset)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(WINDOW):
            group.create_task(ask())
    return (time.perf_counter() - started) / 50


def _measure(pipe, *arguments):
    """List in a process of its own, so that its memory is that of this listing alone."""
    summary, cpu, trip = asyncio.run(_list(*arguments))  # type: ignore[arg-type]
    pipe.send((summary.to_dict(), cpu, trip, psutil.Process().memory_info().rss))


def listed(merchants, *, latency, with_large=False):
    """List so many merchants; returns what it cost."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs, merchants, latency), daemon=True)
    server.start()
    try:
        url, ticket, tokens = ours.recv()
        appids = [one for one in tokens if one != LARGE]
        if with_large:
            appids.insert(0, LARGE)
        result, theirs = context.Pipe()
        arguments = (theirs, url, ticket, tokens, appids)
        client = context.Process(target=_measure, args=arguments, daemon=True)
        client.start()
        summary, cpu, trip, memory = result.recv()
        client.join()
    finally:
        server.kill()
        server.join()
    return {**summary, "cpu": cpu, "trip": trip, "memory": memory}


def _time(cost):
    ideal = cost["requests"] * LATENCY / WINDOW
    same_run = cost["requests"] * cost["trip"] / WINDOW
    return (
        f"  time: {cost['seconds']:.2f} s, {cost['seconds'] / ideal:.3f} of the ideal; "
        f"{cost['seconds'] / same_run:.3f} with round trips of {cost['trip'] * 1000:.1f} ms"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer accounts")
    share = 10 if parser.parse_args().quick else 1

    cost = listed(2000 // share, latency=LATENCY)
    print(f"{cost['accounts']:,} accounts, {cost['requests']:,} requests, {LATENCY * 1000:g} ms")
    print(_time(cost))
    print(f"  CPU: {cost['cpu'] / cost['requests'] * 1000:.3f} ms a request")

    few, many = (listed(count // share, latency=0.0) for count in (1000, 10_000))
    ratio = many["memory"] / few["memory"]
    print(f"memory at {many['accounts']:,} accounts: {ratio:.3f} of that at {few['accounts']:,}")

    without = listed(400 // share, latency=LATENCY)
    mixed = listed(400 // share, latency=LATENCY, with_large=True)
    more = mixed["requests"] - without["requests"]
    print(f"one account of 2,000 functions: {more:g} requests more, for its token and its pages")
    print(_time(mixed))


if __name__ == "__main__":
    main()
