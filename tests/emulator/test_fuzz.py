"""Whatever bytes come, the emulator answers with documented codes only, and goes on."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from asking import AUTHORIZER, CLASSIC, COMPONENT, LIST, STABLE, asking
from hypothesis import given
from hypothesis import strategies as st

from tcb_async.emulator import Emulator
from tcb_async.emulator.wire import ERRMSG

if TYPE_CHECKING:
    from collections.abc import Mapping

ENV, APPID, SECRET, MERCHANT = (
    "test-777bb9",
    "wx1234567890abcdef",
    "0123456789abcdef",
    "wx-merchant",
)
DOCUMENTED = {0, *ERRMSG}
HTTP_STATUSES = {100, 200, 400, 413, 417}

OWN = {"grant_type": "client_credential", "appid": APPID, "secret": SECRET}
RIGHT: Mapping[str, tuple[Mapping[str, str], Mapping[str, object]]] = {
    LIST: ({"access_token": "GOOD"}, {"env": ENV, "limit": 20, "offset": 0}),
    STABLE: ({}, {**OWN, "force_refresh": True}),
    CLASSIC: (OWN, {}),
    COMPONENT: (
        {},
        {
            "component_appid": APPID,
            "component_appsecret": SECRET,
            "component_verify_ticket": "ticket",
        },
    ),
    AUTHORIZER: (
        {"component_access_token": "GOOD"},
        {
            "component_appid": APPID,
            "authorizer_appid": MERCHANT,
            "authorizer_refresh_token": "refresh",
        },
    ),
}
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["\ud800", "\x00", ENV, APPID])
)
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@st.composite
def spoilt(draw, right):
    """A right set of fields, with none, some or all of them wrong or missing."""
    spoil = draw(st.sets(st.sampled_from(sorted(right)))) if right else set[str]()
    fields = {key: draw(anything) if key in spoil else value for key, value in right.items()}
    return {key: value for key, value in fields.items() if key not in spoil or draw(st.booleans())}


@st.composite
def calls(draw):
    """A method, a path, a query and a body, of which each may be right."""
    path = draw(st.sampled_from(sorted(RIGHT)))
    query, body = RIGHT[path]
    right_method = "GET" if path == CLASSIC else "POST"
    return (
        draw(st.sampled_from([right_method, right_method, right_method, "GET", "PUT"])),
        path,
        {key: str(value) for key, value in draw(spoilt(query)).items()},
        json.dumps(draw(spoilt(body))).encode(),
    )


def an_emulator():
    emulator = Emulator()
    emulator.deploy(ENV, count=3)
    emulator.add_app(APPID, SECRET)
    emulator.add_component(APPID, SECRET, "ticket")
    emulator.add_authorizer(APPID, MERCHANT, "refresh")
    return emulator


@given(call=calls())
async def test_any_fields_at_any_endpoint_get_a_documented_answer(
    call,
):
    method, path, query, body = call
    async with asking(an_emulator()) as asker:
        good = {"access_token": asker.emulator.token}
        if query.get("component_access_token") == "GOOD":
            granted = await asker.ask(COMPONENT, RIGHT[COMPONENT][1])
            good["component_access_token"] = granted["component_access_token"]
        sent = {
            key: good.get(key, text) if text == "GOOD" else text.encode(errors="replace").decode()
            for key, text in query.items()
        }
        status, reply = await asker.send(method, path, data=body, **sent)
    assert status == 200
    assert json.loads(reply).get("errcode", 0) in DOCUMENTED


odd_headers = st.sampled_from(
    [
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
        b"Content-Encoding: gzip",
        b"Content-Encoding: br",
        b"Content-Type: multipart/form-data",
        b"Content-Type: ;;;charset=\xff",
        b"Expect: 100-continue",
        b"Expect: a miracle",
        b"Expect: \xc7",
        b"Connection: upgrade",
        b"Upgrade: websocket",
        b"Cookie: \xff=\x01",
        b": nameless",
    ]
)
odd_targets = st.sampled_from(
    [
        LIST.encode(),
        LIST.encode() + b"?access_token=%ff%ed%a0%80",
        LIST.encode() + b"?%",
        LIST.encode() + b"?a=1#b",
        STABLE.encode(),
        b"/",
        b"//",
        b"/%ff",
        b"/%00",
        b"*",
        b"/[",
        b"http://x/tcb/listfunctions",
        b"http://[/tcb/listfunctions",
        b"/tcb/listfunctions\xff",
    ]
)


@st.composite
def http_requests(draw):
    """A request that is HTTP, or would be but for an odd line."""
    method = draw(st.sampled_from([b"POST", b"POST", b"GET", b"HEAD", b"OPTIONS", b"CONNECT"]))
    body = draw(st.binary() | calls().map(lambda call: call[3]) | st.just(b"[" * 9000))
    target = draw(odd_targets)
    headers = [b"Host: x", b"Content-Length: %d" % len(body)]
    headers += draw(st.lists(odd_headers, max_size=2))
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", *headers, b"", body])


async def what_came(reader):
    came = bytearray()
    with suppress(ConnectionError):
        while some := await reader.read(65536):
            came += some
    return bytes(came)


@given(raw=st.lists(http_requests() | st.binary(min_size=1), min_size=1, max_size=3))
async def test_any_bytes_get_a_documented_answer_or_none(raw):
    async with asking(an_emulator()) as asker:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(asker.emulator.url.split(":")[2])
        )
        writer.write(b"".join(raw))
        await asyncio.sleep(0.002)
        assert (await asker.list())["errcode"] == 0, "others must be served all the while"
        await asker.emulator.stop()
        answered = await what_came(reader)
        writer.close()
    assert {int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answered)} <= HTTP_STATUSES
    assert {int(code) for code in re.findall(rb'"errcode":(-?\d+)', answered)} <= DOCUMENTED
