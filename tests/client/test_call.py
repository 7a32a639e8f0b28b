"""``client.call`` and ``get_token``: the way to endpoints that the client has no method for."""

import logging
import warnings
from contextlib import nullcontext
from operator import itemgetter
from types import MappingProxyType
from urllib.parse import parse_qs

import pytest
from constants import APPID, APPSECRET, ENV, LIST
from raw_server import http_reply
from secret_leaks import leaks_of, logged, shown_by
from server_faults import FAULTS

from tcb_async import (
    ApiError,
    ConfigurationError,
    RetryPolicy,
    TcbClient,
    TcbError,
    TransportError,
)
from tcb_async._redact import HIDDEN_TEXT
from tcb_async._transport import Timing
from tcb_async.pagination import Page, Pager
from tcb_async.tokens import Secret, StableToken

NEW = "/tcb/anything"
OK = http_reply({"errcode": 0, "errmsg": "ok", "unknown": {"more": [1, None]}})
INVOKE = "/tcb/invokecloudfunction"


async def skip(_seconds): ...


QUICK = {"retry": RetryPolicy(attempts=3), "timing": Timing(sleep=skip)}


async def test_reply_has_every_field(emulator, client):
    emulator.deploy(ENV, count=2)

    reply = await client.call(LIST, {"env": ENV, "limit": 1, "offset": 0})

    assert list(reply) == ["errcode", "errmsg", "total_count", "functions"]
    assert list(reply["functions"][0]) == ["mod_time", "add_time", "runtime", "name", "status"]


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (None, "{}"),
        ({}, "{}"),
        ({"名": ["云", 1.5, None, True, 10**30]}, f'{{"名":["云",1.5,null,true,{10**30}]}}'),
        ({"key": Secret("hidden")}, '{"key":"hidden"}'),
    ],
)
async def test_body_is_sent_as_utf_8_json(serve, body, sent):
    server, client = await serve(OK)
    assert (await client.call(NEW, body))["unknown"] == {"more": [1, None]}

    request = server.requests[0]
    assert request.body.decode() == sent
    assert (request.method, request.target) == ("POST", f"{NEW}?access_token=TOKEN")


async def test_query_is_sent_as_utf_8_after_the_token(serve):
    server, client = await serve(OK)
    await client.call(NEW, query={"env": "环&境=", "name": Secret("a b/%2F")})

    target = server.requests[0].target
    assert target.startswith(f"{NEW}?access_token=TOKEN&env=%E7%8E%AF%26%E5%A2%83%3D&name=")
    assert parse_qs(target)["name"] == ["a b/%2F"]


async def test_an_env_stays_in_its_line_of_the_log(serve, caplog):
    caplog.set_level(logging.DEBUG, logger="tcb_async")
    _, client = await serve(OK)
    await client.call(NEW, {"env": "test-1\nforged"})

    messages = [record.getMessage() for record in caplog.records]
    assert any("test-1\\nforged" in message for message in messages)
    assert not any("\n" in message for message in messages)


async def test_body_may_be_any_mapping(serve):
    server, client = await serve(OK)
    await client.call(NEW, MappingProxyType({"a": MappingProxyType({"b": 1})}))

    assert server.requests[0].body == b'{"a":{"b":1}}'


async def test_function_is_invoked_with_its_input(emulator, client):
    emulator.deploy(ENV, "login")

    reply = await client.call(INVOKE, {"云": [1]}, query={"env": ENV, "name": "login"})

    assert reply == {"errcode": 0, "errmsg": "ok", "resp_data": '{"云": [1]}'}
    with pytest.raises(ApiError, match=r"-501000: .*FunctionName parameter could not") as caught:
        await client.call(INVOKE, {"env": "of-the-input"}, query={"env": ENV, "name": "logout"})
    assert caught.value.env == ENV


class MerchantToken:
    kind = "authorizer"

    async def get_token(self, _api):
        return "TOKEN"

    async def invalidate(self, token): ...


@pytest.mark.parametrize(
    ("token", "path", "key"),
    [
        ("TOKEN", NEW, "access_token"),
        ("TOKEN", "/cgi-bin/component/anything", "component_access_token"),
        (MerchantToken(), "/cgi-bin/component/anything", "access_token"),
        ("TOKEN", "/componenttcb/anything", "access_token"),
    ],
)
async def test_path_and_token_choose_the_query_parameter(serve, token, path, key):
    server, client = await serve(OK, token=token)
    await client.call(path)

    assert server.requests[0].target == f"{path}?{key}=TOKEN"


async def test_large_body_is_sent_without_a_warning(serve):
    server, client = await serve(OK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await client.call(NEW, {"a": "x" * 2**21})

    assert server.requests[0].body == b'{"a":"%s"}' % (b"x" * 2**21)


async def test_pager_walks_over_calls(emulator, client):
    names = [row.name for row in emulator.deploy(ENV, count=45)]

    async def fetch(offset, limit):
        body = {"env": ENV, "offset": offset, "limit": limit}
        reply = await client.call(LIST, body, repeatable=True)
        return Page(reply["functions"], reply["total_count"])

    async with Pager(fetch, identify=itemgetter("name"), page_size=20) as pager:
        assert [row["name"] async for row in pager] == names


CIRCULAR: dict[str, object] = {}
CIRCULAR["itself"] = CIRCULAR


class TestRefusedBeforeAnyRequest:
    @pytest.mark.parametrize(
        "path",
        [
            "",
            "/",
            "tcb/listfunctions",
            "//evil.example/tcb",
            "https://evil.example/tcb",
            "/tcb/x?access_token=TOKEN",
            "/tcb/x#fragment",
            "/tcb/../cgi-bin/token",
            "/tcb/./x",
            "/tcb//x",
            "/tcb/%2e%2e/x",
            "/tcb/x y",
            "/tcb\\x",
            "/tcb/x\n",
            "/云",
            "@evil.example/x",
            None,
            b"/tcb/x",
        ],
    )
    async def test_invalid_path(self, emulator, client, path):
        right = r"^path=.*as ('/tcb/list|query=\{'env': env\})"
        with pytest.raises(ConfigurationError, match=right) as caught:
            await client.call(path)

        assert caught.value.argument == "path"
        assert emulator.requests == ()

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ([], "is of type list"),
            ("{}", "is of type str"),
            ({1: "a"}, "is of type dict.*str keys"),
            ({"a": 10**5000}, "ValueError"),
            ({"a": {1, 2}}, "a set is not a JSON value"),
            ({"a": float("nan")}, "ValueError"),
            ({"a": "\ud800"}, "UnicodeEncodeError"),
            ({"a": b"bytes"}, "a bytes is not a JSON value"),
            (CIRCULAR, "Circular reference"),
        ],
    )
    async def test_body_that_is_not_json(self, emulator, client, body, reason):
        with pytest.raises(ConfigurationError, match=f"^body .*{reason}") as caught:
            await client.call(NEW, body)

        assert caught.value.argument == "body"
        assert emulator.requests == ()

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("env=test-777bb9", "is of type str"),
            ({1: "a"}, "is of type dict.*str keys"),
            ({"limit": 1}, "contains 'limit' of type int: must be a str"),
            ({"env": None}, "of type NoneType"),
            ({"env": ["a"]}, "of type list"),
            ({"access_token": "a"}, "access_token: leave it out"),
            ({"Component_Access_Token": "a"}, "leave it out"),
            ({"authorizer_access_token": "a"}, "leave it out"),
        ],
    )
    async def test_query_that_is_not_text(self, emulator, client, query, reason):
        with pytest.raises(ConfigurationError, match=f"^query.*{reason}") as caught:
            await client.call(NEW, query=query)

        assert caught.value.argument == "query"
        assert emulator.requests == ()

    @pytest.mark.parametrize(
        ("path", "shown"),
        [
            (f"{INVOKE}?access_token=abc&env={ENV}", f"{INVOKE}…': pass the query as query="),
            (f"{INVOKE}&access_token=abc", f"{INVOKE}…': must be a path such as"),
            (f"{INVOKE}#access_token=abc", f"{INVOKE}…': must be a path such as"),
            ("https://user:abc@host/tcb", "https…': must be a path such as"),
            ("tcb/listfunctions", "tcb/listfunctions': must be a path such as"),
        ],
    )
    async def test_a_refused_path_is_shown_without_its_secrets(self, client, path, shown):
        with pytest.raises(ConfigurationError) as caught:
            await client.call(path)

        assert str(caught.value).startswith(f"path='{shown}")


async def test_errcode_raises_its_class_with_the_path(emulator, client):
    emulator.fail_next(-501000, errmsg="no TcbCode: [INVALID_ENV]")

    with pytest.raises(ApiError) as caught:
        await client.call(LIST, {"env": ENV})

    error = caught.value
    assert (error.errcode, error.tcb_code, error.endpoint) == (-501000, "INVALID_ENV", LIST)
    assert error.env == ENV


def errcode(code, errmsg=""):
    return http_reply({"errcode": code, "errmsg": errmsg})


# The reply of a server, and the number of attempts, of at most three: without and with
# ``repeatable``.
TIMES_SENT = {
    # WeChat did not carry it out.
    "errcode 45011": (errcode(45011), 3, 3),
    "HTTP 429": (FAULTS["status_429"], 3, 3),
    # It may have.
    "errcode -1": (errcode(-1), 1, 3),
    "errcode -501004": (errcode(-501004), 1, 3),
    "TcbCode RequestLimitExceeded": (errcode(-501000, "TcbCode: [RequestLimitExceeded]"), 1, 3),
    "HTTP 503": (FAULTS["status_503"], 1, 3),  # as Varnish reports a time-out behind it
    "closed without a reply": (FAULTS["closed"], 1, 3),
    "reset in the body": (FAULTS["reset_in_body"], 1, 3),
    "time-out without a reply": (FAULTS["hang"], 1, 3),
    "body truncated": (FAULTS["truncated_with_length"], 1, 3),
    # A second attempt would not help.
    "errcode 40097": (errcode(40097), 1, 1),
    "errcode 42001, one token": (errcode(42001), 1, 1),
    "redirect": (FAULTS["redirect_307"], 1, 1),
    "HTML": (FAULTS["html"], 1, 1),
}


@pytest.mark.parametrize("repeatable", [False, True])
@pytest.mark.parametrize("fault", TIMES_SENT)
async def test_how_often_a_call_is_sent(serve, leap, fault, *, repeatable):
    reply, once_at_most, repeated = TIMES_SENT[fault]

    async def until_time_out(exchange):
        await exchange.send(reply)
        leap(10.0)

    answer = until_time_out if "time-out" in fault else reply
    server, client = await serve(answer, timeout=10.0, **QUICK)
    with pytest.raises(TcbError) as caught:
        await client.call(NEW, {"name": "x"}, repeatable=repeatable)

    expected = repeated if repeatable else once_at_most
    assert len(server.requests) == caught.value.attempts == expected
    assert ("only a repeatable call" in str(caught.value)) == (expected < repeated)


@pytest.mark.parametrize(("repeatable", "sent"), [(False, 2), (True, 3)])
async def test_call_on_a_dropped_connection(serve, sent, *, repeatable):
    refusal = nullcontext() if repeatable else pytest.raises(TransportError, match="dropped")
    server, client = await serve(FAULTS["dropped_keep_alive"], **QUICK)
    await client.call(NEW, repeatable=repeatable)
    with refusal:
        await client.call(NEW, repeatable=repeatable)

    assert len(server.requests) == sent


async def test_call_without_a_connection_is_retried(unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    retry = RetryPolicy(attempts=3, base=0.0)
    async with TcbClient("TOKEN", base_url=url, retry=retry) as client:
        with pytest.raises(TransportError, match="could not connect") as caught:
            await client.call(NEW)

    assert (caught.value.attempts, caught.value.sent) == (3, False)


@pytest.mark.parametrize(("forced", "sent"), [(False, 3), (True, 1)])
async def test_forced_refresh_is_sent_once(serve, sent, *, forced):
    token = StableToken(APPID, APPSECRET)
    server, client = await serve(FAULTS["closed"], token=token, **QUICK)
    with pytest.raises(TransportError):
        await (client.force_refresh_token() if forced else client.get_token())

    assert len(server.requests) == sent


async def test_get_token_is_the_current_one(emulator):
    emulator.add_app(APPID, APPSECRET)
    emulator.deploy(ENV)
    async with TcbClient(StableToken(APPID, APPSECRET), base_url=emulator.url) as client:
        token = await client.get_token()
        assert (await client.function_page(ENV)).total == 1
        assert await client.get_token() == token

    assert type(token) is str
    assert emulator.requests[-1].token == token
    assert emulator.tokens_issued(APPID) == 1


SECRETS = {
    "token": "token-9f8e7d6c5b4a39281706f5e4d3c2b1a0",
    "body": "body-0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "deep in the body": "deep-5b4a39281706f5e4d3c2b1a09f8e7d6c",
    "query": "query-b1a09f8e7d6c5b4a39281706f5e4d3c2",
}
BODY = {"app_secret": SECRETS["body"], "more": [{"apiToken": SECRETS["deep in the body"]}]}
QUERY = {"env": ENV, "name": "calculateMonthlyStatistics", "ticket": SECRETS["query"]}
REPEATED = " ".join([QUERY["name"], *SECRETS.values()])
LEAKY = {
    "errcode": errcode(48001, REPEATED),
    "HTML": http_reply(f"<html>{REPEATED}".encode(), 502),
    "not JSON": http_reply(REPEATED.encode()),
    "closed": FAULTS["closed"],
}
"""Replies that repeat the secrets of the request."""


@pytest.mark.parametrize("reply", LEAKY)
async def test_no_error_and_no_log_shows_a_secret(serve, reply, caplog):
    caplog.set_level(logging.DEBUG)
    _, client = await serve(LEAKY[reply], token=Secret(SECRETS["token"]), **QUICK)
    with pytest.raises(TcbError) as caught:
        await client.call(NEW, BODY, query=QUERY)

    error = caught.value
    assert leaks_of(SECRETS.values(), [*shown_by(error), *logged(caplog.records)]) == []
    assert error.env == ENV
    if isinstance(error, ApiError):
        assert error.errmsg == HIDDEN_TEXT
