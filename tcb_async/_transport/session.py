"""A client's session.

Rule: the first call makes the session, which belongs to one process and one event loop. A session
of the caller's is used as it is, and never closed.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import warnings
import weakref
from collections.abc import Awaitable

import aiohttp
import attrs
from aiohttp.connector import Connection
from yarl import URL

from tcb_async import __version__
from tcb_async._arguments import check_instance
from tcb_async.exceptions import ClientClosedError

HEADERS: dict[str, str] = {
    # Uncompressed: aiohttp inflates a whole chunk before its size can be checked.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
"""The headers of every request. A session of the caller's keeps its own User-Agent."""
_OTHER_LOOP = "belongs to another event loop: make one client per loop (one asyncio.run)"


class Response(aiohttp.ClientResponse):
    """A response that cannot be the reply to an earlier request."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Wait for the first bytes of the reply."""
        if connection.protocol is None or connection.protocol.should_close:
            # aiohttp stores data that a server sends over an idle connection, and takes it for the
            # reply to the next request there [aiohttp #13656].
            raise aiohttp.ServerDisconnectedError
        return await super().start(connection)


def add_query(url: URL) -> aiohttp.ClientMiddlewareType:
    """Return an aiohttp middleware that adds the query, below all hooks into the session.

    So the tools that record the requests of a session, such as Elastic's and Datadog's agents, see
    no token, and neither do the texts of most of aiohttp's errors.
    """

    def add(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> Awaitable[aiohttp.ClientResponse]:
        request.url = url
        return handler(request)

    return add


@attrs.define(eq=False)
class SessionKeeper:
    """Keeps the caller's session, or makes one at the first call."""

    max_connections: int
    trust_env: bool = False
    ssl_context: ssl.SSLContext | None = None
    _session: aiohttp.ClientSession | None = attrs.field(default=None, repr=False, alias="session")
    is_callers_session: bool = attrs.field(init=False)
    is_closed: bool = attrs.field(init=False, default=False)
    # Of all attempts in flight.
    time_limits: set[asyncio.Timeout] = attrs.field(init=False, factory=set[asyncio.Timeout])
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)
    _pid: int = attrs.field(init=False, default=0)
    _finalizer: weakref.finalize[..., SessionKeeper] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.is_callers_session = self._session is not None
        if self._session is not None:
            check_instance("session", self._session, aiohttp.ClientSession, "of aiohttp")
        if self.ssl_context is not None:
            check_instance("ssl_context", self.ssl_context, ssl.SSLContext, "of the module ssl")

    def get_session(self) -> aiohttp.ClientSession:
        """Return the session, if it can be used in this process and on this loop."""
        if self.is_closed:
            raise ClientClosedError
        # Checked at each call: aiohttp's error on a second loop names neither cause nor cure, and
        # after a fork two processes would read each other's replies from one connection.
        if self._pid != os.getpid():
            self._bind()
        else:
            self._check_loop()
        if self._session is None:
            self._session = self._make_session()
        return self._session

    def close(self) -> None:
        """Refuse further calls; raise while a different loop, which is open, has this client."""
        if self._loop is not None and self._pid == os.getpid() and not self._loop.is_closed():
            self._check_loop()
        self.is_closed = True

    def _check_loop(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            raise ClientClosedError(f"this client {_OTHER_LOOP}")

    async def aclose(self) -> None:
        """Stop all attempts, and close the session if it was made here; call `close` first.

        A forked child leaves both alone: they belong to the parent.
        """
        session = self._session
        if session is None or self._pid != os.getpid():
            return
        # Closing a session does not abort a pending connection attempt: its request would wait.
        for limit in self.time_limits:
            if not limit.expired():
                limit.reschedule(0.0)
        if not self.is_callers_session:
            self._finalizer.detach()
            await session.close()

    def _bind(self) -> None:
        if self._loop is not None:
            raise ClientClosedError(
                "this client was used before a fork: make one client per process, after the fork"
            )
        loop = asyncio.get_running_loop()
        if getattr(self._session, "_loop", loop) is not loop:
            raise ClientClosedError(f"the session that was passed in {_OTHER_LOOP}")
        self._loop = loop
        self._pid = os.getpid()

    def _make_session(self) -> aiohttp.ClientSession:
        tls = True if self.ssl_context is None else self.ssl_context
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.max_connections, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS | {"User-Agent": f"tcb-async/{__version__}"},
            response_class=Response,
            trust_env=self.trust_env,
        )
        # Sentry and OpenTelemetry add their trace configs to every session, and would see each URL.
        session.trace_configs.clear()
        # The finalizer keeps the session alive. A session that is freed before this object, as in a
        # cycle, would warn by itself.
        self._finalizer = weakref.finalize(self, _close_forgotten, session, os.getpid())
        return session


def _close_forgotten(session: aiohttp.ClientSession, pid: int) -> None:
    """Warn about an unclosed client and close its connections, except in a forked child."""
    connector = session.connector
    if connector is None or pid != os.getpid():
        return
    warnings.warn(
        "unclosed TcbClient: enter it with `async with`, or await its aclose()",
        ResourceWarning,
        source=session,
        stacklevel=1,
    )
    # The first step closes the connections; no loop remains on which to wait for the rest. aiohttp
    # does not warn about a session whose connector is closed.
    next(connector.close().__await__(), None)
