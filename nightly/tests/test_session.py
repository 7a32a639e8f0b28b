"""The session after a fork, and under compressed bombs."""

from __future__ import annotations

import asyncio
import sys

from leaks import strictly
from raw_server import RawServer
from server_faults import OK, bomb

MIB = 2**20


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

unused = TcbClient("T", base_url="http://127.0.0.1:1", retry=RetryPolicy(attempts=1))

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


async def test_used_client_is_refused_after_a_fork_and_unused_works():
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
    async with TcbClient("T", base_url=url, retry=RetryPolicy(attempts=1)) as client:
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


async def test_bomb_of_128_mib_costs_little_more_than_max_reply_bytes():
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
