"""A client's session.

Rule: the first call makes the session, on its event loop; a call on a different loop, or after a
fork, is refused. A session of the caller's is used as it is, and never closed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable

import aiohttp
import attrs
from aiohttp.connector import Connection
from yarl import URL

from tcb_async._arguments import check_instance
from tcb_async._version import __version__
from tcb_async.exceptions import ClientClosedError

HEADERS: dict[str, str] = {
    # Uncompressed: aiohttp inflates a whole chunk before its size can be checked.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
"""The headers of every request. A session of the caller's keeps its own User-Agent."""


class Response(aiohttp.ClientResponse):
    """A response that cannot be the reply to an earlier request."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the head of the reply; refuse a connection that is closing or has older data."""
        if connection.protocol is None or connection.protocol.should_close:
            # aiohttp stores data that a server sends over an idle connection, and takes it for the
            # reply to the next request there [aiohttp #13656].
            raise aiohttp.ServerDisconnectedError
        return await super().start(connection)


def add_query(url: URL) -> aiohttp.ClientMiddlewareType:
    """Return an aiohttp middleware that adds the query, below all hooks into the session.

    So the tools that record the requests of a session, such as Elastic's and Datadog's agents, see
    no token, and most of aiohttp's errors contain none.
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

    trust_env: bool = False
    _session: aiohttp.ClientSession | None = attrs.field(default=None, repr=False, alias="session")
    is_callers_session: bool = attrs.field(init=False)
    is_closed: bool = attrs.field(init=False, default=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)
    _process: int = attrs.field(init=False, default=0)  # of the loop

    def __attrs_post_init__(self) -> None:
        self.is_callers_session = self._session is not None
        if self._session is not None:
            check_instance("session", self._session, aiohttp.ClientSession, "of aiohttp")
            self._loop = getattr(self._session, "_loop", None)
            self._process = os.getpid()

    def get_session(self) -> aiohttp.ClientSession:
        """Return the session.

        Raises:
            ClientClosedError: It is closed, or of a different loop or process.
        """
        if self.is_closed:
            raise ClientClosedError
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._process = os.getpid()
        self._check_loop(self._loop)
        if self._session is None:
            self._session = self._make_session()
        return self._session

    def refuse_calls(self) -> None:
        """Refuse further calls.

        Raises:
            ClientClosedError: The session is of a different loop, which is not closed, or process.
        """
        if self._loop is not None and not self._loop.is_closed():
            self._check_loop(self._loop)
        self.is_closed = True

    def _check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        # A forked child may run the same loop: it would read the parent's replies.
        if self._process != os.getpid():
            raise ClientClosedError(
                "this client was used before a fork: make one client per process, after the fork"
            )
        # aiohttp's error on a second loop names neither cause nor cure.
        if loop is not asyncio.get_running_loop():
            raise ClientClosedError(
                "this client belongs to another event loop: make one client per loop (one "
                "asyncio.run)"
            )

    async def aclose(self) -> None:
        """Close a session that was made here, after `refuse_calls`."""
        if self._session is not None and not self.is_callers_session:
            await self._session.close()

    def _make_session(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            # Without a limit: a request that waited inside aiohttp would lose its time there.
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS | {"User-Agent": f"tcb-async/{__version__}"},
            response_class=Response,
            trust_env=self.trust_env,
        )
        # Sentry and OpenTelemetry add their trace configs to every session: they would see the
        # token in the URL of the request that is sent.
        session.trace_configs.clear()
        return session
