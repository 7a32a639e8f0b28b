"""The emulator answers any bytes with documented codes only, and goes on."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress

from asking import APPID, CLASSIC, ENV, LIST, RIGHT, STABLE, asking, populated
from hypothesis import given
from hypothesis import strategies as st

from tcb_async.emulator.wire import ERRMSG

DOCUMENTED = {0, *ERRMSG}
HTTP_STATUSES = {100, 200, 400, 413, 417}

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
    """A method, a path, the kind of its token, and its fields, of which each may be right."""
    path = draw(st.sampled_from(sorted(RIGHT)))
    right_method = "GET" if path == CLASSIC else "POST"
    return (
        draw(st.sampled_from([right_method, right_method, right_method, "GET", "PUT"])),
        path,
        draw(st.sampled_from(["own", "platform"]) | st.text()),
        draw(spoilt(RIGHT[path])),
    )


@given(call=calls())
async def test_any_fields_at_any_endpoint_get_a_documented_answer(call):
    method, path, token, fields = call
    async with asking(populated()) as asker:
        if token == "own":
            token = asker.emulator.token
        elif token == "platform":
            token = await asker.platform_token()
        query = {"access_token": token} | (fields if path == CLASSIC else {})
        sent = {key: str(value).encode(errors="replace").decode() for key, value in query.items()}
        body = json.dumps(fields).encode()
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
    body = draw(
        st.binary() | calls().map(lambda call: json.dumps(call[3]).encode()) | st.just(b"[" * 9000)
    )
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
    async with asking(populated()) as asker:
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
