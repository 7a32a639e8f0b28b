"""One secret, planted as token, appsecret, refresh token and ticket, and searched everywhere.

Rule: no reply of a server that repeats it, plain or URL-encoded, brings it into an error, a log, a
span, a problem of FastAPI or a repr.
"""

import asyncio
import io
import itertools
import logging
import traceback

import aiohttp
import pytest
from constants import APPID, AUTHORIZER, COMPONENT, ENV, LIST, PLATFORM, STABLE
from leaks import eventually
from proxies import PROXY_FORMS, use_proxy
from raw_server import RawServer, http_reply
from rich.console import Console
from rich.traceback import Traceback
from secret_leaks import encode, leaks_of, logged, shown_by
from server_faults import OK, then_close

from tcb_async import Account, ConfigurationError, RetryPolicy, TcbClient, TcbError, TransportError
from tcb_async.emulator import Fault
from tcb_async.fastapi import problem_of
from tcb_async.tokens import (
    AuthorizerToken,
    ClassicToken,
    ComponentToken,
    Secret,
    StableToken,
    TokenApi,
    TokenProvider,
)

SECRET = "tick@@@pl4nted-s3cret0"
"""Made of the characters of a ticket, and too short to be taken for a token."""
PIN = Secret(SECRET)


async def newest_ticket():
    return SECRET


async def save(_refresh_token):
    """A platform's storage."""


def merchant():
    platform = ComponentToken(PLATFORM, SECRET, ticket=newest_ticket)
    return AuthorizerToken(platform, APPID, SECRET, on_rotate=save)


KINDS = {
    "token": (LIST, lambda: SECRET),
    "appsecret": (STABLE, lambda: StableToken(APPID, SECRET)),
    "refresh token": (AUTHORIZER, merchant),
}
"""The first endpoint that receives each kind of credential, and its provider."""

GRANTED = {"expires_in": 7200, "authorizer_refresh_token": SECRET}
RIGHT = {
    LIST: OK,
    STABLE: http_reply({"access_token": SECRET, **GRANTED}),
    COMPONENT: http_reply({"component_access_token": SECRET, **GRANTED}),
    AUTHORIZER: http_reply({"authorizer_access_token": SECRET, **GRANTED}),
}


def wechat(path, fault):
    """All is well, but for one endpoint."""

    async def handle(exchange):
        asked = exchange.request.target.partition("?")[0]
        await exchange.answer(fault if asked == path else RIGHT[asked])

    return handle


def client_of(kind, url):
    _, make_provider = KINDS[kind]
    return TcbClient(make_provider(), base_url=url, retry=RetryPolicy(attempts=2, base=0.0))


async def show_page(client, caplog):
    """All that is shown when a page is requested."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with client:
        try:
            said.append(repr(await client.function_page(ENV)))
        except TcbError as error:
            said += (*shown_by(error), repr(problem_of(error)))
        said += (repr(client), repr(client._transport), repr(client.provider))
    return said + list(logged(caplog.records))


def echoes(shown):
    """The ways in which a server may say something back."""
    quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
    return {
        "errmsg": http_reply({"errcode": -1, "errmsg": f"who is {shown}? rid: 1-2-3"}),
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("echo", echoes(""))
async def test_no_reply_that_repeats_it_shows_it(echo, kind, caplog):
    for shown in encode(SECRET):
        caplog.clear()
        async with RawServer(wechat(KINDS[kind][0], echoes(shown)[echo])) as server:
            said = await show_page(client_of(kind, server.url), caplog)

        assert leaks_of([SECRET], said) == []


@pytest.mark.parametrize(
    ("scheme", "form", "variable"),
    [
        *(("https", form, "https_proxy") for form in PROXY_FORMS),
        ("http", "http://svc:{}@127.0.0.1:9", "http_proxy"),
        ("https", "http://svc:{}", "HTTPS_PROXY"),
    ],
)
async def test_no_error_shows_the_password_of_a_proxy(scheme, form, variable, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    password = "hunter2-production"
    use_proxy(monkeypatch, form.format(password), [variable])
    retry, url = RetryPolicy(attempts=1), f"{scheme}://127.0.0.1:1"
    async with TcbClient("T", base_url=url, retry=retry, trust_env=True) as client:
        with pytest.raises(TransportError) as caught:
            await client.function_page(ENV)

    said = [*shown_by(caught.value), *logged(caplog.records), str(problem_of(caught.value))]
    assert leaks_of([password], said) == []
    if variable == f"{scheme}_proxy":
        # aiohttp ignores a proxy that is reached by TLS, and warns.
        assert ("the proxy on" in caught.value.message) is not form.startswith("https:")


class _Handing:
    """A provider that returns the given values."""

    def __init__(self, token):
        self.token = token

    async def get_token(self, api):  # noqa: ARG002 - the protocol's
        return self.token  # type: ignore[return-value]

    async def invalidate(self, token):
        raise AssertionError(token)


@pytest.mark.parametrize(
    "token", [None, 5, b"bytes", "", f"{SECRET}\n", f"a {SECRET}", f"{SECRET}\ud800"]
)
async def test_impossible_token_is_not_shown(token):
    provider: TokenProvider = _Handing(token)
    async with TcbClient(provider) as client:
        with pytest.raises(ConfigurationError, match="the token that the provider") as caught:
            await client.function_page(ENV)

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
def test_mistake_in_a_second_argument_shows_no_token(mistake):
    with pytest.raises(ConfigurationError) as caught:
        mistake()

    assert leaks_of([SECRET], shown_by(caught.value)) == []


@pytest.mark.parametrize(
    ("query", "body"), [({"ticket": SECRET}, None), (None, {"secret": SECRET}), (None, {"a": PIN})]
)
async def test_custom_provider_may_send_a_plain_str(serve, query, body):
    class Custom(_Handing):
        async def get_token(self, api: TokenApi) -> str:
            await api.call_token_endpoint(STABLE, query=query, body=body)
            raise AssertionError

    echo = {"errcode": 40125, "errmsg": f"{SECRET} is wrong"}
    _, client = await serve(http_reply(echo), token=Custom(SECRET))
    with pytest.raises(TcbError, match="40125") as caught:
        await client.function_page(ENV)

    assert leaks_of([SECRET], shown_by(caught.value)) == []


TOKEN = "planted-access-token-48a1c7e05f3b92d6"
AS_SECRET = [
    TcbClient,
    lambda secret: StableToken(APPID, secret),
    lambda secret: ClassicToken(APPID, secret),
    lambda secret: ComponentToken(PLATFORM, secret, ticket=newest_ticket),
]


AS_APPID = [
    lambda secret: StableToken(secret, APPID),
    lambda secret: ClassicToken(secret, APPID),
    lambda secret: ComponentToken(secret, PLATFORM, ticket=newest_ticket),
    lambda secret: AuthorizerToken(
        ComponentToken(PLATFORM, SECRET, ticket=newest_ticket), secret, APPID, on_rotate=save
    ),
    lambda secret: Account(secret, APPID),
]


@pytest.mark.parametrize(
    ("make", "secret"),
    [
        *((make, f"{TOKEN}\n") for make in AS_SECRET),
        *((make, it) for make in AS_APPID for it in (f"{TOKEN}@@@{TOKEN}", TOKEN)),
    ],
)
def test_refused_secret_is_not_shown(make, secret):
    with pytest.raises(ConfigurationError) as caught:
        make(secret)

    assert leaks_of([TOKEN], shown_by(caught.value)) == []


def recorded_of(error):
    """The variables of the frames of an error and of those before it, our test's left out."""
    recorded = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in recorded.stack:
        if frame.filename != __file__:
            yield from (f"{frame.filename}: {key} = {it}" for key, it in frame.locals.items())
    for earlier in {error.__cause__, error.__context__} - {None}:
        yield from recorded_of(earlier)


def leaks_in_frames(secrets, error):
    texts = [*recorded_of(error)]
    assert any("/tcb_async/" in text for text in texts)
    return leaks_of(secrets, texts)


CALLS = [
    lambda client: client.call(
        "/tcb/x", {"secret": Secret(SECRET)}, query={"ticket": Secret(SECRET)}
    ),
    lambda client: client.list_functions(ENV),
    TcbClient.get_token,
    TcbClient.force_refresh_token,
]


class TestFrames:
    """Tools that record the variables of frames, as Sentry and rich do, see no secret."""

    @pytest.mark.parametrize("fault", [Fault.errcode(40164), Fault.status(502), Fault.reset()])
    @pytest.mark.parametrize("call", CALLS)
    async def test_frame_of_an_error_has_no_secret(self, emulator, call, fault):
        emulator.script(itertools.repeat(fault))
        retry = RetryPolicy(attempts=1)
        token = StableToken(APPID, SECRET)
        async with TcbClient(token, base_url=emulator.url, retry=retry) as client:
            with pytest.raises(TcbError) as caught:
                await call(client)

        assert leaks_in_frames([SECRET], caught.value) == []

    async def test_frame_of_a_refused_call_has_no_token(self, emulator):
        async with TcbClient(emulator.token, base_url=emulator.url) as client:
            emulator.script(itertools.repeat(Fault.errcode(48001)))
            with pytest.raises(TcbError) as caught:
                await client.call("/tcb/x", {"secret": Secret(SECRET)})

        assert leaks_in_frames([SECRET, emulator.token], caught.value) == []

    @pytest.mark.parametrize("is_callers_session", [False, True])
    @pytest.mark.parametrize(
        ("path", "call"),
        [
            ("/tcb/x", CALLS[0]),
            (LIST, lambda client: client.function_page(ENV)),
            (STABLE, lambda client: client.function_page(ENV)),
            (STABLE, TcbClient.force_refresh_token),
        ],
    )
    async def test_frame_of_a_time_out_has_no_secret(
        self, emulator, stack, path, call, is_callers_session
    ):
        emulator.script([Fault.hang()], path=path)
        token = StableToken(APPID, SECRET) if path == STABLE else emulator.token
        session = aiohttp.ClientSession() if is_callers_session else None
        if session is not None:
            await stack.enter_async_context(session)
        limit = asyncio.timeout(None)

        async def call_in_time():
            async with limit:
                await call(client)

        async with TcbClient(token, base_url=emulator.url, session=session) as client:
            calling = asyncio.create_task(call_in_time())
            await eventually(lambda: emulator.in_flight == 1)
            limit.reschedule(0.0)
            await asyncio.wait([calling])

        error = calling.exception()
        assert isinstance(error, TimeoutError)
        assert leaks_in_frames([SECRET, emulator.token], error) == []

    @pytest.mark.slow
    async def test_traceback_of_rich_has_no_secret(self, emulator):
        emulator.script(itertools.repeat(Fault.errcode(48001)))
        async with TcbClient(emulator.token, base_url=emulator.url) as client:
            with pytest.raises(TcbError) as caught:
                await CALLS[0](client)

        ours = caught.tb.tb_next  # without the variables of this test
        shown = Traceback.from_exception(
            caught.type, caught.value, ours, show_locals=True, locals_max_string=None
        )
        screen = Console(file=io.StringIO(), width=400)
        screen.print(shown)
        text = screen.file.getvalue()
        assert "/tcb_async/" in text
        assert leaks_of([SECRET, emulator.token], text.splitlines()) == []
