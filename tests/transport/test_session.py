"""The session under a client: a session of the caller's own, loops, forks, and its end."""

from __future__ import annotations

import asyncio
import gc
import warnings
from weakref import ref

import aiohttp
import pytest
from leaks import eventually, no_leaks
from raw_server import RawServer, http_reply
from server_faults import FAULTS, LISTING, OK, once, until_late

from tcb_async import ClientClosedError, RetryPolicy, TcbClient, TransportError

ENV = "test-777bb9"


async def test_a_session_that_was_handed_in_is_used_as_it_is():
    """Its headers, cookies and tracing work, its raise_for_status and timeout do not interfere."""
    traced: list[str] = []

    async def note(*_):
        traced.append("end")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_end.append(note)
    timeout = aiohttp.ClientTimeout(total=0.001)
    cookie = http_reply(LISTING, headers={"Set-Cookie": "kept=yes"})
    async with (
        RawServer(lambda _, n: http_reply(b"", 503) if n == 0 else cookie) as server,
        aiohttp.ClientSession(
            "https://elsewhere.example/base/",
            headers={"X-Trace": "abc", "Accept-Encoding": "gzip"},
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            raise_for_status=True,
            timeout=timeout,
            trace_configs=[tracing],
        ) as session,
    ):
        before = dict(session.headers)
        retry = RetryPolicy(base=0.0)
        async with TcbClient("T", base_url=server.url, session=session, retry=retry) as client:
            assert await client.count_functions(ENV) == 1
            assert await client.count_functions(ENV) == 1

        assert not session.closed
        assert (dict(session.headers), session.timeout) == (before, timeout)
        assert session.raise_for_status is True
        assert [cookie.value for cookie in session.cookie_jar] == ["yes"]

    assert traced == ["end"] * 3
    assert [request.headers["x-trace"] for request in server.requests] == ["abc"] * 3
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}
    assert [request.headers.get("cookie") for request in server.requests][2] == "kept=yes"


async def test_a_session_that_raises_for_a_status_by_a_function_does_not_get_to_do_so(serve):
    async def refuse(response):
        raise AssertionError(response.status)

    async with aiohttp.ClientSession(raise_for_status=refuse) as session:
        _, client = await serve(OK, session=session)
        assert await client.count_functions(ENV) == 1


async def test_an_exception_from_code_added_to_a_session_becomes_one_of_ours_too(serve):
    async def fail(*_):
        raise LookupError("planted-token")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(fail)
    async with aiohttp.ClientSession(trace_configs=[tracing]) as session:
        _, client = await serve(OK, token="planted-token", session=session)
        with pytest.raises(TransportError, match=r"failed \(LookupError: \[hidden\]\)") as caught:
            await client.count_functions(ENV)

    assert not caught.value.retryable
    assert "planted" not in str(caught.value)


async def test_there_are_as_many_connections_as_the_window_has_permits(serve):
    everybody_is_here = asyncio.Event()

    async def gather_them(exchange):
        if exchange.request.n == 149:
            everybody_is_here.set()
        await everybody_is_here.wait()
        await exchange.send(OK)

    server, client = await serve(gather_them, concurrency=150)
    calls = (client.count_functions(ENV) for _ in range(150))
    assert await asyncio.wait_for(asyncio.gather(*calls), 10) == [1] * 150
    assert server.accepted == 150


async def test_unsolicited_data_is_never_taken_for_the_answer(serve):
    """aiohttp keeps it, and would take it for the answer to the connection's next request."""
    _, client = await serve(once(FAULTS["late_unasked_reply"]))
    assert await client.count_functions(ENV) == 1
    await until_late()
    assert [await client.count_functions(ENV) for _ in range(3)] == [1, 1, 1]


async def test_a_page_that_was_read_is_not_kept_by_the_timers_and_connections_of_its_request(
    emulator, client_of
):
    emulator.deploy(ENV, count=400)
    client = await client_of(emulator)
    refs = [ref(function) async for function in client.iter_functions(ENV, page_size=20)]

    assert len(refs) == 400
    assert [its() for its in refs if its() is not None] == []


async def test_a_client_used_on_a_second_loop_gives_advice(emulator, client_of):
    emulator.deploy(ENV)
    client = await client_of(emulator)
    await client.count_functions(ENV)

    with pytest.raises(ClientClosedError, match=r"another event loop: make one client per"):
        await asyncio.to_thread(asyncio.run, client.count_functions(ENV))

    assert await client.count_functions(ENV) == 1


async def test_a_session_of_another_loop_is_refused_before_it_can_hang():
    async with RawServer(OK) as server, aiohttp.ClientSession() as session:
        client = TcbClient("T", base_url=server.url, session=session)
        with pytest.raises(ClientClosedError, match=r"session .* belongs to another event loop"):
            await asyncio.to_thread(asyncio.run, client.count_functions(ENV))

    assert server.accepted == 0


@pytest.mark.parametrize("in_a_cycle", [False, True])
async def test_a_client_that_is_forgotten_says_so_alone_and_closes_its_connections(*, in_a_cycle):
    async with RawServer(http_reply(LISTING)) as server:
        kept: list[object] = [client := TcbClient("T", base_url=server.url)]
        await client.count_functions(ENV)
        session = client._transport.get_session()
        del client
        gc.collect()  # the garbage collector clears the session first
        if in_a_cycle:
            kept.append(kept)
        del session
        with pytest.warns(ResourceWarning) as told:  # noqa: PT031 - either says so
            del kept
            gc.collect()
        await eventually(lambda: server.open == 0)

    assert ["unclosed TcbClient" in str(warning.message) for warning in told] == [True]


async def test_a_client_with_a_session_closed_elsewhere_may_be_forgotten():
    async with RawServer(http_reply(LISTING)) as server:
        client = TcbClient("T", base_url=server.url)
        await client.count_functions(ENV)
        await client._transport.get_session().close()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            del client
            gc.collect()

    assert told == []


async def test_a_client_may_be_made_before_there_is_a_loop_and_closed_after_its_loop_ended():
    client = TcbClient("T", base_url="http://127.0.0.1:9")

    def use_and_close(url):
        client = TcbClient("T", base_url=url)
        count = asyncio.run(client.count_functions(ENV))
        asyncio.run(client.aclose())
        return count

    last = http_reply(LISTING, headers={"Connection": "close"})
    async with RawServer(last) as server:
        assert await asyncio.to_thread(use_and_close, server.url) == 1

    await client.aclose()
    with pytest.raises(ClientClosedError):
        await client.count_functions(ENV)


@pytest.mark.parametrize("foreign", [False, True])
async def test_a_call_under_way_when_its_session_is_closed_ends_at_once_as_closed(
    emulator, *, foreign
):
    emulator.latency = 30.0
    async with no_leaks():
        session = aiohttp.ClientSession() if foreign else None
        client = TcbClient(emulator.token, base_url=emulator.url, session=session)
        call = asyncio.create_task(client.count_functions(ENV))
        await eventually(lambda: emulator.in_flight == 1)

        await (client.aclose() if session is None else session.close())

        with pytest.raises(ClientClosedError, match="was closed: make a new"):
            await asyncio.wait_for(call, 5)
    assert len(emulator.requests) == 1


async def test_closing_a_client_also_ends_tasks_started_during_the_close():
    client = TcbClient("T", base_url="http://127.0.0.1:9")
    transport = client._transport

    async def begin_another(times):
        try:
            await asyncio.Event().wait()
        finally:
            if times > 0:
                begin(times - 1)

    def begin(times):
        """As an inventory does."""
        task = asyncio.ensure_future(begin_another(times))
        transport.live.add(task)
        task.add_done_callback(transport.live.discard)

    begin(3)
    await asyncio.sleep(0)
    await client.aclose()

    assert not transport.live


async def test_a_client_may_be_closed_by_its_own_task():
    client = TcbClient("T", base_url="http://127.0.0.1:9")

    await asyncio.wait_for(client._transport.spawn(client.aclose()), 5)

    assert client.closed
