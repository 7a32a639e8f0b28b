"""The emulator with TLS and a certificate of the tests."""

import ssl
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from unittest.mock import patch

import aiohttp
from aiohttp import web

CERTIFICATES = Path(__file__).parents[1] / "certificates"


@asynccontextmanager
async def over_tls(emulator, certificate="server"):
    """Run an emulator on a port of 127.0.0.1, with a certificate of the tests' own CA."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    server = web.Server(emulator._handle, access_log=None, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextmanager
def trust_our_ca():
    """Have every session trust the tests' CA, as SSL_CERT_FILE does if it is set before aiohttp."""
    context = ssl.create_default_context(cafile=str(CERTIFICATES / "ca.pem"))
    with patch.object(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", context):
        yield
