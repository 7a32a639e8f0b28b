"""Connections of a client: through proxies that accept only a few, and while they are opened."""

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest
from leaks import no_leaks
from proxies import NarrowProxy
from tls_emulator import knows_our_ca, over_tls

from tcb_async import ClientClosedError, RetryPolicy, TcbClient, TransportError
from tcb_async.emulator import Emulator

ENV = "test-777bb9"
COUNT = 200
WAYS = [("queue", "http"), ("queue", "https"), ("drop", "http"), ("drop", "https"), ("503", "http")]


def names(functions):
    return [function.name for function in functions]


@pytest.mark.parametrize(("beyond", "scheme"), WAYS)
async def test_two_connections_of_a_proxy_lose_nothing(beyond, scheme):
    emulator = Emulator(latency=0.01)
    emulator.deploy(ENV, count=COUNT)
    async with no_leaks(), AsyncExitStack() as stack:
        if scheme == "https":
            port = await stack.enter_async_context(over_tls(emulator))
        else:
            await stack.enter_async_context(emulator)
            port = int(emulator.url.rpartition(":")[2])
        proxy = await stack.enter_async_context(NarrowProxy(port, 2, beyond))
        client = TcbClient(
            emulator.token,
            base_url=f"{scheme}://127.0.0.1:{proxy.port}",
            ssl_context=knows_our_ca() if scheme == "https" else None,
            timeout=0.5 if beyond == "queue" else 30.0,  # its waiting requests time out
            retry=RetryPolicy(base=0.1),
        )
        async with client:
            walks = [client.list_functions(ENV, page_size=20) for _ in range(8)]
            for functions in await asyncio.gather(*walks):
                assert names(functions) == names(emulator.functions(ENV))

            assert client._transport.window.size <= 4


async def test_a_time_out_advises_a_lower_concurrency(serve):
    _, client = await serve(b"", timeout=0.1, retry=RetryPolicy(attempts=1))
    with pytest.raises(TransportError, match=r"0\.1 s; raise timeout, or lower concurrency"):
        await client.count_functions(ENV)


async def test_a_dead_address_is_skipped_within_the_same_attempt(emulator, monkeypatch):
    async def two_addresses(_host, port, **_):
        family, kind = socket.AF_INET, socket.SOCK_STREAM
        return [(family, kind, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]

    emulator.deploy(ENV, count=COUNT)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
    url = emulator.url.replace("127.0.0.1", "localhost")
    async with TcbClient(emulator.token, base_url=url, retry=RetryPolicy(attempts=1)) as client:
        assert await client.count_functions(ENV) == COUNT


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
        calls = [asyncio.create_task(client.count_functions(ENV)) for _ in range(2)]
        await greeted.wait()

        closing = asyncio.create_task(client.aclose())
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.aclose()  # again, before, while and after the calls stop
        await closing

        errors = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        assert [type(error) for error in errors] == [ClientClosedError] * 2
