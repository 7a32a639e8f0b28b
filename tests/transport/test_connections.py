"""Connections of a client, while they are opened."""

import asyncio
import socket

import pytest
from constants import ENV
from leaks import no_leaks

from tcb_async import ClientClosedError, RetryPolicy, TcbClient, TransportError


async def test_time_out_advises_a_lower_concurrency(serve, leap):
    async def until_time_out(_):
        leap(10.0)

    _, client = await serve(until_time_out, timeout=10.0, retry=RetryPolicy(attempts=1))
    with pytest.raises(TransportError, match="10 s; raise timeout, or lower concurrency"):
        await client.function_page(ENV)


async def test_a_dead_address_is_skipped_within_the_same_attempt(emulator, monkeypatch):
    async def two_addresses(_host, port, **_):
        family, kind = socket.AF_INET, socket.SOCK_STREAM
        return [(family, kind, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]

    emulator.deploy(ENV)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
    url = emulator.url.replace("127.0.0.1", "localhost")
    async with TcbClient(emulator.token, base_url=url, retry=RetryPolicy(attempts=1)) as client:
        assert (await client.function_page(ENV)).total == 1


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_closing_a_client_stops_calls_that_open_a_connection(turns):
    """The server accepts, and never replies to the TLS handshake."""
    greeted = asyncio.Event()

    async def accept(reader, writer):
        await reader.read(1)
        greeted.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, no_leaks():
        patience = RetryPolicy(deadline=3600)
        url = f"https://127.0.0.1:{port}"
        client = TcbClient("T", base_url=url, timeout=3600, retry=patience)
        calls = [asyncio.create_task(client.function_page(ENV)) for _ in range(2)]
        await greeted.wait()

        closing = asyncio.create_task(client.aclose())
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.aclose()  # again, before, while and after the calls stop
        await closing

        errors = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        assert [type(error) for error in errors] == [ClientClosedError] * 2
