"""Every fault of a server becomes a `TcbError`, or a retry that succeeds."""

import asyncio
import gzip
import logging
import pickle

import attrs
import pytest
from constants import ENV
from leaks import no_leaks
from raw_server import RawServer, http_reply
from secret_leaks import leaks_of, logged, shown_by
from server_faults import (
    FAULTS,
    LISTING,
    OK,
    ON_REUSE,
    ONLY_TIME_ENDS,
    forever,
    once,
    then_close,
    until_late,
)

from tcb_async import (
    PermissionDeniedError,
    RateLimitError,
    ResponseError,
    RetryPolicy,
    TcbClient,
    TcbError,
    TransportError,
)
from tcb_async._transport import Timing

ONCE = RetryPolicy(attempts=1)
DEFAULT = RetryPolicy()


@attrs.frozen
class Outcome:
    """The result of a fault: the error, and whether it is retried."""

    error: type[TcbError]
    retried: bool


DROPPED = CUT_SHORT = SERVER_ERROR = Outcome(TransportError, retried=True)
NO_REPLY_IN_TIME = Outcome(TransportError, retried=True)
TOO_MANY = Outcome(RateLimitError, retried=True)
ENDS_TOO_EARLY = Outcome(ResponseError, retried=True)
NOT_AS_PROMISED = Outcome(ResponseError, retried=False)
A_PAGE = None

_CHUNKED = http_reply(b"", headers={"Content-Length": None, "Transfer-Encoding": "chunked"})
_RARE = {
    "switching_protocols": then_close(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + LISTING),
    "not_modified": http_reply(b"", 304, {"Content-Length": None}),
    "partial_content": http_reply(LISTING, 206),
    "endless_trailers": forever(_CHUNKED + b"0\r\n", b"X-Trailer: and more\r\n" * 1000),
    "endless_chunk_extension": forever(_CHUNKED + b"1;x=", b"x" * 65536, every=0.001),
    "chunks_of_a_byte": forever(_CHUNKED, b"1\r\n \r\n" * 100, every=0.01),
    "gzip_of_many_members": http_reply(
        gzip.compress(b"") * 10_000, headers={"Content-Encoding": "gzip"}
    ),
    "chunked_with_length": http_reply(LISTING, headers={"Transfer-Encoding": "chunked"}),
    "an_encoding_nobody_knows": http_reply(LISTING, headers={"Content-Encoding": "x-none"}),
    "a_content_type_that_is_none": http_reply(LISTING, headers={"Content-Type": "\xff\xfe"}),
    "http_0_9": then_close(LISTING),
    "http_3": then_close(b"HTTP/3.7 200 OK\r\n\r\n" + LISTING),
}
EVERY = FAULTS | _RARE

TOLD_APART: dict[str, Outcome | None] = {
    **dict.fromkeys(("unasked_reply", "name_empty", "an_encoding_nobody_knows"), A_PAGE),
    **dict.fromkeys(("a_content_type_that_is_none", "mod_time_text", "mod_time_number"), A_PAGE),
    "mod_time_impossible": A_PAGE,
    "status_429": TOO_MANY,
    **dict.fromkeys(("closed", "closed_in_headers", "reset", "reset_in_headers"), DROPPED),
    **dict.fromkeys(("dropped_keep_alive", "late_unasked_reply"), DROPPED),
    **dict.fromkeys(("reset_in_body", "truncated_with_length", "truncated_chunked"), CUT_SHORT),
    **dict.fromkeys(("unended_chunked", "bad_gzip", "gzip_of_many_members"), CUT_SHORT),
    **dict.fromkeys(("truncated_without_length", "truncated_gzip"), ENDS_TOO_EARLY),
    **dict.fromkeys(("empty", "spaces", "cut_json", "cut_character"), ENDS_TOO_EARLY),
    **dict.fromkeys(ONLY_TIME_ENDS, NO_REPLY_IN_TIME),
    **dict.fromkeys(("endless_chunk_extension", "chunks_of_a_byte"), NO_REPLY_IN_TIME),
    "html_error": SERVER_ERROR,
    **{f"status_{code}": SERVER_ERROR for code in (500, 502, 503, 504)},
}
"""The outcomes of faults; that of all others is NOT_AS_PROMISED."""


TIMEOUT = 10.0
TOKEN = "tick@@@pl4nted-s3cret0"


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    monkeypatch.setattr("tcb_async._transport.sending.MAX_REPLY_BYTES", 2**20)


def client(
    url,
    retry,
    token="T",  # noqa: S107 - for servers that ignore it
):
    """A client that retries without waiting, and is patient with faults that stop by themselves."""
    calling = TcbClient(token, base_url=url, retry=retry, timeout=TIMEOUT)
    calling._transport.timing = Timing(sleep=lambda _: asyncio.sleep(0))
    return calling


def assert_clean(error, expected):
    """Check that the error has no cause, names the position, and survives a pickle."""
    assert type(error) is expected
    assert (error.__cause__, error.__context__) == (None, None)
    assert (error.env, error.offset) == (ENV, 0)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes
    assert len(str(error)) < 1000


async def spoiled(client, fault):
    """Return the page of a call that meets the fault."""
    if fault in ON_REUSE:
        await client.function_page(ENV)
        await until_late()
    return await client.function_page(ENV)


def begin(fault, leap):
    """Send a fault. If it never ends, the clock moves, so that the client's time-out expires."""

    async def handle(exchange):
        if TOLD_APART.get(fault) is NO_REPLY_IN_TIME:
            asyncio.get_running_loop().call_later(0.05, leap, TIMEOUT)
        await exchange.answer(EVERY[fault])

    return handle


@pytest.mark.parametrize("fault", EVERY)
async def test_any_fault_ends_in_a_page_or_our_error_without_the_token(fault, leap, caplog):
    caplog.set_level(logging.DEBUG)
    outcome = TOLD_APART.get(fault, NOT_AS_PROMISED)
    async with (
        no_leaks(),
        RawServer(begin(fault, leap)) as server,
        client(server.url, ONCE, TOKEN) as calling,
    ):
        if outcome is None:
            await spoiled(calling, fault)
        else:
            with pytest.raises(TcbError) as caught:
                await spoiled(calling, fault)
            assert_clean(caught.value, outcome.error)
            assert leaks_of([TOKEN], shown_by(caught.value)) == []
    assert leaks_of([TOKEN], logged(caplog.records)) == []


@pytest.mark.parametrize("fault", sorted(EVERY.keys() - ON_REUSE))
async def test_only_transient_faults_are_retried(fault, leap):
    outcome = TOLD_APART.get(fault, NOT_AS_PROMISED)
    async with (
        RawServer(once(begin(fault, leap))) as server,
        client(server.url, DEFAULT) as calling,
    ):
        if outcome is not None and not outcome.retried:
            with pytest.raises(TcbError):
                await spoiled(calling, fault)
            assert len(server.requests) == 1
        else:
            page = await calling.function_page(ENV)
            assert page.total == 1
            assert len(server.requests) == (1 if outcome is A_PAGE else 2)


@pytest.mark.parametrize("fault", sorted(ON_REUSE))
async def test_spoilt_idle_connection_costs_one_retry(fault):
    async with RawServer(FAULTS[fault]) as server, client(server.url, DEFAULT) as calling:
        page = await spoiled(calling, fault)

    assert [function.name for function in page.items] == ["login"]


async def test_truncated_reply_is_requested_again():
    def cut_then_whole(_, n):
        return OK if n % 2 else http_reply(LISTING[: n // 2])

    async with RawServer(cut_then_whole) as server, client(server.url, DEFAULT) as calling:
        for _ in LISTING:
            assert (await calling.function_page(ENV)).total == 1

    assert len(server.requests) == 2 * len(LISTING)


async def test_errcode_counts_with_every_status():
    body = {"errcode": 48001, "errmsg": "api unauthorized rid: 1-2-3"}
    async with RawServer(http_reply(body, 403)) as server, client(server.url, ONCE) as calling:
        with pytest.raises(PermissionDeniedError) as caught:
            await calling.function_page(ENV)

    assert_clean(caught.value, PermissionDeniedError)


async def test_status_counts_if_the_errcode_is_invalid():
    body = {"errcode": "forbidden"}
    async with RawServer(http_reply(body, 403)) as server, client(server.url, ONCE) as calling:
        with pytest.raises(ResponseError, match="HTTP 403: a refusal") as caught:
            await calling.function_page(ENV)

    assert caught.value.status == 403
