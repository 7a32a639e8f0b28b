"""Each request is recorded with its reply, and shows no secret."""

import asyncio
import json

from constants import APPSECRET, CLASSIC, ENV, LIST, STABLE
from leaks import eventually

from tcb_async.emulator import Fault


async def test_request_is_recorded_with_its_reply(wechat):
    await wechat.list(limit=5, offset=10)
    (asked,) = wechat.emulator.requests
    assert (asked.number, asked.method, asked.path) == (1, "POST", LIST)
    assert asked.body == json.loads(asked.raw) == {"env": ENV, "limit": 5, "offset": 10}
    assert asked.offset == 10
    assert asked.token == wechat.emulator.token
    assert (asked.status, asked.errcode, asked.fault) == (200, 0, None)
    assert asked.headers["Content-Type"] == "application/octet-stream"


async def test_request_in_flight_is_recorded(wechat):
    wechat.emulator.script([Fault.hang()])
    hanging = asyncio.create_task(wechat.list())
    await eventually(lambda: wechat.emulator.in_flight > 0)
    assert wechat.emulator.in_flight == 1
    assert len(wechat.emulator.requests) == 1
    hanging.cancel()
    await asyncio.wait({hanging})
    await eventually(lambda: wechat.emulator.in_flight == 0)
    assert wechat.emulator.requests[0].status is None
    wechat.emulator.forget_requests()
    assert wechat.emulator.requests == ()
    assert wechat.emulator.peak_in_flight == 0


async def test_every_request_is_counted(wechat):
    for _ in range(3):
        await wechat.send("GET", CLASSIC)
    await wechat.list()

    assert wechat.emulator.counts == {LIST: 1, CLASSIC: 3}
    assert wechat.emulator.counts[STABLE] == 0


async def test_a_request_shows_its_list_and_no_secret(wechat):
    await wechat.call(STABLE)
    await wechat.list()

    token_request, list_request = map(repr, wechat.emulator.requests)
    assert APPSECRET not in token_request
    assert f"'env': '{ENV}'" in list_request
