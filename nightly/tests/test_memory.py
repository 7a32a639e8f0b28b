"""Memory of ten thousand merchants, and of a client that runs for a long time."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc

from constants import APPID, APPSECRET, PLATFORM
from emulated_faults import FAULTS
from leaks import no_leaks
from token_fixtures import PacedApi, a_ticket, never

from tcb_async import RetryPolicy, TcbClient, TcbError
from tcb_async.emulator import Emulator, Fault
from tcb_async.tokens import AuthorizerToken, ComponentToken, StableToken

ENVS = {"small-1": 19, "middle-1": 240, "large-1": 500}
"""The number of functions of each environment."""
SHIFTS, REQUESTS = 15, 1000
"""Each shift has a new client, which makes at least so many requests."""
MAX_GROWTH = 64
"""Bytes per request: bounded caches of libraries cost 20; a leaked row or task costs more."""


async def test_a_merchant_costs_little_more_than_its_tokens():
    api = PacedApi()
    platform = ComponentToken(PLATFORM, APPSECRET, ticket=a_ticket)
    await platform.get_token(api)
    api.spawned.clear()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        merchants = [
            AuthorizerToken(platform, f"wx{number:016}", f"refresh-{number:0130}", on_rotate=never)
            for number in range(500)
        ]
        for merchant in merchants:
            await merchant.get_token(api)
        api.spawned.clear()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert api.asked == 1 + 500
    assert (after - before) / 500 < 2350  # bytes, of which the two tokens are 250


def one_fault_in_ten(chance):
    kinds = [*FAULTS.values(), *map(Fault.errcode, (40001, 42001, 45011, 48001, 99999))]
    while True:
        for fault in chance.sample(kinds, len(kinds)):
            while chance.random() > 0.1:
                yield Fault.ok()
            yield fault


async def listed_through_failures(client, env, page_size):
    """Walk, and resume after each error."""
    names, cursor = [], None
    while True:
        pager = client.functions(env, page_size=page_size, resume=cursor)
        try:
            async with pager:
                async for function in pager:
                    names.append(function.name)  # noqa: PERF401 - an error keeps those before it
        except TcbError as error:
            cursor = str(error.cursor)
        else:
            return names


async def test_15_000_requests_with_faults_lose_nothing_and_no_memory(caplog):
    chance = random.Random(0)
    policy = RetryPolicy(base=0.0, deadline=5.0)
    memory = []
    async with Emulator() as emulator:
        emulator.add_app(APPID, APPSECRET)
        expected = {
            env: [function.name for function in emulator.deploy(env, count=count)]
            for env, count in ENVS.items()
        }
        emulator.script(one_fault_in_ten(chance))

        @emulator.on_request
        def expire(_request):
            if chance.random() < 1 / 400:
                emulator.expire_tokens()

        async def walk(client):
            while emulator.counts.total() < REQUESTS:
                env = chance.choice(list(ENVS))
                names = await listed_through_failures(client, env, chance.randrange(5, 40))
                assert names == expected[env]

        tracemalloc.start()
        try:
            for _ in range(SHIFTS):
                async with (
                    no_leaks(),
                    TcbClient(
                        StableToken(APPID, APPSECRET),
                        base_url=emulator.url,
                        concurrency=16,
                        timeout=0.25,
                        retry=policy,
                        max_reply_bytes=2**20,
                    ) as client,
                ):
                    await asyncio.gather(*(walk(client) for _ in range(12)))
                emulator.forget_requests()
                caplog.clear()
                gc.collect()
                memory.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()

    assert emulator.in_flight == 0
    growth = max(memory[3:]) - min(memory[3:])
    assert growth < MAX_GROWTH * REQUESTS * (SHIFTS - 3)
