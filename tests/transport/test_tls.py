"""TLS is verified before a token is sent."""

import asyncio
import os
import re
import sys

import pytest
from constants import ENV
from tls_emulator import CERTIFICATES, over_tls, trust_our_ca

from tcb_async import RetryPolicy, TcbClient, TransportError
from tcb_async.emulator import Emulator, Fault


@pytest.fixture
def over_tls_of(stack, client_of):
    """Start an emulator behind TLS, and a client for it."""

    async def make(emulator, certificate="server", host="127.0.0.1", *, is_trusted=True):
        if is_trusted:
            stack.enter_context(trust_our_ca())
        port = await stack.enter_async_context(over_tls(emulator, certificate))
        return await client_of(emulator, base_url=f"https://{host}:{port}")

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
        client = await over_tls_of(emulator, is_trusted=False)
    else:
        client = await over_tls_of(emulator, certificate, host)
    with pytest.raises(TransportError) as caught:
        await client.function_page(ENV)

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
    client = await over_tls_of(emulator)
    for _ in range(3):
        assert (await client.function_page(ENV)).total == 1

    assert [request.fault for request in emulator.requests] == [None, "disconnect", None, None]


async def test_https_to_a_plain_port_is_a_clear_error(emulator):
    url = emulator.url.replace("http", "https")
    async with TcbClient(emulator.token, base_url=url) as client:
        with pytest.raises(
            TransportError, match=r"not establish a TLS .*\(wrong version number\).* port"
        ) as caught:
            await client.function_page(ENV)

    assert caught.value.attempts == 1


async def test_closed_handshake_is_a_clear_error():
    async def close(reader, writer):
        await reader.read(2**16)
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with TcbClient("T", base_url=url, retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(TransportError, match=r"\(it closed the .* during the TLS handsh"):
                await client.function_page(ENV)


COUNT = """
import asyncio, sys
from tcb_async import TcbClient

async def main(url):
    async with TcbClient("{token}", base_url=url) as client:
        print((await client.function_page("test-777bb9")).total)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.slow
async def test_ca_in_the_environment_is_trusted():
    emulator = Emulator()
    emulator.deploy(ENV, count=7)
    async with over_tls(emulator) as port:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", COUNT.format(token=emulator.token), f"https://127.0.0.1:{port}",
            env={**os.environ, "SSL_CERT_FILE": str(CERTIFICATES / "ca.pem")},
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await child.communicate()

    assert said == b"7\n"
