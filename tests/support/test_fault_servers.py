"""Smoke row of the servers that misbehave: a fault does what its name says to a plain client."""

import aiohttp
import pytest
from fault_proxy import FaultProxy
from leaks import no_leaks
from network_faults import CutAfter, HalfOpen, Latency, ResetAfter
from raw_server import RawServer
from server_faults import FAULTS, LISTING, OK


@pytest.mark.parametrize(
    ("reply", "on_the_way", "expected"),
    [
        (OK, (), LISTING),
        (OK, Latency(0.01), LISTING),
        (OK, CutAfter(20), aiohttp.ServerDisconnectedError),
        (OK, CutAfter(len(OK) - 1), aiohttp.ClientPayloadError),
        (OK, ResetAfter(0), aiohttp.ClientOSError),
        (OK, HalfOpen(), TimeoutError),
        (FAULTS["closed"], (), aiohttp.ServerDisconnectedError),
        (FAULTS["reset"], (), aiohttp.ClientOSError),
        (FAULTS["reset_in_body"], (), aiohttp.ClientPayloadError),
        (FAULTS["drip_in_body"], (), TimeoutError),
        (FAULTS["gzip_bomb"], (), b" " * 2**24 + LISTING),
        (FAULTS["html_error"], (), b"<html><h1>502 Bad Gateway</h1></html>"),
    ],
)
async def test_a_fault_does_to_a_plain_client_what_its_name_says(reply, on_the_way, expected):
    timeout = aiohttp.ClientTimeout(total=0.2 if expected is TimeoutError else 5.0)
    async with (
        no_leaks(),
        RawServer(reply) as server,
        FaultProxy(server.port, default=on_the_way) as proxy,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        try:
            async with session.post(proxy.url, data=b"{}") as response:
                got = await response.read()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what the fault does
            got = type(error)

    assert got == expected
