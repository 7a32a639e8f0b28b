"""The emulator behind TLS, with one of the certificates of the tests."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tcb_async.emulator import Emulator

__all__ = ["CERTIFICATES", "knows_our_ca", "over_tls"]

CERTIFICATES = Path(__file__).parents[1] / "certificates"


@asynccontextmanager
async def over_tls(
    emulator: Emulator, certificate: str = "server", *, port: int = 0
) -> AsyncIterator[int]:
    """Serve an emulator on a port of 127.0.0.1, with a certificate of the tests' own CA."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    runner = web.AppRunner(
        emulator.app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def knows_our_ca() -> ssl.SSLContext:
    """Trust the tests' CA."""
    return ssl.create_default_context(cafile=str(CERTIFICATES / "ca.pem"))
