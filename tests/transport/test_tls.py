"""TLS is verified, by the caller's own context too, before a token is sent."""

import asyncio
import re

import pytest
from constants import ENV
from tls_emulator import knows_our_ca, over_tls

from tcb_async import RetryPolicy, TcbClient, TransportError
from tcb_async.emulator import Emulator, Fault


@pytest.fixture
def over_tls_of(stack, client_of):
    """Start an emulator behind TLS, and a client for it."""

    async def make(emulator, certificate="server", host="127.0.0.1", ssl_context=None):
        port = await stack.enter_async_context(over_tls(emulator, certificate))
        url = f"https://{host}:{port}"
        return await client_of(emulator, base_url=url, ssl_context=ssl_context)

    return make


@pytest.mark.parametrize(
    ("certificate", "host", "reason"),
    [
        ("expired", "127.0.0.1", "certificate has expired"),
        ("not-yet-valid", "127.0.0.1", "certificate is not yet valid"),
        ("other-host", "127.0.0.1", ".*not valid for '127.0.0.1'"),
        ("server", "localhost", "Hostname mismatch.*'localhost'"),
        ("self-signed", "127.0.0.1", "self-signed certificate"),
        ("of an unknown CA", "127.0.0.1", "unable to get local issuer certificate"),
    ],
)
async def test_certificate_is_refused_before_a_token_is_sent(
    over_tls_of, certificate, host, reason
):
    emulator = Emulator()
    if certificate == "of an unknown CA":
        client = await over_tls_of(emulator)
    else:
        client = await over_tls_of(emulator, certificate, host, knows_our_ca())
    with pytest.raises(TransportError) as caught:
        await client.count_functions(ENV)

    said = (
        rf"certificate of {re.escape(host)} was not accepted \({reason}.*\); check this machine's "
    )
    assert re.search(said + "clock and the base URL, or trust", caught.value.message)
    assert (caught.value.retryable, caught.value.attempts) == (False, 1)
    assert emulator.requests == ()


async def test_dropped_connection_is_replaced_over_tls(over_tls_of):
    emulator = Emulator()
    emulator.deploy(ENV)
    emulator.script([Fault.ok(), Fault.disconnect()])
    client = await over_tls_of(emulator, ssl_context=knows_our_ca())
    for _ in range(3):
        assert await client.count_functions(ENV) == 1

    assert len({request.peer_port for request in emulator.requests}) == 2


async def test_https_to_a_plain_port_is_a_clear_error(emulator):
    url = emulator.url.replace("http", "https")
    async with TcbClient(emulator.token, base_url=url) as client:
        with pytest.raises(
            TransportError, match=r"not establish a TLS .*\(wrong version number\).* port"
        ) as caught:
            await client.count_functions(ENV)

    assert caught.value.attempts == 1


async def test_closed_handshake_is_a_clear_error():
    async def close(reader, writer):
        await reader.read(2**16)
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with TcbClient("T", base_url=url, retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(TransportError, match=r"\(it closed the .* during the TLS handsh"):
                await client.count_functions(ENV)
