"""TLS is verified, by the caller's own context too, before a token is sent."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tcb_async import TcbClient, TransportError
from tcb_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ENV = "test-777bb9"
CERTIFICATES = Path(__file__).parent / "certificates"


@asynccontextmanager
async def over_tls(emulator: Emulator) -> AsyncIterator[int]:
    """The emulator behind TLS, with a certificate for 127.0.0.1 that a CA of the tests signed."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATES / "server.pem")
    runner = web.AppRunner(emulator.app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def knows_our_ca() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATES / "ca.pem"))


async def test_a_certificate_that_no_known_ca_signed_is_refused_before_the_token_is_sent() -> None:
    emulator = Emulator()
    async with over_tls(emulator) as port:
        url = f"https://127.0.0.1:{port}"
        async with TcbClient(emulator.token, base_url=url) as client:
            with pytest.raises(TransportError, match="TLS certificate of 127") as caught:
                await client.count_functions(ENV)

    assert (caught.value.retryable, caught.value.attempts) == (False, 1)
    assert emulator.requests == ()


async def test_a_tls_context_of_ones_own_may_know_a_private_ca() -> None:
    emulator = Emulator()
    emulator.deploy(ENV, count=45)
    async with over_tls(emulator) as port:
        url = f"https://127.0.0.1:{port}"
        async with TcbClient(emulator.token, base_url=url, ssl_context=knows_our_ca()) as client:
            assert len(await client.functions(ENV).collect()) == 45


async def test_a_certificate_for_another_host_is_refused_with_a_context_of_ones_own_too() -> None:
    emulator = Emulator()
    async with over_tls(emulator) as port:
        url = f"https://localhost:{port}"
        async with TcbClient(emulator.token, base_url=url, ssl_context=knows_our_ca()) as client:
            with pytest.raises(TransportError, match="TLS certificate of localhost"):
                await client.count_functions(ENV)

    assert emulator.requests == ()


async def test_a_retry_on_a_new_connection_works_over_tls_as_well() -> None:
    emulator = Emulator()
    emulator.deploy(ENV)
    emulator.script([Fault.ok(), Fault.disconnect()])
    async with over_tls(emulator) as port:
        url = f"https://127.0.0.1:{port}"
        async with TcbClient(emulator.token, base_url=url, ssl_context=knows_our_ca()) as client:
            for _ in range(3):
                assert await client.count_functions(ENV) == 1

    assert len({request.peer_port for request in emulator.requests}) == 3


async def test_https_to_a_port_that_speaks_plain_http_is_a_clear_error(emulator: Emulator) -> None:
    url = emulator.url.replace("http", "https")
    async with TcbClient(emulator.token, base_url=url) as client:
        with pytest.raises(TransportError, match=r"no TLS .* scheme and port") as caught:
            await client.count_functions(ENV)

    assert caught.value.attempts == 1
