"""The session under a client: a session of the caller's, loops, wrappers, and closing it."""

import asyncio
import contextlib
import gc
import itertools
import warnings
from weakref import ref

import aiohttp
import pytest
from constants import APPID, ENV
from leaks import eventually, no_leaks, run_strictly
from raw_server import RawServer, http_reply
from secret_leaks import leaks_of, shown_by
from server_faults import FAULTS, LISTING, OK, once

from tcb_async import Account, ClientClosedError, Inventory, RetryPolicy, TcbClient, TcbError
from tcb_async.emulator import Fault


async def test_callers_session_is_used_as_it_is():
    """Its headers, cookies and tracing work, its raise_for_status and timeout do not interfere."""
    traced: list[str] = []

    async def note(*_):
        traced.append("end")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_end.append(note)
    timeout = aiohttp.ClientTimeout(total=0.001)
    cookie = http_reply(LISTING, headers={"Set-Cookie": "cookie=yes"})
    own_headers = {"X-Trace": "abc", "User-Agent": "mine", "Accept-Encoding": "gzip"}
    async with (
        RawServer(lambda _, n: http_reply(b"", 503) if n == 0 else cookie) as server,
        aiohttp.ClientSession(
            "https://elsewhere.example/base/",
            headers=own_headers,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            raise_for_status=True,
            timeout=timeout,
            trace_configs=[tracing],
        ) as session,
    ):
        before = dict(session.headers)
        retry = RetryPolicy(attempts=8, base=0.0)
        async with TcbClient("T", base_url=server.url, session=session, retry=retry) as client:
            assert (await client.function_page(ENV)).total == 1
            assert (await client.function_page(ENV)).total == 1

        assert not session.closed
        assert (dict(session.headers), session.timeout) == (before, timeout)
        assert session.raise_for_status is True
        assert [cookie.value for cookie in session.cookie_jar] == ["yes"]

    assert traced == ["end"] * 3
    assert [request.headers["x-trace"] for request in server.requests] == ["abc"] * 3
    assert {request.headers["user-agent"] for request in server.requests} == {"mine"}
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}
    assert [request.headers.get("cookie") for request in server.requests][2] == "cookie=yes"


async def test_session_of_ours_keeps_no_cookies():
    reply = http_reply(LISTING, headers={"Set-Cookie": "account=1"})
    async with RawServer(reply) as server:
        url = server.url.replace("127.0.0.1", "localhost")  # aiohttp keeps none of an address
        async with TcbClient("T", base_url=url) as client:
            await client.function_page(ENV)
            await client.function_page(ENV)

    assert [request.headers.get("cookie") for request in server.requests] == [None, None]


async def test_trace_hooks_of_every_session_see_no_request_of_ours(monkeypatch):
    """As Sentry and OpenTelemetry do: the reported URL contains the token."""
    told: list[object] = []

    async def note(*facts):
        told.append(facts)

    def init(session, **settings):
        tracing = aiohttp.TraceConfig()
        for signal in (tracing.on_request_start, tracing.on_request_end):
            signal.append(note)
        own(session, **settings, trace_configs=[tracing])

    own = aiohttp.ClientSession.__init__
    monkeypatch.setattr(aiohttp.ClientSession, "__init__", init)
    async with RawServer(OK) as server:
        async with TcbClient("T", base_url=server.url) as client:
            assert (await client.function_page(ENV)).total == 1
        assert told == []

        async with aiohttp.ClientSession() as session, session.get(server.url):
            assert len(told) == 2


@pytest.mark.parametrize("fault", ["reset", "reset_in_headers", "redirect_307"])
async def test_a_library_that_wraps_our_session_sees_no_token(fault, monkeypatch):
    """As the agents of Elastic, Datadog and New Relic do."""
    seen: list[str] = []

    async def request(session, method, url, **settings):
        seen.append(str(url))
        try:
            reply = await own(session, method, url, **settings)
        except Exception as error:
            seen.extend(shown_by(error))
            raise
        seen.append(f"{reply!r} {reply.url} {reply.real_url}")
        return reply

    own = aiohttp.ClientSession._request  # agents wrap this method
    monkeypatch.setattr(aiohttp.ClientSession, "_request", request)  # likewise
    secret, replies = "s3cr3t-t0ken-of-some-length", once(FAULTS[fault])
    retry = RetryPolicy(attempts=8, base=0.0)
    async with (
        RawServer(replies) as server,
        TcbClient(secret, base_url=server.url, retry=retry) as client,
    ):
        with contextlib.suppress(TcbError):
            await client.function_page(ENV)

    assert seen[0] == f"{server.url}/tcb/listfunctions"
    assert server.requests[0].target == f"/tcb/listfunctions?access_token={secret}"
    assert leaks_of([secret], seen) == []


async def test_headers_that_a_wrapper_adds_stay_on_their_request(monkeypatch):
    """Elastic's agent writes into the headers that it finds."""
    numbers = itertools.count()

    async def request(session, *args, **settings):
        if settings["headers"] is not None:
            settings["headers"][f"X-Trace-{next(numbers)}"] = "yes"
        return await own(session, *args, **settings)

    own = aiohttp.ClientSession._request  # agents wrap this method
    monkeypatch.setattr(aiohttp.ClientSession, "_request", request)  # likewise
    async with RawServer(OK) as server, aiohttp.ClientSession() as session:
        async with TcbClient("T", base_url=server.url, session=session) as client:
            await client.function_page(ENV)
            await client.function_page(ENV)
        monkeypatch.undo()
        async with TcbClient("T", base_url=server.url) as client:
            await client.function_page(ENV)

        traced = [[name for name in asked.headers if "trace" in name] for asked in server.requests]
    assert traced == [["x-trace-0"], ["x-trace-1"], []]


@pytest.mark.slow
async def test_every_place_has_a_connection(serve):
    everybody_is_here = asyncio.Event()

    async def gather_them(exchange):
        if exchange.request.n == 149:
            everybody_is_here.set()
        await everybody_is_here.wait()
        await exchange.send(OK)

    server, client = await serve(gather_them, concurrency=150)
    calls = (client.function_page(ENV) for _ in range(150))
    pages = await asyncio.wait_for(asyncio.gather(*calls), 10)
    assert [page.total for page in pages] == [1] * 150
    assert server.accepted == 150


async def test_request_does_not_keep_its_page_in_memory(emulator, client_of):
    emulator.deploy(ENV, count=400)
    client = await client_of(emulator)
    refs = [ref(function) async for function in client.iter_functions(ENV, page_size=20)]

    assert len(refs) == 400
    assert [its() for its in refs if its() is not None] == []


async def test_client_is_neither_used_nor_closed_on_a_second_loop(emulator, client_of):
    emulator.deploy(ENV)
    emulator.script([Fault.ok(), Fault.delay(0.1)])
    client = await client_of(emulator)
    await client.function_page(ENV)
    walk = client._transport.spawn(client.list_functions(ENV))
    await eventually(lambda: emulator.in_flight == 1)

    for call in (client.function_page(ENV), client.aclose()):
        with pytest.raises(ClientClosedError, match=r"another event loop: make one client per"):
            await asyncio.to_thread(asyncio.run, call)

    assert not client.closed
    assert len(await walk) == 1


@pytest.mark.parametrize("kind", ["pager", "inventory"])
async def test_iteration_does_not_move_to_a_second_loop(emulator, client, kind):
    async def read_on():
        return [item async for item in rows]

    emulator.deploy(ENV, count=57)
    if kind == "pager":
        rows = client.iter_functions(ENV, page_size=5)
    else:
        rows = aiter(Inventory(client, [Account(APPID, emulator.token, envs=[ENV])] * 20))
    await anext(rows)
    emulator.script(itertools.repeat(Fault.hang()))
    with pytest.raises(ClientClosedError, match="another event loop: make one client per"):
        await asyncio.wait_for(asyncio.to_thread(asyncio.run, read_on()), 10)


@pytest.mark.slow
def test_client_is_refused_after_a_fork_if_it_was_used_before():
    done = run_strictly("""
import asyncio, os
from tcb_async import RetryPolicy, TcbClient, TcbError

def make_client():
    return TcbClient("T", base_url="http://127.0.0.1:9", retry=RetryPolicy(attempts=1))

def call(client):
    try:
        loop.run_until_complete(client.function_page("test-777bb9"))
    except TcbError as error:
        return error.message

loop = asyncio.new_event_loop()
used, unused = make_client(), make_client()
call(used)
child = os.fork()
if child == 0:
    print(call(used))
    print(call(unused), flush=True)
else:
    os.waitpid(child, 0)
loop.run_until_complete(unused.aclose())
if child != 0:
    loop.run_until_complete(used.aclose())
loop.close()
os._exit(0)
""")
    used, unused = done.stdout.splitlines()
    assert "this client was used before a fork" in used
    assert "could not connect" in unused, "it has tried"
    assert (done.returncode, done.stderr) == (0, "")


async def test_session_of_a_second_loop_is_refused():
    async with RawServer(OK) as server, aiohttp.ClientSession() as session:
        client = TcbClient("T", base_url=server.url, session=session)
        with pytest.raises(ClientClosedError, match="belongs to another event loop"):
            await asyncio.to_thread(asyncio.run, client.function_page(ENV))

    assert server.accepted == 0


async def test_client_with_a_closed_session_may_be_forgotten():
    async with RawServer(http_reply(LISTING)) as server:
        client = TcbClient("T", base_url=server.url)
        await client.function_page(ENV)
        await client._transport.keeper.get_session().close()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            del client
            gc.collect()

    assert told == []


async def test_client_may_be_made_and_closed_outside_its_loop():
    client = TcbClient("T", base_url="http://127.0.0.1:9")

    def use_and_close(url):
        client = TcbClient("T", base_url=url)
        page = asyncio.run(client.function_page(ENV))
        asyncio.run(client.aclose())
        return page.total

    last = http_reply(LISTING, headers={"Connection": "close"})
    async with RawServer(last) as server:
        assert await asyncio.to_thread(use_and_close, server.url) == 1

    await client.aclose()
    with pytest.raises(ClientClosedError):
        await client.function_page(ENV)


@pytest.mark.parametrize("is_callers", [False, True])
async def test_closing_the_session_stops_its_calls(emulator, *, is_callers):
    emulator.latency = 30.0
    async with no_leaks():
        session = aiohttp.ClientSession() if is_callers else None
        client = TcbClient(emulator.token, base_url=emulator.url, session=session)
        call = asyncio.create_task(client.function_page(ENV))
        await eventually(lambda: emulator.in_flight == 1)

        await (client.aclose() if session is None else session.close())

        with pytest.raises(ClientClosedError, match="was closed: make a new"):
            await asyncio.wait_for(call, 60)
    assert len(emulator.requests) == 1


async def test_closing_cancels_tasks_started_by_cancelled_tasks():
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
        transport.tasks.add(task)
        task.add_done_callback(transport.tasks.discard)

    begin(3)
    await asyncio.sleep(0)
    await client.aclose()

    assert not transport.tasks


async def test_client_may_be_closed_by_its_own_task():
    client = TcbClient("T", base_url="http://127.0.0.1:9")

    await asyncio.wait_for(client._transport.spawn(client.aclose()), 60)

    assert client.closed
