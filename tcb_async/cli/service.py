"""The service that a command asks: WeChat, or the demonstration.

Rule: a command opens one client, and everything that it needs is closed with it.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs

from tcb_async._redact import Secret
from tcb_async.cli.credentials import Credentials, GivenToken
from tcb_async.cli.demo import demo_emulator
from tcb_async.client import TcbClient
from tcb_async.emulator import DEMO_ENV
from tcb_async.exceptions import TransportError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tcb_async.tokens import TokenProvider

__all__ = ["Demonstration", "Service", "WeChat"]


@attrs.frozen
class WeChat:
    """WeChat itself, or whatever answers in its place.

    Attributes:
        credentials: The account.
        base_url: Where it answers.
        allow_http: Whether the token may travel in the clear.
        trust_env: Whether to use the proxy that the environment names, and ``.netrc``.
    """

    credentials: Credentials
    base_url: str
    allow_http: bool = False
    trust_env: bool = False

    @property
    def source(self) -> dict[str, str]:
        """Which service and which account, for an export that is continued later."""
        return {"service": self.base_url, "account": self.credentials.account}

    @asynccontextmanager
    async def open(self, *, concurrency: int = 8) -> AsyncGenerator[TcbClient]:
        """Open a client, and what its token needs."""
        async with (
            self.credentials.provider() as provider,
            self.client(provider, concurrency=concurrency) as client,
        ):
            yield client

    @asynccontextmanager
    async def client(
        self, provider: TokenProvider, *, concurrency: int = 8
    ) -> AsyncGenerator[TcbClient]:
        """Open a client with a token provider that is open already."""
        client = TcbClient(
            provider,
            base_url=self.base_url,
            allow_http=self.allow_http,
            trust_env=self.trust_env,
            concurrency=concurrency,
        )
        async with client:
            try:
                yield client
            except TransportError as error:
                if error.status is None and (proxy := self._unused_proxy()):
                    error.add_note(f"{proxy} is set, but not used: pass --trust-env to use it")
                raise

    def _unused_proxy(self) -> str:
        """The variable that names a proxy for this service, if we do not use it."""
        url = urlsplit(self.base_url)
        if self.trust_env or url.scheme not in getproxies() or proxy_bypass(url.hostname or ""):
            return ""
        name = f"{url.scheme}_proxy"
        return name if name in os.environ else name.upper()


@attrs.frozen
class Demonstration:
    """The demonstration: an emulator in this process.

    Attributes:
        env: The environment that it holds.
        is_changing: Whether functions are deployed, updated and deleted meanwhile.
    """

    env: str = DEMO_ENV
    is_changing: bool = False

    @property
    def source(self) -> dict[str, str]:
        """No service and no account of anybody."""
        return {"service": "the demonstration", "account": ""}

    @asynccontextmanager
    async def open(self, *, concurrency: int = 8) -> AsyncGenerator[TcbClient]:
        """Start the emulator, and open a client of it."""
        async with demo_emulator(self.env, is_changing=self.is_changing) as emulator:
            token = GivenToken("the demonstration", Secret(emulator.token))
            async with WeChat(token, emulator.url).open(concurrency=concurrency) as client:
                yield client


Service = WeChat | Demonstration
