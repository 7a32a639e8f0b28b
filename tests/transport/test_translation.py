"""Every error of aiohttp becomes a `TcbError`, without the URL in its text."""

import asyncio
import logging
import re
import socket
import ssl
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import client_exceptions, http_exceptions, payload, streams
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from secret_leaks import leaks_of, shown_by
from yarl import URL

from tcb_async import ResponseError, RetryPolicy, TcbClient, TcbError, TransportError
from tcb_async._transport.translation import read_retry_after

SECRET = "planted-access-token"
URL_WITH_IT = URL(f"https://api.weixin.qq.com/tcb/listfunctions?access_token={SECRET}")
NO_HEADERS = CIMultiDictProxy(CIMultiDict[str]())
REQUEST = aiohttp.RequestInfo(URL_WITH_IT, "POST", NO_HEADERS, URL_WITH_IT)
KEY = ConnectionKey("api.weixin.qq.com", 443, True, True, None, None, None)  # noqa: FBT003 - its own
OS_ERROR = OSError(111, f"Connection refused by {SECRET}")
MODULES = (aiohttp, client_exceptions, http_exceptions, payload, streams)


def family(kind):
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


def errors_of_aiohttp():
    """Both trees of aiohttp's exceptions, and all others in the modules of its client."""
    found = {*family(aiohttp.ClientError), *family(http_exceptions.HttpProcessingError)}
    for module in MODULES:
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, Exception):
                found.add(thing)
    ours = {kind for kind in found if kind.__module__.startswith("aiohttp")}
    assert len(ours) > 40
    return {kind for kind in ours if not issubclass(kind, Warning)}


def made(kind):
    """An error of this class, with the secret in every argument."""
    ways = (
        lambda: kind(REQUEST, (), message=SECRET),  # type: ignore[call-arg]
        lambda: kind(f"/{SECRET}.sock", KEY, OS_ERROR),
        lambda: kind(KEY, OS_ERROR),
        lambda: kind(b"expected", SECRET.encode(), "api.weixin.qq.com", 443),
        lambda: kind(message=SECRET),  # type: ignore[call-arg]
        lambda: kind(str(URL_WITH_IT)),
    )
    for way in ways:
        try:
            return way()
        except (TypeError, AttributeError):
            continue
    raise AssertionError(f"{kind} is new: add a way to make it")


CERTIFICATE = (client_exceptions.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch)
FINAL = (*CERTIFICATE, aiohttp.ClientSSLError)
NOT_HTTP = (aiohttp.ClientResponseError, http_exceptions.HttpProcessingError)
PASSING = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)


def expected(kind):
    """The client's error, and whether the call is retried. An unknown error is final."""
    if issubclass(kind, FINAL):
        return TransportError, False
    if issubclass(kind, NOT_HTTP):
        return ResponseError, False
    return TransportError, issubclass(kind, (*PASSING, OSError))


async def raised(mocked, error):
    """The client's error in place of this error of aiohttp."""
    mocked.post(re.compile(".*"), exception=error)
    async with TcbClient(SECRET, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(TcbError) as caught:
            await client.function_page("test-777bb9")
    return caught.value


@pytest.mark.parametrize(
    "kind", sorted(errors_of_aiohttp(), key=lambda kind: kind.__name__), ids=lambda k: k.__name__
)
async def test_aiohttp_errors_become_ours_without_text_or_cause(mocked_http, kind):
    error = await raised(mocked_http, made(kind))

    ours, retryable = expected(kind)
    assert type(error) is ours
    assert getattr(error, "retryable", False) is retryable
    assert (error.__cause__, error.__context__) == (None, None)
    assert leaks_of([SECRET], shown_by(error)) == []


@pytest.mark.parametrize(
    ("error", "words", "retryable"),
    [
        (TimeoutError(SECRET), "no complete reply in 30 s", True),
        (ConnectionResetError(104, SECRET), "dropped the connection", True),
        (socket.gaierror(-2, SECRET), "dropped the connection", True),
        (ssl.SSLError(1, SECRET), "dropped the connection", True),
        (RuntimeError(f"{SECRET}; the handler is closed"), "dropped the connection", True),
        (RuntimeError("the cassette is closed"), "RuntimeError: the cassette is closed", False),
        (RuntimeError(SECRET), r"failed \(RuntimeError: \[hidden: [ \w]+\]\)", False),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET), "UnicodeDecodeError", False),
        (ValueError(SECRET), "ValueError", False),
        (RecursionError(SECRET), "RecursionError", False),
        (AssertionError(SECRET), "AssertionError", False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_other_exceptions_become_transport_errors(mocked_http, error, words, *, retryable):
    ours = await raised(mocked_http, error)

    assert isinstance(ours, TransportError)
    assert re.search(words, str(ours))
    assert ours.retryable is retryable
    assert leaks_of([SECRET], shown_by(ours)) == []


async def test_unexpected_error_keeps_its_text_and_traceback(mocked_http, caplog):
    caplog.set_level(logging.DEBUG, logger="tcb_async")

    error = await raised(mocked_http, TypeError(f"unhashable type in {'a' * 24} {URL_WITH_IT}"))
    plain = await raised(mocked_http, TypeError(f"unhashable type in {'a' * 24}"))

    assert "failed (TypeError: [hidden: it may repeat a secret])" in error.message
    assert "failed (TypeError: unhashable type in [hidden])" in plain.message
    log = "\n".join(record.getMessage() for record in caplog.records)
    assert re.search(r"failed unexpectedly \(TypeError\):(.|\n)* in match\n", log)
    assert leaks_of([SECRET], [*shown_by(error), log]) == []


async def test_missing_mock_of_a_url_is_explained(mocked_http):
    async with TcbClient(SECRET, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(TransportError, match="Connection refused: POST https:"):
            await client.function_page("test-777bb9")


@pytest.mark.parametrize("shown", ["ValueError: \\[hidden.*", "LookupError: of a hook"])
async def test_text_of_a_library_is_in_no_error_and_no_log(serve, caplog, shown):
    """Nor is it as the context of an error that the caller's code raises."""
    caplog.set_level(logging.DEBUG, logger="tcb_async")

    async def fail(*_):
        try:
            await asyncio.to_thread(int, SECRET)
        except ValueError:
            if shown.startswith("ValueError"):
                raise
            raise LookupError("of a hook")  # noqa: B904 - with its context

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(fail)
    async with aiohttp.ClientSession(trace_configs=[tracing]) as session:
        _, client = await serve(b"", token=SECRET, session=session)
        with pytest.raises(TransportError, match=rf"failed \({shown}\)") as caught:
            await client.function_page("test-777bb9")

    log = "\n".join(record.getMessage() for record in caplog.records)
    assert re.search(r"failed unexpectedly \(\w+\):(.|\n)* in fail\n", log)
    assert leaks_of([SECRET], [*shown_by(caught.value), log]) == []


NO_REASON = ssl.SSLError(1, SECRET)
NO_REASON.reason = None  # type: ignore[assignment]  # as CPython makes it if OpenSSL names none


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NO_REASON, "an unknown TLS error"),
        (ConnectionRefusedError(111, f"Connect call failed ('{SECRET}', 1)"), "Connection refused"),
        (OSError(113, f"Connect call failed ('{SECRET}', 1)"), "No route to host"),
        (
            OSError(
                f"Multiple exceptions: [Errno 111] Connect call failed ('{SECRET}', 1), "
                "[Errno 101] Network is unreachable, [Errno 111] Connect call failed ('x', 1)"
            ),
            "Connection refused, Network is unreachable",
        ),
        (ConnectionResetError(), "it closed the connection during the TLS handshake"),
    ],
    ids=repr,
)
async def test_connection_error_names_the_systems_reason(mocked_http, error, reason):
    ours = await raised(mocked_http, aiohttp.ClientConnectorError(KEY, error))

    assert f"could not connect to api.weixin.qq.com ({reason}); check" in ours.message
    assert leaks_of([SECRET], shown_by(ours)) == []


DROPPED_IN_TLS = aiohttp.ClientConnectorError(KEY, ConnectionResetError())


@pytest.mark.parametrize("variables", [{"HTTPS_PROXY": "http://proxy.invalid:3128"}, {}])
@pytest.mark.parametrize("kind", ["own", "trust_env", "callers"])
async def test_message_knows_whether_a_proxy_may_be_used(mocked_http, monkeypatch, variables, kind):
    for name, proxy in variables.items():
        monkeypatch.setenv(name, proxy)
    mocked_http.post(re.compile(".*"), exception=DROPPED_IN_TLS)
    async with aiohttp.ClientSession() as session:
        client = TcbClient(
            SECRET,
            retry=RetryPolicy(attempts=1),
            trust_env=kind == "trust_env",
            session=session if kind == "callers" else None,
        )
        with pytest.raises(TransportError) as caught:
            await client.function_page("test-777bb9")

    assert ("this client uses no proxy" in caught.value.message) is (kind == "own")


async def test_dead_proxy_of_a_session_is_not_blamed_on_the_environment(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    async with aiohttp.ClientSession(proxy="http://127.0.0.1:9") as session:
        client = TcbClient(SECRET, session=session, retry=RetryPolicy(attempts=1))
        with pytest.raises(TransportError, match="could not connect to the proxy") as caught:
            await client.function_page("test-777bb9")

    assert "HTTPS_PROXY" not in caught.value.message


@pytest.mark.parametrize("encoding", ["brotli (br)", "zstandard (zstd)"])
async def test_compressed_reply_is_named(mocked_http, encoding):
    """As aiohttp reports it without the packages for these encodings."""
    text = f"Can not decode content-encoding: {encoding}. Please install `it`"
    error = aiohttp.ClientResponseError(REQUEST, (), status=400, message=text)
    ours = await raised(mocked_http, error)

    assert isinstance(ours, ResponseError)
    assert "sent a compressed reply, which was not requested; check the base URL and" in str(ours)


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
