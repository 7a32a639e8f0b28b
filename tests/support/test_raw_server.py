"""The raw server sends what it was given; a fault spoils what its name says, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib

import aiohttp
import brotli
import pytest
from leaks import eventually, no_leaks
from raw_server import Exchange, RawServer, http_reply
from server_faults import (
    FAULTS,
    LISTING,
    OK,
    ON_REUSE,
    ONLY_TIME_ENDS,
    UNENDING,
    bomb,
    listing,
    once,
    redirect,
    row,
    until_late,
)

CAP = 4 * 1024 * 1024
RIGHT: dict[str, object] = json.loads(LISTING)


@pytest.fixture(autouse=True)
async def _nothing_left():
    async with no_leaks():
        yield


class TooBigError(Exception):
    pass


async def ask(session, url):
    """Ask as a plain aiohttp client does that reads no more than ``CAP``."""
    body = bytearray()
    async with session.post(url, data=b"{}", allow_redirects=False) as response:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > CAP:
                raise TooBigError
        return response.status, bytes(body)


def client(seconds=5.0):
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds))


async def outcome(name):
    """Tell what a fault does to a client that looks at nothing but what it must.

    Returns:
        The class of what was raised; or a status other than 200; or, of the reply's keys, those
        that are not as in the right reply (None: missing); or what came in a reply's place.
    """
    try:
        async with (
            RawServer(FAULTS[name]) as server,
            client(0.1 if name in ONLY_TIME_ENDS else 5.0) as session,
        ):
            if name in ON_REUSE:
                assert await ask(session, server.url) == (200, LISTING)
                await until_late()
            status, body = await ask(session, server.url)
            reply = json.loads(body.decode())
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the fault does
        return type(error)
    if status != 200:
        assert reply == RIGHT
        return status
    if not isinstance(reply, dict):
        return ("not an object", reply)
    return {key: reply.get(key) for key in RIGHT if reply.get(key) != RIGHT[key]}


def functions(*rows):
    return {"functions": list(rows)}


EXPECTED: dict[str, object] = {
    "closed": aiohttp.ServerDisconnectedError,
    "closed_in_headers": aiohttp.ServerDisconnectedError,
    "reset": aiohttp.ClientOSError,
    "reset_in_headers": aiohttp.ClientOSError,
    "reset_in_body": aiohttp.ClientPayloadError,
    "dropped_keep_alive": aiohttp.ServerDisconnectedError,
    "unasked_reply": {},  # aiohttp sees it and takes another connection
    "late_unasked_reply": {"total_count": 0, "functions": []},  # aiohttp takes it for the answer
    **dict.fromkeys(ONLY_TIME_ENDS, TimeoutError),
    **dict.fromkeys(UNENDING, TooBigError),
    "endless_headers": aiohttp.ClientResponseError,
    "endless_header": aiohttp.ClientResponseError,
    "truncated_with_length": aiohttp.ClientPayloadError,
    "truncated_without_length": json.JSONDecodeError,
    "truncated_chunked": aiohttp.ClientPayloadError,
    "unended_chunked": aiohttp.ClientPayloadError,
    "not_http": aiohttp.ClientResponseError,
    "no_status_line": aiohttp.ClientResponseError,
    "bad_chunk_size": aiohttp.ClientResponseError,
    "bad_length": aiohttp.ClientResponseError,
    "two_lengths": aiohttp.ClientResponseError,
    "nul_in_header": aiohttp.ClientResponseError,
    "bad_gzip": aiohttp.ClientPayloadError,
    "truncated_gzip": json.JSONDecodeError,
    **{f"redirect_{status}": status for status in (301, 302, 303, 307, 308)},
    **{f"status_{status}": status for status in (403, 404, 429, 500, 502, 503, 504)},
    "no_content": json.JSONDecodeError,
    "html_error": json.JSONDecodeError,
    "html": json.JSONDecodeError,
    "empty": json.JSONDecodeError,
    "spaces": json.JSONDecodeError,
    "nul_bytes": json.JSONDecodeError,
    "cut_json": json.JSONDecodeError,
    "two_json": json.JSONDecodeError,
    "bom": json.JSONDecodeError,
    "utf_16": UnicodeDecodeError,
    "invalid_utf_8": UnicodeDecodeError,
    "lone_surrogate": functions(row(name="log\ud800in")),
    "nan": {"total_count": float("nan")},
    "infinity": {"total_count": float("inf")},
    "huge_exponent": {"total_count": float("inf")},
    "5000_digits": ValueError,
    "5000_digit_errcode": ValueError,
    "nested_arrays": RecursionError,
    "nested_objects": RecursionError,
    "nested_functions": RecursionError,
    "null": ("not an object", None),
    "true": ("not an object", True),
    "number": ("not an object", 0),
    "string": ("not an object", "ok"),
    "array": ("not an object", []),
    "no_keys": dict.fromkeys(RIGHT),
    "no_total": {"total_count": None, "functions": []},
    "total_null": {"total_count": None},
    "total_negative": {"total_count": -1},
    "total_fraction": {"total_count": 1.5},
    "total_text": {"total_count": "many"},
    "errcode_null": {"errcode": None},
    "errcode_text": {"errcode": "ok"},
    "errcode_array": {"errcode": []},
    "functions_text": {"functions": "login"},
    "functions_object": {"functions": {"0": row()}},
    "function_null": functions(None),
    "function_text": functions("login"),
    "function_empty": functions({}),
    "name_null": functions(row(name=None)),
    "name_number": functions(row(name=7)),
    "name_empty": functions(row(name="")),
    "status_number": functions(row(status=7)),
    "runtime_object": functions(row(runtime={})),
    "mod_time_text": functions(row(mod_time="yesterday")),
    "mod_time_number": functions(row(mod_time=1561101834)),
    "mod_time_impossible": functions(row(mod_time="2019-02-30 25:61:61")),
}


def test_every_fault_has_its_effect_written_down():
    assert EXPECTED.keys() == FAULTS.keys()
    assert FAULTS.keys() > ONLY_TIME_ENDS | UNENDING | ON_REUSE


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_does_to_a_plain_client_what_its_name_says(name):
    assert repr(await outcome(name)) == repr(EXPECTED[name])  # by repr: NaN equals nothing


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_bomb_is_small_and_inflates_to_megabytes_before_a_right_reply(encoding):
    """So a client without a limit finds nothing wrong with it, and its test fails."""
    head, _, small = bomb(encoding).partition(b"\r\n\r\n")
    assert f"Content-Encoding: {encoding}".encode() in head
    assert len(small) < 32 * 1024
    inflate = {
        "gzip": lambda data: zlib.decompress(data, wbits=31),
        "deflate": zlib.decompress,
        "br": brotli.decompress,
    }[encoding]
    large = inflate(small)
    assert len(large) > 16 * 1024 * 1024
    assert json.loads(large) == RIGHT


@pytest.mark.parametrize(("status", "body"), [(307, b"{}"), (308, b"{}"), (302, b"")])
async def test_a_redirect_takes_a_client_that_follows_to_another_origin(status, body):
    async with (
        RawServer(OK) as other,
        RawServer(redirect(f"{other.url}/there", status)) as server,
        client() as session,
        session.post(server.url, data=b"{}") as response,
    ):
        assert await response.read() == LISTING
        assert [(request.target, request.body) for request in other.requests] == [("/there", body)]


async def test_a_request_is_recorded_as_it_came():
    async with RawServer(OK) as server, client() as session:
        for number in range(2):
            url = f"{server.url}/tcb/listfunctions?access_token=T"
            async with session.post(url, data=b"%d" % number, headers={"X-Own": "a:b"}) as response:
                await response.read()
        first, second = server.requests
    assert (first.method, first.target) == ("POST", "/tcb/listfunctions?access_token=T")
    assert (first.headers["x-own"], first.body, first.raw[-5:]) == ("a:b", b"0", b"\r\n\r\n0")
    assert (second.body, second.n, second.connection, second.nth) == (b"1", 1, 0, 1)
    assert "access_token" not in repr(first)


async def test_each_connection_counts_its_own_requests():
    async with RawServer(OK) as server:
        for _ in range(2):
            async with client() as session:
                await ask(session, server.url)
                await ask(session, server.url)
        asked = [(request.n, request.connection, request.nth) for request in server.requests]
        assert asked == [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)]
        assert server.accepted == 2
        await eventually(lambda: server.open == 0)


async def test_a_function_answers_by_the_requests_bytes_and_number():
    def reply(request: bytes, n: int) -> bytes:
        return http_reply(request[:4] + b"%d" % n)

    async with RawServer(reply) as server, client() as session:
        assert [await ask(session, server.url) for _ in range(2)] == [
            (200, b"POST0"),
            (200, b"POST1"),
        ]


async def test_a_handler_answers_piece_by_piece_and_the_connection_is_kept():
    async def handle(exchange: Exchange) -> None:
        for byte in http_reply({"n": exchange.request.n}):
            await exchange.send(bytes([byte]))

    async with RawServer(handle) as server, client() as session:
        assert [await ask(session, server.url) for _ in range(2)] == [
            (200, b'{"n": 0}'),
            (200, b'{"n": 1}'),
        ]
        assert server.accepted == 1


async def test_all_that_was_sent_before_the_end_arrives_even_at_a_slow_reader():
    async def handle(exchange: Exchange) -> None:
        for _ in range(128):
            await exchange.send(bytes(50_000))
            assert exchange._writer.transport.get_write_buffer_size() == 0
        await exchange.close()

    async with RawServer(handle) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.05)
        assert len(await reader.read()) == 128 * 50_000
        writer.transport.abort()


@pytest.mark.parametrize("times", [1, 2])
async def test_once_answers_some_requests_with_a_fault_and_then_all_is_well(times):
    async with RawServer(once(FAULTS["reset"], times=times)) as server, client() as session:
        for _ in range(times):
            with pytest.raises(aiohttp.ClientOSError):
                await ask(session, server.url)
        assert await ask(session, server.url) == (200, LISTING)


async def test_the_reply_can_be_set_while_the_server_runs():
    async with RawServer(FAULTS["status_500"]) as server, client() as session:
        assert (await ask(session, server.url))[0] == 500
        server.reply = OK
        assert (await ask(session, server.url))[0] == 200


def test_a_reply_has_the_length_and_the_headers_that_were_asked_for():
    assert http_reply(b"ab", 404, {"X-Own": "1"}) == (
        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json; charset=UTF-8\r\n"
        b"Content-Length: 2\r\nX-Own: 1\r\n\r\nab"
    )
    assert http_reply([1], headers={"Content-Type": "text/plain", "Content-Length": None}) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n[1]"
    )


def test_a_listing_is_the_documented_sample_but_for_what_was_changed():
    assert RIGHT["functions"] == [row()]
    assert json.loads(listing(total_count=3)) == RIGHT | {"total_count": 3}


async def broken(_):
    raise LookupError("the test's own mistake")


def too_few_arguments(_):
    raise AssertionError("never called")


async def ask_heedlessly(reply):
    async with RawServer(reply) as server, client() as session:
        with contextlib.suppress(aiohttp.ServerDisconnectedError):
            await ask(session, server.url)


@pytest.mark.parametrize(
    ("reply", "error"),
    [(broken, LookupError), (too_few_arguments, TypeError)],
    ids=["handler", "function"],
)
async def test_a_mistake_in_a_handler_fails_the_test(reply, error):
    with pytest.raises(error):
        await ask_heedlessly(reply)


async def ask_once(reply):
    async with RawServer(reply) as server, client() as session:
        await ask(session, server.url)


async def test_a_mistake_in_a_handler_is_noted_on_the_error_that_it_caused():
    with pytest.raises(aiohttp.ServerDisconnectedError) as caught:
        await ask_once(broken)
    note = "The server's handler failed too: LookupError(\"the test's own mistake\")"
    assert caught.value.__notes__ == [note]


@pytest.mark.parametrize("name", sorted(ONLY_TIME_ENDS | {"endless_body", "endless_headers"}))
async def test_closing_the_server_ends_what_is_under_way(name):
    """``_nothing_left`` then finds no task and no descriptor."""
    async with RawServer(FAULTS[name]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await eventually(lambda: len(server.requests) == 1)
    assert server.open == 0
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.transport.abort()


async def test_a_client_that_leaves_ends_its_exchange():
    for name in sorted(ONLY_TIME_ENDS | {"endless_body", "endless_headers"}):
        async with RawServer(FAULTS[name]) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await eventually(lambda: len(server.requests) == 1)  # used at once
            writer.transport.abort()
            await eventually(lambda: server.open == 0)  # used at once
