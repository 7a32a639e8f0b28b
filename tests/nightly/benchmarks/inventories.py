"""The CPU of an inventory, and of a program written by hand.

Rule: the emulator, and each listing, has a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import sqlite3
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import aiohttp
from tables import Promise, Table

from tcb_async import Account, TcbClient
from tcb_async.emulator import Emulator
from tcb_async.inventory import Inventory, NightWriter
from tcb_async.tokens import AuthorizerToken, ComponentToken

PLATFORM = "wx00112233445566aa"
SECRET = "5b1d0c7a9e6f4a8db3c2e1f0a9b8c7d6"
LATENCY = 0.05
SPAWN = multiprocessing.get_context("spawn")


def _serve(pipe, merchants):
    async def main() -> None:
        async with Emulator(latency=LATENCY) as emulator:
            ticket = emulator.add_component(PLATFORM, SECRET)
            appids = emulator.add_merchants(PLATFORM, merchants, functions=50)
            tokens = {one: emulator.refresh_token(PLATFORM, one) for one in appids}
            pipe.send((emulator.url, ticket, tokens))
            await asyncio.to_thread(pipe.recv)

    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(main())


@contextlib.contextmanager
def _served(merchants):
    """Serve a platform of so many merchants; gives the URL, the ticket and the refresh tokens."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve, args=(theirs, merchants), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _alone(function, *arguments):
    """Call it in a new process, so that its memory and its CPU are its own."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(function, *arguments).result()


async def _with_ours(url, ticket, tokens, path):
    async def newest() -> str:
        return ticket

    async def forget(_: str) -> None:
        pass

    platform = ComponentToken(PLATFORM, SECRET, ticket=newest)
    accounts = (
        Account(one, AuthorizerToken(platform, one, token, on_rotate=forget))
        for one, token in tokens.items()
    )
    with contextlib.ExitStack() as stack:
        night = None if path is None else stack.enter_context(NightWriter(path))
        unfinished = accounts if night is None else night.begin(accounts)
        async with (
            TcbClient(platform, base_url=url, concurrency=64) as client,
            Inventory(client, unfinished, page_size=100) as inventory,
        ):
            async for found in inventory:
                assert found.error is None, found
                if night is not None:
                    night.save(found)


async def _by_hand(url, ticket, tokens, file):
    """The usual program by hand: few checks, enough for a good day, and one commit."""
    store = None
    if file is not None:
        store = sqlite3.connect(file)
        store.execute(
            "CREATE TABLE functions (appid, env, name, status, runtime, "
            "added, modified, PRIMARY KEY (appid, env, name))"
        )
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
        store.close()


def _night(lists, has_file, *server):
    """List all once; returns the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        asyncio.run(lists(*server, Path(folder, "night.sqlite") if has_file else None))
        return time.process_time() - started


def compare(merchants, rounds):
    """Compare the CPU of an inventory and of a program written by hand, in pages of 100.

    Takes the least of some rounds: other work of the machine only adds to it.
    """
    costs = {}
    with _served(merchants) as server:
        for _ in range(rounds):
            for way in itertools.product((_with_ours, _by_hand), (False, True)):
                costs.setdefault(way, []).append(_alone(_night, *way, *server))
    rows = []
    promises = []
    for has_file, words, most in ((False, "listed", 1.9), (True, "stored", 2.4)):
        mine, by_hand = (min(costs[lists, has_file]) for lists in (_with_ours, _by_hand))
        each = [f"{cost / merchants / 3 * 1e6:.0f} µs" for cost in (mine, by_hand)]
        rows.append((words, *each, mine / by_hand))
        promises.append(Promise(f"CPU of an inventory, {words}, × by hand", mine / by_hand, most))
    return Table(
        f"CPU of an inventory of {merchants:,} accounts: three requests each, 64 in flight.",
        ("the functions are", "tcb_async, a request", "by hand, a request", "× by hand"),
        rows,
        promises,
    )
