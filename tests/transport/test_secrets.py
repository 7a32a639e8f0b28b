"""One secret, planted as token, appsecret, refresh token and ticket, and looked for everywhere.

Rule: whatever a server or a network does, nobody who reads an error, a traceback with the locals
of our frames, a log or a repr finds it, in whatever encoding.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from fault_proxy import FaultProxy
from network_faults import BlackHole, CutAfter, HalfOpen, ResetAfter
from raw_server import RawServer, http_reply
from secret_leaks import encodings, leaks_of, logged, shown_by
from server_faults import FAULTS, LISTING, ON_REUSE, ONLY_TIME_ENDS, then_close

from tcb_async import ConfigurationError, RetryPolicy, TcbClient, TcbError
from tcb_async.emulator import FAULTS as EMULATED
from tcb_async.emulator import Emulator
from tcb_async.tokens import AuthorizerToken, ClassicToken, ComponentToken, StableToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from network_faults import Fault
    from raw_server import Exchange

    from tcb_async.tokens import TokenApi, TokenProvider

SECRET = "pl@nt?>/+s3cr~t="
"""Every encoding changes it, and few make it so long that it looks like a token."""

ENV, APPID = "test-777bb9", "wx0123456789abcdef"
LIST = "/tcb/listfunctions"
STABLE = "/cgi-bin/stable_token"
CLASSIC = "/cgi-bin/token"
COMPONENT = "/cgi-bin/component/api_component_token"
AUTHORIZER = "/cgi-bin/component/api_authorizer_token"
RIGHT = {
    LIST: http_reply(LISTING),
    STABLE: http_reply({"access_token": SECRET, "expires_in": 7200}),
    CLASSIC: http_reply({"access_token": SECRET, "expires_in": 7200}),
    COMPONENT: http_reply({"component_access_token": SECRET, "expires_in": 7200}),
    AUTHORIZER: http_reply(
        {
            "authorizer_access_token": SECRET,
            "expires_in": 7200,
            "authorizer_refresh_token": SECRET,
        }
    ),
}


async def hand_out():
    return SECRET


def platform():
    return ComponentToken(APPID, SECRET, ticket=hand_out)


async def save(_token):
    pass


TOKENS: dict[str, tuple[str, Callable[[], object]]] = {
    "token": (LIST, lambda: SECRET),
    "callable": (LIST, lambda: hand_out),
    "stable": (STABLE, lambda: StableToken(APPID, SECRET)),
    "classic": (CLASSIC, lambda: ClassicToken(APPID, SECRET)),
    "component": (COMPONENT, platform),
    "authorizer": (
        AUTHORIZER,
        lambda: AuthorizerToken(platform(), APPID, SECRET, on_rotate=save),
    ),
}
"""What the secret is handed in as, and the endpoint that it is sent to first."""


def wechat(path, fault):
    """All is well, but for one endpoint."""

    async def handle(exchange: Exchange) -> None:
        asked = exchange.request.target.partition("?")[0]
        await exchange.answer(fault if asked == path else RIGHT[asked])

    return handle


async def told_by(url, token, caplog, *, calls=1, patience=10.0):
    """All that is said when a page is asked for, and once more if that fails."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    retry = RetryPolicy(attempts=2, base=0.0, deadline=3 * patience)
    async with TcbClient(
        token,  # type: ignore[arg-type]
        base_url=url,
        retry=retry,
        timeout=patience,
        max_reply_bytes=2**16,
    ) as client:
        for _ in range(calls):
            try:
                said.append(repr(await client.function_page(ENV)))
            except TcbError as error:
                said += shown_by(error)
        said += (repr(client), repr(client._transport), repr(client._provider))
    return said + list(logged(caplog.records))


@pytest.mark.parametrize("kind", ["token", "stable", "classic", "authorizer"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_of_a_server_gives_it_away(fault, kind, caplog):
    path, make = TOKENS[kind]
    patience = 0.1 if fault in ONLY_TIME_ENDS else 10.0
    calls = 2 if fault in ON_REUSE else 1
    async with RawServer(wechat(path, FAULTS[fault])) as server:
        said = await told_by(server.url, make(), caplog, calls=calls, patience=patience)

    assert leaks_of([SECRET], said) == []


def echoes(shown):
    """The ways in which a server may say something back."""
    quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
    return {
        "errmsg": http_reply({"errcode": -1, "errmsg": f"who is {shown}? rid: 1-2-3"}),
        "errmsg, escaped": http_reply(b'{"errcode":40097,"errmsg":"%b"}' % shown.encode()),
        "errmsg, deep in it": http_reply({"errcode": 1, "errmsg": f"{'x ' * 240}{shown * 99}"}),
        "rid": http_reply({"errcode": 48001, "errmsg": f"no rid: {shown}"}),
        "hint": http_reply({"errcode": 40013, "errmsg": f"no hint: [{shown}]"}),
        "errcode": http_reply({"errcode": shown}),
        "cut short": http_reply(b'{"errcode":0,"leak":"%b"' % quoted.encode()),
        "wrong type": http_reply({"errcode": 0, "total_count": shown, "expires_in": shown}),
        "key": http_reply({"errcode": 0, "total_count": 1, "functions": [{shown: 1}]}),
        "HTML": http_reply(b"<html>%b</html>" % shown.encode()),
        "HTML, at the edge": http_reply(b"<html>%b%b" % (b"- " * 50, shown.encode() * 99)),
        "a refusal": http_reply(b"go away, %b" % shown.encode(), 403),
        "a redirect": http_reply(shown.encode(), 302, {"Location": f"http://127.0.0.1/{shown}"}),
        "a server error": http_reply(shown.encode(), 502, {"Retry-After": shown}),
        "a header": then_close(f"HTTP/1.1 200 OK\r\nX: \0{shown}\r\n\r\n".encode()),
        "a reason": then_close(f"HTTP/1.1 500 {shown}\r\nContent-Length: 0\r\n\r\n".encode()),
        "no HTTP": then_close(f"{shown}\r\n\r\n".encode()),
    }


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("echo", echoes(""))
async def test_no_echo_of_a_server_gives_it_away_in_whatever_encoding(echo, kind, caplog):
    path, make = TOKENS[kind]
    for shown in encodings(SECRET).values():
        caplog.clear()
        async with RawServer(wechat(path, echoes(shown)[echo])) as server:
            said = await told_by(server.url, make(), caplog)

        assert leaks_of([SECRET], said) == []


NETWORK: dict[str, Fault] = {
    "cut in the request": CutAfter(40, direction="up"),
    "cut in the head": CutAfter(40),
    "cut in the body": CutAfter(200),
    "reset": ResetAfter(40),
    "black hole": BlackHole(200),
    "half open": HalfOpen(),
}


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("fault", NETWORK)
async def test_no_fault_of_the_network_gives_it_away(fault, kind, caplog):
    path, make = TOKENS[kind]
    async with (
        RawServer(wechat(path, RIGHT[path])) as server,
        FaultProxy(server.port, default=NETWORK[fault]) as proxy,
    ):
        said = await told_by(proxy.url, make(), caplog, patience=0.1)
        await proxy.close()
        said += await told_by(proxy.url, make(), caplog, patience=0.1)

    assert leaks_of([SECRET], said) == []


@pytest.mark.parametrize("fault", EMULATED)
async def test_neither_does_the_emulator(fault, caplog):
    async with Emulator() as emulator:
        emulator.deploy(ENV)
        emulator.add_app(APPID, SECRET)
        emulator.script([EMULATED[fault]] * 2)
        said = await told_by(emulator.url, StableToken(APPID, SECRET), caplog, patience=0.2)
        emulator.script([EMULATED[fault]] * 2)
        said += await told_by(emulator.url, emulator.token, caplog, patience=0.2)
        said += (repr(emulator), repr(emulator.requests))

        assert leaks_of([SECRET, emulator.token], said) == []


class _Handing:
    """A provider that hands out whatever it is told to."""

    def __init__(self, token):
        self.token = token

    async def get_token(self, api):  # noqa: ARG002 - the protocol's
        return self.token  # type: ignore[return-value]

    async def invalidate(self, token):
        raise AssertionError(token)


@pytest.mark.parametrize(
    "token", [None, 5, b"bytes", "", f"{SECRET}\n", f"a {SECRET}", f"{SECRET}\ud800"]
)
async def test_what_a_provider_hands_out_that_cannot_be_a_token_is_refused_unseen(token):
    provider: TokenProvider = _Handing(token)
    async with TcbClient(provider) as client:
        with pytest.raises(ConfigurationError, match="the token that the provider") as caught:
            await client.count_functions(ENV)

    assert leaks_of([SECRET], shown_by(caught.value)) == []


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: TcbClient(SECRET, concurrency=0),
        lambda: TcbClient(SECRET, base_url="ftp://host"),
        lambda: TcbClient(SECRET, timeout=-1),
        lambda: TcbClient(f"{SECRET} "),
        lambda: TcbClient("T").with_token(f"{SECRET} "),
        lambda: TcbClient(SECRET, session=object(), trust_env=True),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_in_another_argument_gives_no_token_away(mistake):
    with pytest.raises(ConfigurationError) as caught:
        mistake()

    assert leaks_of([SECRET], shown_by(caught.value)) == []


def test_a_token_in_the_place_of_base_url_is_not_shown():
    token = "74_Xq9k2f0Vb3nT7wLzR5sYc8uJd1hGmPaE6oQiBvNxKt"
    with pytest.raises(ConfigurationError, match=r"base_url=.*must be an http") as caught:
        TcbClient("https://api.weixin.qq.com", base_url=token)

    assert token[:20] not in str(caught.value)


async def test_a_custom_provider_may_call_a_token_endpoint_with_a_plain_str(serve):
    class Custom(_Handing):
        async def get_token(self, api: TokenApi) -> str:
            sent = json.dumps({"secret": self.token})
            await api.call_token_endpoint(STABLE, query={"ticket": SECRET}, body=json.loads(sent))
            raise AssertionError

    echo = {"errcode": 40125, "errmsg": f"{SECRET} is wrong"}
    server, client = await serve(http_reply(echo), token=Custom(SECRET))
    with pytest.raises(TcbError) as caught:
        await client.count_functions(ENV)

    assert b"s3cr~t" in server.requests[0].body
    assert leaks_of([SECRET], shown_by(caught.value)) == []


def test_the_hunt_finds_what_there_is_to_find():
    error = TcbError("no", cursor=None)
    error.gave_up = encodings(SECRET)["base64, at an odd place"]

    assert leaks_of([SECRET], shown_by(error))
    assert not leaks_of([SECRET], shown_by(TcbError("no")))
