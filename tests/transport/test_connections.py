"""Connections that get no answer: a proxy that serves only some of them costs no stall."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from leaks import eventually, no_leaks
from narrow_proxy import NarrowProxy
from tls_emulator import knows_our_ca, over_tls

from tcb_async import ClientClosedError, RetryPolicy, TcbClient
from tcb_async.emulator import Emulator

if TYPE_CHECKING:
    from tcb_async.emulator import RecordedRequest

ENV = "test-777bb9"
COUNT = 200
PAGES = 11
LATENCY = 0.02
QUICK = RetryPolicy(attempts=10, base=LATENCY)


@asynccontextmanager
async def behind(beyond, scheme="http", connections=2):
    """An emulator, and a proxy before it that serves only some connections."""
    async with no_leaks(), AsyncExitStack() as stack:
        emulator = Emulator(latency=LATENCY)
        emulator.deploy(ENV, count=COUNT)
        if scheme == "https":
            port = await stack.enter_async_context(over_tls(emulator))
        else:
            await stack.enter_async_context(emulator)
            port = int(emulator.url.rpartition(":")[2])
        proxy = NarrowProxy(port, connections, beyond)
        yield emulator, await stack.enter_async_context(proxy)


def client(emulator, proxy, scheme="http", concurrency=8):
    return TcbClient(
        emulator.token,
        base_url=f"{scheme}://127.0.0.1:{proxy.port}",
        concurrency=concurrency,
        retry=QUICK,
        ssl_context=knows_our_ca() if scheme == "https" else None,
    )


def window_of(asking):
    return asking._authorized.transport.window


def queue_of(asking):
    return asking._authorized.transport.session().connector.queue  # type: ignore[union-attr]


WAYS = [("queue", "http"), ("queue", "https"), ("drop", "http"), ("drop", "https"), ("503", "http")]


@pytest.mark.parametrize(("beyond", "scheme"), WAYS)
async def test_a_walk_takes_at_most_three_times_as_long_as_at_the_right_concurrency(
    beyond, scheme, capsys
):
    async def seconds(concurrency: int) -> float:
        async with client(emulator, proxy, scheme, concurrency) as asking:
            started = asyncio.get_running_loop().time()
            functions = await asking.functions(ENV).collect()
            took = asyncio.get_running_loop().time() - started
        assert [f.name for f in functions] == [f.name for f in emulator.functions(ENV)]
        return took

    async with behind(beyond, scheme) as (emulator, proxy):
        right = wide = math.inf
        for _ in range(10):  # the machine may be busy: the best counts
            right, wide = min(right, await seconds(2)), min(wide, await seconds(8))
            if wide <= 3 * right:
                break

    with capsys.disabled():
        figures = f"{wide:.2f} s, at concurrency 2 {right:.2f} s: {wide / right:.2f} times"
        sys.stdout.write(f"\n{scheme} beyond 2 connections: {beyond}: {figures} as long ")
    assert wide <= 3 * right


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_waits_in_a_proxys_queue_is_sent_once_and_no_time_out_is_waited_for(
    scheme,
):
    async with behind("queue", scheme) as (emulator, proxy):
        async with client(emulator, proxy, scheme) as asking:
            pager = asking.functions(ENV)
            await pager.collect()
            size = window_of(asking).size

        assert (len(emulator.requests), pager.stats.requests, pager.stats.retries) == (
            PAGES,
            PAGES,
            0,
        )
        assert size <= 3
        assert emulator.peak_in_flight <= 2


async def test_a_new_connection_whose_first_answer_takes_long_is_waited_for():
    async with behind("queue", connections=8) as (emulator, proxy):

        @emulator.on_request
        def slow_down(request: RecordedRequest) -> None:
            emulator.latency = 0.0 if request.number == 1 else 0.2

        async with client(emulator, proxy) as asking:
            pager = asking.functions(ENV)
            assert len(await pager.collect()) == COUNT

        assert (len(emulator.requests), pager.stats.retries) == (PAGES, 0)


async def test_a_busy_event_loop_is_not_taken_for_a_proxys_queue():
    async with behind("queue", connections=8) as (emulator, proxy):

        @emulator.on_request
        def block_the_loop(request: RecordedRequest) -> None:
            if request.number == 3:
                time.sleep(0.3)

        async with client(emulator, proxy) as asking:
            await asking.count_functions(ENV)
            await asyncio.gather(*(asking.count_functions(ENV) for _ in range(2)))

            assert window_of(asking).size == 8
            assert proxy.accepted == 2


async def test_a_call_that_waits_for_anothers_connection_may_be_cancelled():
    async with behind("queue", "https", connections=1) as (emulator, proxy):

        @emulator.on_request
        def hold_the_second(request: RecordedRequest) -> None:
            emulator.latency = 30.0 if request.number == 2 else LATENCY

        async with client(emulator, proxy, "https") as asking:
            calls = [asyncio.ensure_future(asking.count_functions(ENV)) for _ in range(4)]
            await eventually(
                lambda: emulator.in_flight == 1 and len(queue_of(asking)._waiting) == 2, seconds=20
            )
            for call in calls[1:]:
                call.cancel()
            ended = await asyncio.gather(*calls, return_exceptions=True)

            assert [type(end) for end in ended].count(asyncio.CancelledError) == 3
            assert window_of(asking).in_flight == 0
            assert await asking.count_functions(ENV) == COUNT


async def test_a_client_that_is_closed_ends_those_who_wait_for_anothers_connection():
    async with behind("queue", "https", connections=1) as (emulator, proxy):

        @emulator.on_request
        def hold_the_second(request: RecordedRequest) -> None:
            emulator.latency = 30.0 if request.number == 2 else LATENCY

        async with client(emulator, proxy, "https") as asking:
            calls = [asyncio.ensure_future(asking.count_functions(ENV)) for _ in range(4)]
            await eventually(
                lambda: emulator.in_flight == 1 and len(queue_of(asking)._waiting) == 2, seconds=20
            )
            queue_of(asking).close()  # twice before they notice, as if two tasks closed the client
            await asking.aclose()
            ended = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

        assert [type(end) for end in ended].count(ClientClosedError) == 3


async def test_a_cancellation_at_the_moment_of_giving_up_is_not_swallowed(
    monkeypatch,
):
    async with behind("queue", "https", connections=1) as (emulator, proxy):
        async with client(emulator, proxy, "https") as asking:
            await asking.count_functions(ENV)
            calls = [asyncio.ensure_future(asking.count_functions(ENV)) for _ in range(2)]
            queue = queue_of(asking)
            monkeypatch.setattr(queue, "shrink", lambda _: calls[1].cancel())

            ended = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(end) for end in ended] == [int, asyncio.CancelledError]
        assert calls[1].cancelled()


@pytest.mark.parametrize("closings", [1, 2])
async def test_a_client_closed_while_a_connection_is_made_ends_the_call_at_once(
    closings,
):
    """The server accepts, and never answers the TLS handshake."""
    greeted = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        greeted.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, no_leaks():
        patience = RetryPolicy(deadline=3600)
        url = f"https://127.0.0.1:{port}"
        client = TcbClient("T", base_url=url, timeout=3600, retry=patience)
        call = asyncio.create_task(client.count_functions("test-777bb9"))
        await greeted.wait()

        for _ in range(closings - 1):
            queue_of(client).close()  # before the call notices, as if two tasks closed the client
        await client.aclose()

        with pytest.raises(ClientClosedError):
            await asyncio.wait_for(call, 60)
