"""TLS is verified, by the caller's own context too, before a token is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tls_emulator import knows_our_ca, over_tls

from tcb_async import TcbClient, TransportError
from tcb_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from ssl import SSLContext

ENV = "test-777bb9"


async def test_a_certificate_that_no_known_ca_signed_is_refused_before_the_token_is_sent():
    emulator = Emulator()
    async with over_tls(emulator) as port:
        url = f"https://127.0.0.1:{port}"
        async with TcbClient(emulator.token, base_url=url) as client:
            with pytest.raises(TransportError, match="TLS certificate of 127") as caught:
                await client.count_functions(ENV)

    assert (caught.value.retryable, caught.value.attempts) == (False, 1)
    assert emulator.requests == ()


REFUSED = {
    "expired": ("certificate has expired", "its owner has to renew it.* this machine's clock"),
    "not-yet-valid": ("certificate is not yet valid", "check this machine's clock"),
    "other-host": ("IP address mismatch, .* not valid for '127.0.0.1'", "check base_url"),
    "self-signed": ("self-signed certificate", "pass an ssl_context that trusts it"),
    "unknown-ca": ("unable to get local issuer certificate", "pass an ssl_context .* its CA"),
}


@pytest.mark.parametrize("fault", REFUSED)
async def test_why_a_certificate_is_refused_is_said_in_openssls_words_with_what_to_do(fault):
    emulator = Emulator()
    unknown = fault == "unknown-ca"
    context: SSLContext | None = None if unknown else knows_our_ca()
    async with over_tls(emulator, "server" if unknown else fault) as port:
        url = f"https://127.0.0.1:{port}"
        async with TcbClient("T" * 40, base_url=url, ssl_context=context) as client:
            with pytest.raises(TransportError) as caught:
                await client.count_functions(ENV)

    reason, advice = REFUSED[fault]
    said = rf"certificate of 127\.0\.0\.1 was not accepted \({reason}.*\); {advice}"
    assert re.search(said, str(caught.value))
    assert (caught.value.retryable, caught.value.attempts) == (False, 1)
    assert emulator.requests == ()


async def test_a_tls_context_of_ones_own_may_know_a_private_ca():
    emulator = Emulator()
    emulator.deploy(ENV, count=45)
    async with over_tls(emulator) as port:
        url = f"https://127.0.0.1:{port}"
        async with TcbClient(emulator.token, base_url=url, ssl_context=knows_our_ca()) as client:
            assert len(await client.functions(ENV).collect()) == 45


async def test_a_certificate_for_another_host_is_refused_with_a_context_of_ones_own_too():
    emulator = Emulator()
    async with over_tls(emulator) as port:
        url = f"https://localhost:{port}"
        async with TcbClient(emulator.token, base_url=url, ssl_context=knows_our_ca()) as client:
            with pytest.raises(TransportError, match=r"Hostname mismatch.*'localhost'"):
                await client.count_functions(ENV)

    assert emulator.requests == ()


async def test_a_retry_on_a_new_connection_works_over_tls_as_well():
    emulator = Emulator()
    emulator.deploy(ENV)
    emulator.script([Fault.ok(), Fault.disconnect()])
    async with over_tls(emulator) as port:
        url = f"https://127.0.0.1:{port}"
        async with TcbClient(emulator.token, base_url=url, ssl_context=knows_our_ca()) as client:
            for _ in range(3):
                assert await client.count_functions(ENV) == 1

    assert len({request.peer_port for request in emulator.requests}) == 3


async def test_https_to_a_port_that_speaks_plain_http_is_a_clear_error(emulator):
    url = emulator.url.replace("http", "https")
    async with TcbClient(emulator.token, base_url=url) as client:
        with pytest.raises(
            TransportError, match=r"no TLS .*\(wrong version number\).* port"
        ) as caught:
            await client.count_functions(ENV)

    assert caught.value.attempts == 1
