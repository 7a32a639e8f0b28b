"""Requests are handled with callbacks and a log, which shows no secret."""

import logging

import pytest
from constants import APPSECRET, CLASSIC, LIST, STABLE
from emulator_client import REFRESH, TICKET, send_raw


async def test_no_secret_shows_in_record_repr_or_log(wechat, caplog):
    caplog.set_level(logging.DEBUG)
    token = wechat.emulator.token
    await wechat.list()
    await wechat.ask(STABLE, {"appid": "wx1", "secret": "hush-hush"}, access_token=token)
    merchants = await wechat.merchant_token()
    await wechat.call(CLASSIC)
    raw = f"POST {LIST}?access_token={token} HTTP/1.1 nonsense\r\n\r\n".encode()
    assert b" 400 " in await send_raw(wechat.emulator, raw)
    shown = caplog.text + repr(wechat.emulator.requests) + repr(wechat.emulator)
    assert f"POST {LIST} -> status 200, errcode 0" in shown
    assert token not in shown
    shown += repr(wechat.emulator._world)
    for secret in (merchants, "hush-hush", APPSECRET, TICKET, REFRESH):
        assert secret not in shown


async def test_request_is_one_line_of_the_log(wechat, caplog):
    caplog.set_level(logging.INFO)
    raw = b"POST /tcb%0A12:00%20ERROR%1b[31m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    await send_raw(wechat.emulator, raw)

    (line,) = (each.getMessage() for each in caplog.records if "POST" in each.getMessage())
    assert line.startswith("POST /tcb%0A12%3A00%20ERROR%1B%5B31m -> status 200")


async def test_each_json_reply_may_be_changed(wechat):
    wechat.emulator.fail_next(-1)

    @wechat.emulator.on_reply
    def change(request, reply):
        reply["number"] = request.number
        if request.number == 3:
            reply["errcode"] = 45009

    replies = [await wechat.list() for _ in range(3)] + [await wechat.ask("/tcb/nothing", {})]
    assert [(reply["errcode"], reply["number"]) for reply in replies] == [
        *((-1, 1), (0, 2), (45009, 3), (40066, 4))
    ]
    assert len(replies[1]["functions"]) == 20
    assert [asked.errcode for asked in wechat.emulator.requests] == [-1, 0, 45009, 40066]


@pytest.mark.parametrize("error", [LookupError, BrokenPipeError, pytest.fail.Exception, SystemExit])
async def test_error_in_a_callback_is_logged(wechat, caplog, error):
    @wechat.emulator.on_request
    def mistaken(_):
        raise error("a test's own mistake")

    assert (await wechat.send("POST", LIST))[0] == 500
    assert "a test's own mistake" in caplog.text
    assert wechat.emulator.in_flight == 0


async def test_a_changed_reply_changes_no_function(wechat):
    wechat.emulator.deploy("test-1", "login", more={"status_reason": []})

    @wechat.emulator.on_reply
    def change(_, reply):
        reply["functions"][0]["status_reason"].append("changed")

    for _ in range(2):
        reply = await wechat.list(env="test-1")
        assert reply["functions"][0]["status_reason"] == ["changed"]


async def test_numbers_of_a_record_are_plain_numbers(wechat):
    await wechat.ask("/tcb/nothing", {"offset": True})

    (record,) = wechat.emulator.requests
    assert repr(record.errcode) == "40066"
    assert record.offset is None
