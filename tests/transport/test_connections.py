"""New connections that are not answered: a proxy that serves only a few costs no time-out."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from leaks import eventually, no_leaks
from proxies import NarrowProxy
from tls_emulator import knows_our_ca, over_tls

from tcb_async import ClientClosedError, RetryPolicy, TcbClient
from tcb_async._transport.session import FirstAnswers, InFlight
from tcb_async.emulator import Emulator
from tcb_async.limits import Window

ENV = "test-777bb9"
COUNT, PAGES = 200, 11
LATENCY = 0.02
APPSECRET = "s3cr3t-" * 5
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


def client(emulator, proxy, scheme="http", **options):
    return TcbClient(
        emulator.token,
        base_url=f"{scheme}://127.0.0.1:{proxy.port}",
        ssl_context=knows_our_ca() if scheme == "https" else None,
        **{"retry": QUICK, **options},
    )


def waiting_of(asking):
    """The requests that wait for a connection, or for the first answer of a new one."""
    # A request that waits shows nowhere else.
    return asking._transport._keeper.first_answers.waiting


WAYS = [("queue", "http"), ("queue", "https"), ("drop", "http"), ("drop", "https"), ("503", "http")]


@pytest.mark.parametrize(("beyond", "scheme"), WAYS)
async def test_a_walk_is_complete_with_few_extra_attempts_and_no_time_out(beyond, scheme):
    async with (
        behind(beyond, scheme) as (emulator, proxy),
        client(emulator, proxy, scheme, timeout=60) as asking,
    ):
        functions = await asyncio.wait_for(asking.functions(ENV, page_size=20).collect(), 10)

        assert asking._transport.window.size <= 4
        assert asking._transport.sent <= 3 * PAGES

    assert [f.name for f in functions] == [f.name for f in emulator.functions(ENV)]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_request_in_a_proxys_queue_is_sent_again_without_counting_as_an_attempt(scheme):
    async with behind("queue", scheme) as (emulator, proxy):
        async with client(emulator, proxy, scheme, retry=RetryPolicy.none()) as asking:
            pager = asking.functions(ENV, page_size=20)
            await pager.collect()

            assert (pager.stats.requests, pager.stats.retries) == (PAGES, 0)
            assert asking._transport.sent > PAGES
            assert asking._transport.window.size <= 3
        assert emulator.peak_in_flight <= 2


async def test_token_calls_that_wait_in_a_proxys_queue_are_sent_once_and_soon_answered():
    """Idle connections are closed, so that the proxy serves them, and the window shrinks."""
    async with behind("queue") as (emulator, proxy), client(emulator, proxy) as asking:
        emulator.add_app("wx0123456789abcdef", APPSECRET)
        query = {
            "grant_type": "client_credential", "appid": "wx0123456789abcdef", "secret": APPSECRET,
        }  # fmt: skip
        transport = asking._transport
        await asking.count_functions(ENV)
        calls = (transport.call_token_endpoint("/cgi-bin/token", query=query) for _ in range(20))
        await asyncio.wait_for(asyncio.gather(*calls, asking.count_functions(ENV)), 10)

        assert transport.sent == 22
        assert transport.window.size <= 3


async def test_a_slow_first_answer_of_a_new_connection_is_awaited():
    async with behind("queue", connections=8) as (emulator, proxy):

        @emulator.on_request
        def slow_down(request):
            emulator.latency = 0.0 if request.number == 1 else 0.8

        async with client(emulator, proxy) as asking:
            pager = asking.functions(ENV, page_size=20)
            assert len(await pager.collect()) == COUNT
            size = asking._transport.window.size

        assert (len(emulator.requests), pager.stats.retries, size) == (PAGES, 0, 8)


async def test_a_server_that_is_slow_now_and_then_gets_each_request_at_most_twice():
    async with behind("queue", connections=8) as (emulator, proxy):

        @emulator.on_request
        def answer_some(request):
            emulator.latency = 0.9 if request.number % 2 else 0.01

        async with client(emulator, proxy, retry=RetryPolicy.none()) as asking:
            assert len(await asking.functions(ENV, page_size=20).collect()) == COUNT

        assert len(emulator.requests) <= 2 * PAGES


async def test_a_busy_event_loop_is_not_taken_for_a_proxys_queue():
    async with behind("queue", connections=8) as (emulator, proxy):

        @emulator.on_request
        def block_the_loop(request):
            if request.number == 3:
                time.sleep(0.5)

        async with client(emulator, proxy) as asking:
            await asking.count_functions(ENV)
            await asyncio.gather(*(asking.count_functions(ENV) for _ in range(2)))

            assert asking._transport.window.size == 8
            assert proxy.accepted == 2


async def test_a_dead_first_address_is_skipped_within_the_same_attempt(emulator, monkeypatch):
    async def two_addresses(_host, port, **_):
        family, kind = socket.AF_INET, socket.SOCK_STREAM
        return [(family, kind, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]

    emulator.deploy(ENV, count=COUNT)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
    url = emulator.url.replace("127.0.0.1", "localhost")
    async with TcbClient(emulator.token, base_url=url, retry=RetryPolicy.none()) as asking:
        assert await asking.count_functions(ENV) == COUNT
        assert not waiting_of(asking)


@pytest.fixture
async def hung():
    """A client with one busy connection and three calls that wait for a connection."""
    async with behind("queue", "https", connections=1) as (emulator, proxy):

        @emulator.on_request
        def hold_the_second(request):
            emulator.latency = 30.0 if request.number == 2 else LATENCY

        async with client(emulator, proxy, "https") as asking:
            calls = [asyncio.ensure_future(asking.count_functions(ENV)) for _ in range(4)]
            await eventually(
                lambda: emulator.in_flight == 1 and asking._transport.window.size == 1, seconds=20
            )
            yield asking, calls


async def test_calls_that_wait_for_anothers_connection_may_be_cancelled(hung):
    asking, calls = hung
    for call in calls:
        call.cancel()
    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(end) for end in ended].count(asyncio.CancelledError) == 3
    assert asking._transport.window.in_flight == 0
    assert await asking.count_functions(ENV) == COUNT
    assert not waiting_of(asking)


async def test_closing_a_client_ends_requests_that_wait_for_a_connection(hung):
    asking, calls = hung
    await asking.aclose()
    ended = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

    assert [type(end) for end in ended].count(ClientClosedError) == 3


async def test_a_cancellation_at_the_moment_of_giving_up_is_not_swallowed(monkeypatch):
    async with behind("queue", "https", connections=1) as (emulator, proxy):
        async with client(emulator, proxy, "https") as asking:
            await asking.count_functions(ENV)
            calls = [asyncio.ensure_future(asking.count_functions(ENV)) for _ in range(2)]
            window = asking._transport.window
            monkeypatch.setattr(type(window), "shrink_to", lambda *_: calls[1].cancel())

            ended = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(end) for end in ended] == [int, asyncio.CancelledError]
        assert calls[1].cancelled()


async def test_a_request_given_up_just_after_its_time_limit_is_a_time_out():
    async def send():
        async with request.limit_time(0.0):  # its end is the loop's next callback
            asyncio.get_running_loop().call_soon(request.give_up)
            await asyncio.Event().wait()

    request = InFlight(FirstAnswers(Window(1)), patience=1.0)
    with pytest.raises(TimeoutError):
        await send()
    assert not request.gave_up


@pytest.mark.parametrize("closings", [1, 2])
async def test_a_client_closed_while_a_connection_is_made_ends_the_call_at_once(closings):
    """The server accepts, and never answers the TLS handshake."""
    greeted = asyncio.Event()

    async def accept(reader, writer):
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

        await asyncio.gather(*(client.aclose() for _ in range(closings)))

        with pytest.raises(ClientClosedError):
            await asyncio.wait_for(call, 60)
