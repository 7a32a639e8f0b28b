"""The session that a client's calls go through.

Rule: made late and bound to one process and one event loop; one that was handed in is used as it
is, and its owner closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import warnings
import weakref
from typing import TYPE_CHECKING

import aiohttp
import attrs

from tcb_async._arguments import checked_instance
from tcb_async._redact import Hidden
from tcb_async._transport.connections import Connector, Queue, Response
from tcb_async._version import __version__
from tcb_async.exceptions import ClientClosedError

if TYPE_CHECKING:
    from yarl import URL

    from tcb_async.limits import Window

__all__ = ["HEADERS", "AddQuery", "QueryError", "SessionKeeper", "cause_of"]

HEADERS = {
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"tcb-async/{__version__}",
}


class QueryError(Exception):
    """An error of aiohttp's, whose text may hold the URL: whoever wraps a session logs texts."""

    def __init__(self, error: Hidden[Exception]) -> None:
        super().__init__("the request failed")
        self.error = error


def cause_of(error: Exception) -> Exception:
    """Return aiohttp's own error."""
    return error.error.reveal() if isinstance(error, QueryError) else error


class AddQuery:
    """Adds the query to a request below whatever wraps the session or hooks into it.

    This is a middleware of aiohttp's. The session itself is told the bare URL only: Elastic's
    agent, Datadog's and New Relic's wrap its ``_request``, and record what it is called with.
    """

    __slots__ = ("_url",)

    def __init__(self, url: Hidden[URL]) -> None:
        self._url = url

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send the request with its query."""
        request.url = self._url.reveal()
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - whatever aiohttp raises
            hidden = Hidden(error)
        raise QueryError(hidden)


@attrs.define(eq=False)
class SessionKeeper:
    """Holds a session, or makes one for the first call.

    Args:
        window: How many requests there may be at once. It is told if there are too many.
        trust_env: Whether to use the proxy that the environment names, and ``.netrc``.
        ssl_context: The caller's own TLS context; None for one that verifies as usual.
        session: The caller's own session; None to make one.
    """

    window: Window
    trust_env: bool
    ssl_context: ssl.SSLContext | None
    _session: aiohttp.ClientSession | None = attrs.field(repr=False)
    foreign: bool = attrs.field(init=False)
    closed: bool = attrs.field(init=False, default=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)
    _pid: int = attrs.field(init=False, default=0)
    _forgotten: weakref.finalize[..., SessionKeeper] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.foreign = self._session is not None
        if self._session is not None:
            checked_instance("session", self._session, aiohttp.ClientSession, "of aiohttp")
        if self.ssl_context is not None:
            checked_instance("ssl_context", self.ssl_context, ssl.SSLContext, "of the module ssl")

    def session(self) -> aiohttp.ClientSession:
        """Return the session.

        Raises:
            ClientClosedError: It was closed, or cannot be used in this process or on this loop.
        """
        if self.closed:
            raise ClientClosedError("this client was closed: make a new one")
        if self._pid != os.getpid():
            self._bind()
        elif self._loop is not asyncio.get_running_loop():
            raise ClientClosedError(f"this client {_OTHER_LOOP}")
        if self._session is None:
            self._session = self._new_session()
        return self._session

    async def aclose(self) -> None:
        """Close the session if it is this one's to close. Closing twice does nothing.

        After a fork it is left alone: it is the parent's, and so are its connections.
        """
        self.closed = True
        session = self._session
        if session is not None and not self.foreign and self._pid == os.getpid():
            self._forgotten.detach()
            if isinstance(session.connector, Connector):
                session.connector.queue.close()
            await session.close()

    def _bind(self) -> None:
        if self._loop is not None:
            raise ClientClosedError(
                "this client was used before a fork: make one client per process, after the fork"
            )
        loop = asyncio.get_running_loop()
        if getattr(self._session, "_loop", loop) is not loop:
            raise ClientClosedError(f"the session that was handed in {_OTHER_LOOP}")
        self._loop, self._pid = loop, os.getpid()

    def _new_session(self) -> aiohttp.ClientSession:
        tls = True if self.ssl_context is None else self.ssl_context
        limit = max(100, self.window.ceiling)
        session = aiohttp.ClientSession(
            connector=Connector(Queue(self.window.shrink_to), limit=limit, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            response_class=Response,
            trust_env=self.trust_env,
        )
        session.trace_configs.clear()  # Sentry and OpenTelemetry add theirs to every session
        # It keeps the session alive: freed before this, as in a cycle, that would warn by itself.
        self._forgotten = weakref.finalize(self, _close_forgotten, session, os.getpid())
        return session


def _close_forgotten(session: aiohttp.ClientSession, pid: int) -> None:
    """Warn of a client that nobody closed, and close its connections: unless a parent's, forked."""
    connector = session.connector
    if connector is None or pid != os.getpid():
        return
    warnings.warn(
        "unclosed TcbClient: enter it with `async with`, or await its aclose()",
        ResourceWarning,
        source=session,
        stacklevel=1,
    )
    session.detach()  # or aiohttp would warn too, of a session that nobody has heard of
    closing = _close(connector)
    with contextlib.suppress(StopIteration):
        closing.send(None)  # it closes the connections now; nobody can wait for their end
    closing.close()


async def _close(connector: aiohttp.BaseConnector) -> None:
    await connector.close()


_OTHER_LOOP = "belongs to another event loop: make one client per loop (one asyncio.run)"
