"""The attempts of a call over a real socket: their times, number and log records."""

import asyncio
import gc
import logging
import re
import traceback
import weakref
from datetime import UTC, datetime, timedelta

import pytest
from constants import ENV
from leaks import run_strictly
from raw_server import http_reply
from server_faults import FAULTS, OK, once

from tcb_async import RetryPolicy, TcbError
from tcb_async import TransportError as NoAnswer
from tcb_async._transport.translation import read_retry_after
from tcb_async.emulator import Fault
from tcb_async.retry import is_dropped, is_overload


async def test_connection_dropped_on_reuse_is_replaced(clock, serve):
    server, client = await serve(FAULTS["dropped_keep_alive"], timing=clock.timing)
    await asyncio.gather(*(client.count_functions(ENV) for _ in range(4)))
    assert server.accepted == 4

    assert await client.count_functions(ENV) == 1

    assert clock.waits == [0.0]
    assert server.accepted == 5
    assert len(server.requests) == 6


async def test_replacement_connection_is_not_reused(clock, serve):
    async def drop_on_reuse(exchange):
        if exchange.request.nth == 0:
            await exchange.send(OK)
        if exchange.request.nth > 0 or exchange.request.headers.get("connection") == "close":
            await exchange.close()

    _, client = await serve(drop_on_reuse, timing=clock.timing)
    for _call in range(6):
        assert await client.count_functions(ENV) == 1

    assert clock.waits == [0.0] * 3


async def test_only_the_first_dropped_connection_is_replaced_immediately(clock, serve):
    _, client = await serve(FAULTS["closed"], retry=RetryPolicy(attempts=4), timing=clock.timing)
    with pytest.raises(NoAnswer, match="dropped the connection") as caught:
        await client.count_functions(ENV)

    assert clock.waits == [0.0, 2.0, 4.0]
    error = caught.value
    assert (error.attempts, is_dropped(error), is_overload(error)) == (4, False, True)
    assert client._transport.window.size == 1


async def test_broken_reply_is_not_a_dropped_connection(clock, serve):
    _, client = await serve(once(FAULTS["reset_in_body"]), timing=clock.timing)
    await client.count_functions(ENV)

    assert clock.waits == [1.0]


@pytest.mark.parametrize("fault", ["status_403", "status_500"])
async def test_error_has_no_frames_of_attempts_and_is_freed(clock, serve, fault):
    _, client = await serve(FAULTS[fault], timing=clock.timing)
    gc.collect()
    gc.disable()  # it would free a cycle
    try:
        await client.count_functions(ENV)
    except TcbError as error:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        freed = weakref.ref(error)
    finally:
        gc.enable()

    assert not {"_attempt", "send"}.intersection(frames)
    assert freed() is None


@pytest.mark.parametrize(("value", "waited"), [("7", 7), ("0.5", 1), ("nan", 1)])
async def test_sensible_retry_after_is_a_minimum(clock, value, waited, serve):
    later = http_reply(b"", 503, {"Retry-After": value})
    _, client = await serve(once(later), timing=clock.timing)
    await client.count_functions(ENV)

    assert clock.waits == [waited]


@pytest.mark.parametrize(("zone", "hours"), [("GMT", 0), ("", 0), ("-0000", 0), ("+0800", 8)])
def test_retry_after_may_be_a_date(zone, hours):
    date = datetime.now(UTC) + timedelta(hours=hours, seconds=30)

    assert 20 < read_retry_after(f"{date:%a, %d %b %Y %H:%M:%S} {zone}") <= 30


def test_retry_after_in_the_past_is_zero():
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


BAD_DATES = ["Mon, 1 Jan 999999999999 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 -9999"]


@pytest.mark.parametrize("value", ["", "soon", "nan", "9" * 4000, *BAD_DATES])
def test_unreadable_retry_after_is_none(value):
    assert read_retry_after(value) is None


@pytest.mark.parametrize("value", ["1e300", "9" * 300])
def test_retry_after_is_a_number_that_a_header_can_repeat(value):
    assert read_retry_after(value) == 2**31


async def test_retry_after_is_limited_to_a_day(clock, serve):
    later = http_reply(b"", 503, {"Retry-After": "1e9"})
    _, client = await serve(later, retry=RetryPolicy(deadline=float("inf")), timing=clock.timing)
    with pytest.raises(NoAnswer, match=r"the server requests a wait of 1e\+09 s"):
        await client.count_functions(ENV)

    assert clock.waits == []


@pytest.mark.parametrize(("concurrency", "retries"), [(8, 500 // 14), (40, 2 * 40)])
async def test_copies_of_a_client_share_a_retry_quota(serve, concurrency, retries):
    retry = RetryPolicy(attempts=1000, base=0.0, deadline=float("inf"))
    server, client = await serve(FAULTS["status_500"], retry=retry, concurrency=concurrency)
    copies = [client.with_token(f"T{number}") for number in range(10)]
    results = await asyncio.gather(
        *(copy.count_functions(ENV) for copy in copies), return_exceptions=True
    )

    assert len(server.requests) == 10 + retries
    assert all("retry quota" in error.stop_reason for error in results)  # type: ignore[union-attr]


async def test_levels_of_logged_attempts(emulator, clock, caplog, client_of):
    caplog.set_level(logging.DEBUG, logger="tcb_async")
    emulator.deploy(ENV)
    emulator.script([Fault.errcode(-1), Fault.status(502)])
    client = await client_of(emulator, timing=clock.timing)
    await client.function_page(ENV, offset=40)

    lines = [
        (record.levelname, re.sub(r"rid=[0-9a-f-]{26}", "rid=RID", record.getMessage()))
        for record in caplog.records
        if record.name == "tcb_async"
    ]
    call = f"POST /tcb/listfunctions env={ENV} offset=40"
    assert lines == [
        ("DEBUG", f"{call} attempt=1: errcode=-1 rid=RID"),
        ("INFO", f"{call} attempt=1 failed (errcode=-1 rid=RID), trying again in 1.00 s"),
        ("DEBUG", f"{call} attempt=2: TransportError"),
        ("WARNING", f"{call} attempt=2 failed (TransportError), trying again in 2.00 s"),
        ("DEBUG", f"{call} attempt=3: errcode=0"),
    ]


QUIET_PROGRAMS = {
    "client": """
import asyncio, contextlib
from tcb_async import RetryPolicy, TcbClient, TransportError

async def main():
    retry = RetryPolicy(base=0.0)
    async with TcbClient("TOKEN", base_url="http://127.0.0.1:9", retry=retry) as client:
        with contextlib.suppress(TransportError):
            await client.count_functions("test-777bb9")

asyncio.run(main())
""",
    "emulator": """
from urllib.request import urlopen
from tcb_async.emulator import Emulator

with Emulator() as emulator:
    urlopen(emulator.url + "/cgi-bin/token", b"{}").close()
""",
}
WRITE_UNHANDLED_RECORDS = """
import logging
logging.lastResort = logging.StreamHandler()
logging.getLogger("tcb_async").setLevel(logging.DEBUG)
"""


@pytest.mark.parametrize("program", QUIET_PROGRAMS)
def test_nothing_is_logged_without_a_handler(program):
    done = run_strictly(WRITE_UNHANDLED_RECORDS + QUIET_PROGRAMS[program])

    assert (done.returncode, done.stderr) == (0, "")
