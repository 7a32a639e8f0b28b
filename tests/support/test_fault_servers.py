"""Smoke row of the servers that misbehave: a fault does what its name says to a plain client."""

from __future__ import annotations

import json

import aiohttp
import pytest
from fault_proxy import FaultProxy
from leaks import no_leaks
from network_faults import CutAfter, HalfOpen, Latency, ResetAfter
from raw_server import RawServer
from server_faults import (
    FAULTS,
    LISTING,
    OK,
    ON_REUSE,
    ONLY_TIME_ENDS,
    UNENDING,
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


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ((), (200, LISTING)),
        (Latency(0.01), (200, LISTING)),
        (CutAfter(20), aiohttp.ServerDisconnectedError),
        (CutAfter(len(OK) - 1), aiohttp.ClientPayloadError),
        (ResetAfter(0), aiohttp.ClientOSError),
        (HalfOpen(), TimeoutError),
    ],
    ids=str,
)
async def test_a_fault_of_the_network_does_what_its_name_says(fault, expected):
    async with (
        RawServer(OK) as server,
        FaultProxy("127.0.0.1", server.port, default=fault) as proxy,
        client(0.2 if expected is TimeoutError else 5.0) as session,
    ):
        try:
            got = await ask(session, proxy.url)
        except Exception as error:  # noqa: BLE001  # likewise
            got = type(error)

    assert got == expected
