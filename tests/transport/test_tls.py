"""TLS is verified, by the caller's own context too, before a token is sent."""

import re

import pytest
from tls_emulator import knows_our_ca, over_tls

from tcb_async import TcbClient, TransportError
from tcb_async.emulator import Emulator, Fault

ENV = "test-777bb9"


@pytest.fixture
def over_tls_of(stack, client_of):
    """Start an emulator behind TLS, and a client for it."""

    async def make(emulator, certificate="server", host="127.0.0.1", ssl_context=None):
        port = await stack.enter_async_context(over_tls(emulator, certificate))
        url = f"https://{host}:{port}"
        return await client_of(emulator, base_url=url, ssl_context=ssl_context)

    return make


REFUSED = [
    ("expired", "127.0.0.1", "certificate has expired"),
    ("not-yet-valid", "127.0.0.1", "certificate is not yet valid"),
    ("other-host", "127.0.0.1", ".* not valid for '127.0.0.1'"),
    ("server", "localhost", "Hostname mismatch.* 'localhost'"),
    ("self-signed", "127.0.0.1", "self-signed certificate"),
]


@pytest.mark.parametrize(("certificate", "host", "reason"), REFUSED)
async def test_refused_certificate_is_explained(over_tls_of, certificate, host, reason):
    """OpenSSL's reason, and the advice."""
    emulator = Emulator()
    client = await over_tls_of(emulator, certificate, host, knows_our_ca())
    await refused(client, host, reason)
    assert emulator.requests == ()


async def test_unknown_ca_is_refused_before_a_token_is_sent(
    over_tls_of,
):
    emulator = Emulator()
    client = await over_tls_of(emulator)
    await refused(client, "127.0.0.1", "unable to get local issuer certificate")
    assert emulator.requests == ()


async def refused(client, host, reason):
    with pytest.raises(TransportError) as caught:
        await client.count_functions(ENV)

    refusal = rf"certificate of {re.escape(host)} was not accepted \({reason}.*\)"
    said = rf"{refusal}; check this machine's clock and base_url, or pass an ssl_context"
    assert re.search(said, str(caught.value))
    assert (caught.value.retryable, caught.value.attempts) == (False, 1)


async def test_custom_tls_context_may_trust_a_private_ca(over_tls_of):
    emulator = Emulator()
    emulator.deploy(ENV, count=45)
    client = await over_tls_of(emulator, ssl_context=knows_our_ca())
    assert len(await client.functions(ENV).collect()) == 45


async def test_retry_on_a_new_connection_works_over_tls(over_tls_of):
    emulator = Emulator()
    emulator.deploy(ENV)
    emulator.script([Fault.ok(), Fault.disconnect()])
    client = await over_tls_of(emulator, ssl_context=knows_our_ca())
    for _ in range(3):
        assert await client.count_functions(ENV) == 1

    assert len({request.peer_port for request in emulator.requests}) == 3


async def test_https_to_a_plain_port_is_a_clear_error(emulator):
    url = emulator.url.replace("http", "https")
    async with TcbClient(emulator.token, base_url=url) as client:
        with pytest.raises(
            TransportError, match=r"not establish a TLS .*\(wrong version number\).* port"
        ) as caught:
            await client.count_functions(ENV)

    assert caught.value.attempts == 1
