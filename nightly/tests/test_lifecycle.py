"""However a walk stops, it leaves nothing, and Python's development mode reports nothing.

Rule: run as ``python -X dev -W error test_lifecycle.py``, this file stops a walk in every way, on a
loop of its own each, and prints by name, as JSON, the leftovers of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import aiohttp
import pytest
from leaks import eventually, no_leaks, strictly
from transports import transport_of

from tcb_async import (
    ClientClosedError,
    ConfigurationError,
    RetryPolicy,
    SystemBusyError,
    TcbClient,
    WaitTimeoutError,
)
from tcb_async.emulator import Emulator, Fault
from tcb_async.tokens import StableToken

SUPPORT = Path(__file__).parents[2] / "tests" / "support"
ENV = "test-777bb9"
APPID, APPSECRET = "wx1234567890abcdef", "0123456789abcdef0123456789abcdef"
ROWS = 57
LATENCY = 0.02  # seconds

_kept_for_ever = []


class BodyError(Exception):
    """An error raised by the body of a loop."""


async def _walk(client):
    return [function.name async for function in client.iter_functions(ENV, page_size=5)]


async def at_the_end_of_the_list(client, emulator):
    assert await _walk(client) == [function.name for function in emulator.functions(ENV)]


async def at_an_error_of_a_page(client, emulator):
    emulator.script([Fault.ok(), Fault.delay(0.01), *[Fault.errcode(-1)] * 99])
    with pytest.raises(SystemBusyError):
        await _walk(client)


async def at_a_bare_break(client, _emulator):
    async for _ in client.iter_functions(ENV, page_size=5):
        break


async def at_a_break_out_of_a_generator_in_a_variable(client, _):
    walk = client.iter_functions(ENV, page_size=5)
    async for _ in walk:
        break
    await client.count_functions(ENV)
    assert walk.ag_frame is not None


async def at_a_break_in_aclosing(client, _emulator):
    async with contextlib.aclosing(client.iter_functions(ENV, page_size=5)) as walk:
        async for _ in walk:
            break
    assert not transport_of(client).live


async def at_a_break_out_of_a_pager(client, _emulator):
    async with client.functions(ENV, page_size=5) as pager:
        async for _ in pager:
            break
    assert not transport_of(client).live


async def at_a_break_out_of_pages(client, _emulator):
    async for _ in client.functions(ENV, page_size=5).by_page():
        break


async def when_the_generator_is_dropped(client, _emulator):
    walk = client.iter_functions(ENV, page_size=5)
    await anext(walk)
    del walk


async def when_the_generator_is_dropped_in_a_cycle(client, _):
    cycle = [client.iter_functions(ENV, page_size=5)]
    cycle.append(cycle)
    await anext(cycle[0])
    del cycle
    gc.collect()


async def before_it_began(client, _emulator):
    walk = client.iter_functions(ENV)
    del walk
    async with client.functions(ENV):
        pass


async def when_the_body_raises(client, _emulator):
    async def body():
        async for _ in client.iter_functions(ENV, page_size=5):
            raise BodyError

    with pytest.raises(BodyError):
        await body()


async def when_on_progress_raises(client, _emulator):
    def fail(_done, _total):
        raise BodyError

    with pytest.raises(BodyError):
        await client.functions(ENV, page_size=5, on_progress=fail).collect()


async def when_its_time_is_over(client, emulator):
    emulator.script([Fault.ok(), Fault.hang()])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await _walk(client)


async def when_its_task_is_cancelled(client, emulator):
    emulator.script([Fault.ok(), Fault.hang()])
    task = asyncio.ensure_future(_walk(client))
    await eventually(lambda: emulator.in_flight == 1 and len(emulator.requests) > 2)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


async def when_the_client_is_closed_elsewhere(client, emulator):
    emulator.script([Fault.ok(), Fault.hang()])
    task = asyncio.ensure_future(_walk(client))
    await eventually(lambda: len(emulator.requests) > 1)
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await task


async def when_the_body_closes_the_client(client, _emulator):
    async def body():
        async for _ in client.iter_functions(ENV, page_size=5):
            await client.aclose()

    with pytest.raises(ClientClosedError):
        await body()


async def when_the_client_is_closed_before_the_generator(client, _):
    walk = client.iter_functions(ENV, page_size=5)
    await anext(walk)
    await client.aclose()
    await walk.aclose()


async def with_the_loop_itself(client, _emulator):
    walk = client.iter_functions(ENV, page_size=5)
    await anext(walk)
    _kept_for_ever.append(walk)


async def when_the_pager_is_closed_elsewhere(client, emulator):
    emulator.script([Fault.ok(), Fault.hang()])
    pager = client.functions(ENV, page_size=5)
    task = asyncio.ensure_future(pager.collect())
    await eventually(lambda: len(emulator.requests) > 1)
    await pager.aclose()
    with pytest.raises(ClientClosedError):
        await task


async def at_the_second_use_of_a_pager(client, _emulator):
    async with client.functions(ENV) as pager:
        assert len(await pager.collect()) == ROWS
        with pytest.raises(ConfigurationError):
            aiter(pager)


async def beside_another_that_goes_on(client, emulator):
    other = asyncio.ensure_future(_walk(client))
    await at_a_bare_break(client, emulator)
    assert await other == [function.name for function in emulator.functions(ENV)]


async def while_a_token_is_fetched(client, emulator):
    emulator.add_app(APPID, APPSECRET)
    emulator.script([Fault.hang()], path="/cgi-bin/stable_token")
    copy = client.with_token(StableToken(APPID, APPSECRET))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await _walk(copy)


async def in_a_session_of_the_users_own(client, emulator):
    async with aiohttp.ClientSession() as session:
        async with TcbClient(emulator.token, base_url=emulator.url, session=session) as other:
            await at_a_bare_break(other, emulator)
        assert not session.closed
    await client.count_functions(ENV)


async def at_a_break_out_of_a_watch(client, emulator):
    async for _ in client.watch_functions(ENV, interval=0.001, since=()):
        break
    await at_a_bare_break(client, emulator)


async def when_a_wait_is_over(client, emulator):
    emulator.deploy(ENV, "slow", status="Creating")
    with pytest.raises(WaitTimeoutError):
        await client.wait_until_active(ENV, "slow", timeout=0.05, interval=0.001)


async def unclosed_session(_client, emulator):
    session = aiohttp.ClientSession()
    async with session.get(emulator.url):
        pass


async def unclosed_client(_client, emulator):
    await TcbClient(emulator.token, base_url=emulator.url).count_functions(ENV)


async def unretrieved_error(_client, _emulator):
    async def fail():
        raise BodyError

    await asyncio.wait((asyncio.ensure_future(fail()),))


async def unawaited_coroutine(client, _emulator):
    client.count_functions(ENV)


async def unended_task(_client, _emulator):
    _kept_for_ever.append(asyncio.ensure_future(asyncio.Event().wait()))


def _named(*beginnings):
    return {name: each for name, each in globals().items() if name.startswith(beginnings)}


ENDINGS = _named("at_", "before_", "beside_", "in_", "when_", "while_", "with_")
SLOPPY = _named("un")
"""Planted leaks: the checks must report them."""

LEFT_TO_THE_CLIENT = {with_the_loop_itself, while_a_token_is_fetched}
"""Work that continues until the client is closed."""


async def _run(ending):
    retry = RetryPolicy(base=0.0)
    async with no_leaks(), Emulator(latency=LATENCY) as emulator:
        emulator.deploy(ENV, count=ROWS)
        async with (
            no_leaks(),  # while the emulator runs, and would keep the connections that were open
            TcbClient(emulator.token, base_url=emulator.url, retry=retry) as client,
        ):
            await ending(client, emulator)
            if ending not in LEFT_TO_THE_CLIENT:
                await _turns()
                assert not transport_of(client).live


async def _turns():
    """Run the loop as often as a clean-up may take, in less time than any reply."""
    for _ in range(20):
        await asyncio.sleep(0)


def _complaints(ending):
    """Run an ending; return its leftovers."""
    heard = []
    sys.unraisablehook = lambda lost: heard.append(f"unraisable: {lost.exc_value!r}")
    try:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            loop.slow_callback_duration = 10.0  # a busy machine is nothing to complain of
            loop.set_exception_handler(lambda _, context: heard.append(f"loop: {context}"))
            runner.run(_run(ending))
            gc.collect()
    except BaseException:  # noqa: BLE001 - every error is reported
        heard.append(traceback.format_exc())
    gc.collect()
    return heard


COMPLAINTS = ("never", "Unclosed", "unclosed", "destroyed", "Warning", "ignored", "Fatal")

INTERRUPTED = """
import asyncio
from tcb_async import TcbClient
from tcb_async.emulator import Emulator, Fault

async def main() -> None:
    async with Emulator() as emulator:
        emulator.deploy("test-777bb9", count=57)
        emulator.script([Fault.ok(), Fault.hang(), Fault.hang()])
        async with TcbClient(emulator.token, base_url=emulator.url) as client:
            async for function in client.iter_functions("test-777bb9", page_size=20):
                print(function.name, flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def report():
    """The leftovers of each ending, and the exit of its process."""
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-X", "dev", "-W", "error", __file__],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return json.loads(done.stdout or "{}"), (done.stderr, done.returncode)


def test_nothing_is_printed_to_stderr(report):
    assert report[1] == ("", 0)


@pytest.mark.parametrize("ending", ENDINGS)
def test_walks_leave_nothing_however_they_end(report, ending):
    """No task, connection, descriptor or complaint is left, however the walk stops."""
    assert report[0][ending] == []


@pytest.mark.parametrize("ending", SLOPPY)
def test_the_checks_notice_planted_leaks(report, ending):
    """The checks work: each planted leak is reported."""
    assert report[0][ending] != []


FORGOTTEN = """
import asyncio, gc, sys
from tcb_async import TcbClient
from tcb_async.emulator import Emulator

kept = []

async def main(how: str) -> None:
    async with Emulator() as emulator:
        emulator.deploy("test-777bb9", count=57)
        client = TcbClient(emulator.token, base_url=emulator.url)
        if how == "unused":
            return
        await client.count_functions("test-777bb9")
        if how == "copied":
            copy = client.with_token(emulator.token)
            del client
            gc.collect()
            await copy.count_functions("test-777bb9")
        if how == "kept":
            kept.append(client)
        if how == "walking":
            kept.append(client.iter_functions("test-777bb9"))
            await anext(kept[0])
        if how == "closed":
            await client.aclose()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("how", "warnings"),
    [("dropped", 1), ("copied", 1), ("kept", 1), ("walking", 1), ("unused", 0), ("closed", 0)],
)
def test_an_unclosed_client_warns_once(how, warnings):
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-X", "dev", "-c", FORGOTTEN, how],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )

    said = [line for line in done.stderr.splitlines() if "Warning: " in line]
    said = [line for line in said if "Enable tracemalloc" not in line]
    assert len(said) == warnings
    assert all("ResourceWarning: unclosed TcbClient" in line for line in said)
    assert "Unclosed" not in done.stderr


def test_ctrl_c_stops_a_walk_silently():
    with subprocess.Popen(  # noqa: S603 - our own words
        strictly(INTERRUPTED), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "fn-0001\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)

    assert process.returncode == -signal.SIGINT
    assert stderr.endswith("\nKeyboardInterrupt\n")
    assert not {word for word in COMPLAINTS if word in stderr}


if __name__ == "__main__":
    reports = {name: _complaints(ending) for name, ending in (ENDINGS | SLOPPY).items()}
    print(json.dumps(reports))
