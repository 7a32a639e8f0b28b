"""Each mistake in a call has its documented errcode, and WeChat's text."""

import json
import re

import pytest
from constants import (
    AUTHORIZER,
    BATCH_ENVIRONMENTS,
    BATCH_FUNCTIONS,
    CLASSIC,
    COMPONENT,
    ENVIRONMENTS,
    LIST,
    MERCHANTS,
    STABLE,
)
from emulator_client import RIGHT

from tcb_async.errcodes import find_tcb_code

RID = re.compile(r" rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$")


def is_wechats_text(errmsg):
    """Whether an errmsg ends in a request id, and is not the text of an unknown errcode."""
    return RID.search(errmsg) and not errmsg.startswith("error ")


@pytest.mark.parametrize("path", RIGHT)
async def test_right_call_has_none(wechat, path):
    assert (await wechat.call(path)).get("errcode", 0) == 0


@pytest.mark.parametrize(
    ("path", "changed", "errcode"),
    [
        (LIST, {"env": None}, 40101),
        (LIST, {"limit": None}, 40101),
        (LIST, {"offset": None}, 40101),
        (LIST, {"env": 1}, 47001),
        (LIST, {"limit": "20"}, 47001),
        (LIST, {"limit": True}, 47001),
        (LIST, {"offset": 0.5}, 47001),
        (LIST, {"limit": -1}, 40097),
        (LIST, {"env": "unknown"}, -501000),
        (STABLE, {"grant_type": "authorization_code"}, 40002),
        (STABLE, {"appid": None}, 41002),
        (STABLE, {"appid": ""}, 41002),
        (STABLE, {"appid": 7}, 47001),
        (STABLE, {"appid": "wx-stranger"}, 40013),
        (STABLE, {"secret": None}, 41004),
        (STABLE, {"secret": "wrong"}, 40125),
        (STABLE, {"secret": "\N{SNOWMAN}\ud800"}, 40125),
        (STABLE, {"force_refresh": "yes"}, 47001),
        (CLASSIC, {"secret": "wrong"}, 40125),
        (COMPONENT, {"component_appid": None}, 41018),
        (COMPONENT, {"component_appid": "wx-stranger"}, 40013),
        (COMPONENT, {"component_appsecret": None}, 41004),
        (COMPONENT, {"component_appsecret": "wrong"}, 40125),
        (COMPONENT, {"component_verify_ticket": None}, 61006),
        (COMPONENT, {"component_verify_ticket": "made-up"}, 61006),
        (AUTHORIZER, {"component_appid": "wx-other"}, 40013),
        (AUTHORIZER, {"authorizer_appid": None}, 41002),
        (AUTHORIZER, {"authorizer_appid": "wx-stranger"}, 61003),
        (AUTHORIZER, {"authorizer_refresh_token": None}, 61023),
        (AUTHORIZER, {"authorizer_refresh_token": "wrong"}, 61023),
        (MERCHANTS, {"count": 501}, 40170),
        (MERCHANTS, {"count": 0}, 0),
        (MERCHANTS, {"offset": 10**30}, 0),
        (MERCHANTS, {"offset": None}, 40101),
        (MERCHANTS, {"count": None}, 40101),
        (MERCHANTS, {"component_appid": None}, 41018),
        (BATCH_FUNCTIONS, {"env": None}, 40101),
        (BATCH_FUNCTIONS, {"limit": -1}, 40097),
        (BATCH_FUNCTIONS, {"offset": -1}, 40097),
        (BATCH_FUNCTIONS, {"searchkey": 7}, 47001),
    ],
)
async def test_wrong_field_has_its_errcode(wechat, path, changed, errcode):
    reply = await wechat.call(path, **changed)
    assert reply.get("errcode", 0) == errcode
    assert errcode == 0 or is_wechats_text(reply["errmsg"])


async def test_numbers_of_request_ids_have_32_bits(wechat):
    replies = [await wechat.call(LIST, env="unknown") for _ in range(64)]

    ids = [RID.search(reply["errmsg"])[0].split("-") for reply in replies]
    for numbers in list(zip(*ids, strict=True))[1:]:
        assert max(numbers) >= "80000000"


async def test_halted_environment_is_refused_as_invalid(wechat):
    wechat.emulator.add_environment("halted-1", status="HALTED")
    reply = await wechat.call(LIST, env="halted-1")
    assert (reply["errcode"], find_tcb_code(reply["errmsg"])) == (-501000, "INVALID_ENV")


@pytest.mark.parametrize("path", [LIST, ENVIRONMENTS])
@pytest.mark.parametrize(
    ("method", "body", "errcode"),
    [
        ("GET", None, 43002),
        ("PUT", b"{}", 43002),
        ("POST", None, 44002),
        ("POST", b'{"env":', 47001),
        ("POST", b"[]", 47001),
        ("POST", b"\xff\xfe", 47001),
        ("POST", b"[" * 100_000, 47001),
        ("POST", b'{"env":' + b"9" * 5000 + b"}", 47001),
        ("POST", b" " * 2_000_000, 47001),
    ],
)
async def test_body_that_is_not_an_object_has_its_errcode(wechat, path, method, body, errcode):
    status, sent = await wechat.send(method, path, data=body, access_token=wechat.emulator.token)
    reply = json.loads(sent)
    assert (status, reply["errcode"]) == (200, errcode)
    assert is_wechats_text(reply["errmsg"])


@pytest.mark.parametrize(
    ("method", "path", "errcode"),
    [("GET", STABLE, 43002), ("POST", CLASSIC, 43001), ("GET", BATCH_ENVIRONMENTS, 43002)],
)
async def test_other_method_has_its_errcode(wechat, method, path, errcode):
    _, sent = await wechat.send(method, path, data=b"{}")
    reply = json.loads(sent)
    assert reply["errcode"] == errcode
    assert is_wechats_text(reply["errmsg"])


async def test_body_that_cannot_be_inflated_is_a_broken_body(wechat):
    async with wechat.session.post(
        wechat.emulator.url + LIST,
        params={"access_token": wechat.emulator.token},
        data=b"no gzip at all",
        headers={"Content-Encoding": "gzip"},
    ) as reply:
        assert (await reply.json())["errcode"] == 47001
