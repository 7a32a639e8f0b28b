"""What an inventory costs: time, CPU over one written by hand, memory, and one large account.

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
import itertools
import multiprocessing
import sqlite3
import tempfile
import time
from datetime import datetime
from pathlib import Path

import aiohttp
import psutil
from tables import Promise, Table

from tcb_async import Account, TcbClient
from tcb_async.emulator import Emulator
from tcb_async.inventory import InventoryStore
from tcb_async.tokens import AuthorizerToken, ComponentToken

PLATFORM, SECRET = "wx00112233445566aa", "5b1d0c7a9e6f4a8db3c2e1f0a9b8c7d6"
WINDOW, LATENCY = 8, 0.05
LARGE = "wxlarge"


def _serve(pipe, merchants, latency, functions=25):
    async def main() -> None:
        async with Emulator(latency=latency) as emulator:
            ticket = emulator.add_component(PLATFORM, SECRET)
            appids = emulator.add_merchants(PLATFORM, merchants, functions=functions)
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


async def _by_hand(url, ticket, tokens, store):
    """What many would write instead: as few checks as work on a good day, and one commit."""
    free = asyncio.Semaphore(64)
    rows = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(path, body, **token):
            async with session.post(url + path, params=token, json=body) as reply:
                answer = await reply.json()
            if answer.get("errcode"):
                raise RuntimeError(answer)
            return answer

        secrets = {"component_appsecret": SECRET, "component_verify_ticket": ticket}
        path = "/cgi-bin/component/api_component_token"
        answer = await call(path, {"component_appid": PLATFORM, **secrets})
        component = answer["component_access_token"]

        async def one(appid):
            async with free:
                path = "/cgi-bin/component/api_authorizer_token"
                body = {"component_appid": PLATFORM, "authorizer_appid": appid}
                body["authorizer_refresh_token"] = tokens[appid]
                answer = await call(path, body, component_access_token=component)
                token = answer["authorizer_access_token"]
                found = []
                for info in (await call("/tcb/getenvinfo", {}, access_token=token))["info_list"]:
                    body = {"env": info["env"], "limit": 100, "offset": 0}
                    while True:
                        page = await call("/tcb/listfunctions", body, access_token=token)
                        found += [(appid, info["env"], *row.values()) for row in page["functions"]]
                        body["offset"] += 100
                        if body["offset"] >= page["total_count"]:
                            break
            if store is None:
                rows.extend(found)
            else:
                store.executemany("INSERT OR REPLACE INTO functions VALUES (?,?,?,?,?,?,?)", found)

        await asyncio.gather(*map(one, tokens))
        if store is not None:
            store.commit()


async def _with_ours(url, ticket, tokens, run):
    async def newest() -> str:
        return ticket

    async def forget(_: str) -> None:
        pass

    platform = ComponentToken(PLATFORM, SECRET, ticket=newest)
    accounts = (
        Account(one, AuthorizerToken(platform, one, token, on_rotate=forget))
        for one, token in tokens.items()
    )
    async with (
        TcbClient(platform, base_url=url, concurrency=64) as client,
        client.inventory(accounts, page_size=100) as inventory,
    ):
        async for found in inventory:
            assert found.error is None, found
            if run is not None:
                run.save(found)
    if run is not None:
        run.finish()


def _night(pipe, lists, has_store, *server):
    """List all twice, as on two nights; the CPU of the second is measured."""
    with tempfile.TemporaryDirectory() as folder:
        for day in ("2026-01-01", "2026-01-02"):
            store = run = None
            if has_store and lists is _by_hand:
                run = store = sqlite3.connect(Path(folder) / "by_hand.sqlite")
                store.execute(
                    "CREATE TABLE IF NOT EXISTS functions (appid, env, name, status, runtime, "
                    "added, modified, PRIMARY KEY (appid, env, name))"
                )
            elif has_store:
                noon = datetime.fromisoformat(f"{day}T12:00:00+08:00")
                store = InventoryStore(Path(folder) / "ours.sqlite", clock=lambda now=noon: now)
                run = store.begin()
            cpu = time.process_time()
            asyncio.run(lists(*server, run))
            cpu = time.process_time() - cpu
            if store is not None:
                store.close()
    pipe.send(cpu)


def compare(merchants, rounds=5):
    """Compare the CPU of an inventory with that of one written by hand, in pages of 100.

    The least of some rounds: whatever else the machine does, adds to it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs, merchants, LATENCY, 50), daemon=True)
    server.start()
    costs = {}
    try:
        url, ticket, tokens = ours.recv()
        del tokens[LARGE]
        for _ in range(rounds):
            for lists, has_store in itertools.product((_with_ours, _by_hand), (False, True)):
                result, theirs = context.Pipe()
                arguments = (theirs, lists, has_store, url, ticket, tokens)
                client = context.Process(target=_night, args=arguments, daemon=True)
                client.start()
                costs.setdefault((lists, has_store), []).append(result.recv())
                client.join()
    finally:
        server.kill()
        server.join()
    rows, promises = [], []
    for has_store, words, most in (
        (False, "listed", 1.9),
        (True, "stored, on a second night", 2.4),
    ):
        mine, by_hand = (min(costs[lists, has_store]) for lists in (_with_ours, _by_hand))
        each = [f"{cost / merchants / 3 * 1e6:.0f} µs" for cost in (mine, by_hand)]
        rows.append((words, *each, mine / by_hand))
        promises.append(Promise(f"CPU of an inventory, {words}, × by hand", mine / by_hand, most))
    return Table(
        f"CPU of an inventory of {merchants:,} accounts: three requests each, 64 in flight.",
        ("the functions are", "tcb_async, a request", "by hand, a request", "× by hand"),
        rows,
        promises,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer accounts")
    arguments = parser.parse_args()
    share = 10 if arguments.quick else 1

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
