"""The session among libraries that wrap it, after a fork, and under compressed bombs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys

import aiohttp
import pytest
from leaks import strictly
from raw_server import RawServer
from secret_leaks import leaks_of, shown_by
from server_faults import FAULTS, OK, bomb, once

from tcb_async import RetryPolicy, TcbClient, TcbError

ENV = "test-777bb9"
MIB = 2**20


async def test_our_own_session_tells_nothing_to_libraries_that_add_trace_hooks_to_every_session(
    monkeypatch,
):
    """As Sentry and OpenTelemetry do: the reported URL holds the token."""
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
            assert await client.count_functions(ENV) == 1
        assert told == []

        async with aiohttp.ClientSession() as session, session.get(server.url):
            assert len(told) == 2


@pytest.mark.parametrize("fault", ["reset", "reset_in_headers", "two_lengths", "redirect_307"])
async def test_a_library_that_wraps_our_own_session_sees_no_token_in_urls_replies_or_errors(
    fault, monkeypatch
):
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
    retry = RetryPolicy(base=0.0)
    async with (
        RawServer(replies) as server,
        TcbClient(secret, base_url=server.url, retry=retry) as client,
    ):
        with contextlib.suppress(TcbError):
            await client.count_functions(ENV)

    assert seen[0] == f"{server.url}/tcb/listfunctions"
    assert server.requests[0].target == f"/tcb/listfunctions?access_token={secret}"
    assert leaks_of([secret], seen) == []


async def test_headers_that_a_wrapper_adds_to_a_request_are_on_that_request_alone(monkeypatch):
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
            await client.count_functions(ENV)
            await client.count_functions(ENV)
        monkeypatch.undo()
        async with TcbClient("T", base_url=server.url) as client:
            await client.count_functions(ENV)

        traced = [[name for name in asked.headers if "trace" in name] for asked in server.requests]
    assert traced == [["x-trace-0"], ["x-trace-1"], []]


AFTER_A_FORK = """
import asyncio, atexit, os
from tcb_async import ClientClosedError, RetryPolicy, TcbClient, TransportError
from tcb_async.emulator import Emulator

ENV = "test-777bb9"

def in_a_child(work):
    if (child := os.fork()) == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def refused(client):
    async def use():
        try:
            await client.count_functions(ENV)
        except ClientClosedError as error:
            assert "after the fork" in str(error), error
            await client.aclose()
            os._exit(0)
    def work():
        asyncio.run(use())
    return work

def refused_on_the_parents_loop(client):
    def work():
        try:
            client.count_functions(ENV).send(None)
        except ClientClosedError as error:
            assert "after the fork" in str(error), error
            os._exit(0)
    return work

def ends():
    atexit._run_exitfuncs()
    os._exit(0)

async def main():
    async with Emulator() as emulator:
        emulator.deploy(ENV)
        async with TcbClient(emulator.token, base_url=emulator.url) as client:
            await client.count_functions(ENV)
            in_a_child(ends)
            in_a_child(refused(client))
            in_a_child(refused_on_the_parents_loop(client))
            assert await client.count_functions(ENV) == 1
            assert len({request.peer_port for request in emulator.requests}) == 1

unused = TcbClient("T", base_url="http://127.0.0.1:1", retry=RetryPolicy.none())

def works():
    async def use():
        async with unused:
            try:
                await unused.count_functions(ENV)
            except TransportError as error:
                assert "could not connect" in str(error)
        os._exit(0)
    asyncio.run(use())

in_a_child(works)
asyncio.run(main())
"""


async def test_after_a_fork_a_used_client_is_refused_an_unused_one_works_and_the_parents_lives():
    command = strictly(AFTER_A_FORK)
    child = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, stderr = await asyncio.wait_for(child.communicate(), 60)

    assert (child.returncode, stderr.decode()) == (0, "")


THE_COST_OF_A_BOMB = r"""
import asyncio, re, sys
from pathlib import Path
from tcb_async import ResponseError, RetryPolicy, TcbClient, TransportError

def peak():  # ru_maxrss also counts the process before it became this one
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

async def main(url):
    async with TcbClient("T", base_url=url, retry=RetryPolicy.none()) as client:
        await client.count_functions("test-777bb9")
        before = peak()
        for _ in range(2):
            try:
                await client.count_functions("test-777bb9")
            except (ResponseError, TransportError):
                pass
        print(peak() - before)

asyncio.run(main(sys.argv[1]))
"""


async def test_a_bomb_of_128_mib_costs_the_process_little_more_than_max_reply_bytes():
    async def bombs(exchange):
        await exchange.send(replies[exchange.request.n])

    size = 128 * MIB
    replies = (OK, bomb("br", size), bomb("gzip", size))
    async with RawServer(bombs) as server:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            THE_COST_OF_A_BOMB,
            server.url,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await asyncio.wait_for(child.communicate(), 60)

    assert child.returncode == 0
    assert int(said) < 32
