"""The session that a client's calls go through, and the connections that it makes.

Rule: made late and bound to one process and one event loop; one that was handed in is used as it
is, and its owner closes it.

A proxy that serves only a few connections leaves the others in its queue until one of those is
closed, and a client that keeps its connections alive closes none: they would wait for each other.
So a list call that a new connection does not answer in time is given up, and is sent again once
another request is over, whose connection it takes; see `NewConnections`.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import ssl
import warnings
import weakref
from contextvars import ContextVar

import aiohttp
import attrs
from aiohttp.connector import Connection
from yarl import URL

from tcb_async import __version__
from tcb_async._arguments import checked_instance
from tcb_async._redact import Hidden
from tcb_async.exceptions import ClientClosedError
from tcb_async.limits import Window

_TIMES_AS_LONG = 3.0
_AT_LEAST = 0.3
"""Seconds."""
_FORGET = 0.98
"""By each first answer, the slowest one counts less."""
_LOOK = 0.05
"""Seconds between two looks at a request that waits for the first answer of its connection."""


@attrs.define(eq=False)
class NewConnections:
    """Gives up what a new connection does not answer, while others are answered.

    It waits three times as long as the slowest first answer of late took, the making of the
    connection included, or another answer since; 0.3 s at least, and twice as long for what was
    given up before. Then the window shrinks to as many requests as there are connections that are
    answered.
    """

    window: Window
    waiting: set[Sending] = attrs.field(init=False, factory=set["Sending"])
    """Requests that wait for a new connection, or for its first answer."""
    slowest: float = attrs.field(init=False, default=0.0)
    """Seconds of the slowest first answer of late."""


@attrs.define(eq=False)
class Sending:
    """One request on its way, from when it asks for a connection.

    Attributes:
        patience: How many times as long as usual it may wait; infinite for what is never given up.
        since: When a connection was begun for it, by the loop's clock.
        waited: Seconds since then, at most; those in which the loop was busy do not count, for the
            answer may be there, unread.
        answered: How many other connections were answered: those in use then, and new ones since.
        other_took: Seconds from then until another request was answered; None if none was.
    """

    connections: NewConnections
    patience: float
    # What ends it when it is given up. A timer and a connection keep the context that they were
    # made in, and this with it, for long after the request: so its task, whose result is a page, is
    # let go of by `end`.
    _timeout: asyncio.Timeout | None = attrs.field(init=False, default=None)
    gave_up: bool = attrs.field(init=False, default=False)
    since: float = attrs.field(init=False, default=0.0)
    waited: float = attrs.field(init=False, default=0.0)
    answered: int = attrs.field(init=False, default=0)
    other_took: float | None = attrs.field(init=False, default=None)
    is_new: bool = attrs.field(init=False, default=False)
    _timer: asyncio.TimerHandle | None = attrs.field(init=False, default=None)

    def limit(self, seconds: float) -> asyncio.Timeout:
        """Open a block that raises `TimeoutError` after so long, or when this is given up."""
        self._timeout = asyncio.timeout(seconds)
        return self._timeout

    def begin(self) -> None:
        self.is_new = True
        self.since = asyncio.get_running_loop().time()
        waiting = self.connections.waiting
        waiting.add(self)
        # A connection that is answered and idle would have been used: so those are in use.
        self.answered = self.connections.window.in_flight - len(waiting)
        if self.patience < math.inf:
            self._look_later()

    def note_answer(self) -> None:
        connections, now = self.connections, asyncio.get_running_loop().time()
        is_first = self in connections.waiting
        if is_first:
            connections.slowest = max(now - self.since, connections.slowest * _FORGET)
            self.stop_looking()
        for other in connections.waiting:
            other.answered += is_first
            other.other_took = other.other_took or now - other.since

    def give_up(self) -> None:
        """End its block, unless the limit has just passed: that end is on its way."""
        if self._timeout is not None and not self._timeout.expired():
            self.gave_up = True
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def stop_looking(self) -> None:
        self.connections.waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        self.stop_looking()
        self._timeout = None

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def _look(self) -> None:
        self.waited += _LOOK
        slowest = max(self.connections.slowest, self.other_took or 0.0)
        too_long = self.patience * max(_AT_LEAST, _TIMES_AS_LONG * slowest)
        if self.other_took is None or self.waited < too_long:
            self._look_later()
        else:
            self.connections.window.shrink_to(self.answered)
            self.give_up()


SENDING: ContextVar[Sending] = ContextVar("tcb_async_sending")
"""The request that a connection would be made for."""


def _new_socket(address: tuple[int, int, int, str, object]) -> socket.socket:
    """Make a socket, and note whose it is: a request that finds a connection has no use for one."""
    family, kind, protocol = address[:3]
    sending = SENDING.get()
    if not sending.is_new:  # a host may have several addresses, each of which is tried
        sending.begin()
    return socket.socket(family, kind, protocol)


class Response(aiohttp.ClientResponse):
    """A response that is no answer to an earlier request."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Wait for the answer to begin."""
        if connection.protocol is None or connection.protocol.should_close:
            # aiohttp keeps what a server sends unasked by an idle connection, and takes it for the
            # answer to the next request there [aiohttp #13656].
            raise aiohttp.ServerDisconnectedError
        return await super().start(connection)


HEADERS = {
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"tcb-async/{__version__}",
}


class QueryError(Exception):
    """An error of aiohttp's, whose text may hold the URL: tools that wrap a session log texts."""

    def __init__(self, error: Hidden[Exception]) -> None:
        super().__init__("the request failed")
        self.error = error


def add_query(url: Hidden[URL]) -> aiohttp.ClientMiddlewareType:
    """Return a middleware of aiohttp's that adds the query below all that hooks into the session.

    The session itself gets the bare URL only: Elastic's agent, Datadog's and New Relic's wrap its
    ``_request``, and record what it is called with.
    """

    async def add(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.url = url.reveal()
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - any error of aiohttp's
            hidden = Hidden(error)
        raise QueryError(hidden)

    return add


@attrs.define(eq=False)
class SessionKeeper:
    """Holds the caller's own session, or makes one for the first call."""

    window: Window
    trust_env: bool
    ssl_context: ssl.SSLContext | None
    _session: aiohttp.ClientSession | None = attrs.field(repr=False)
    foreign: bool = attrs.field(init=False)
    closed: bool = attrs.field(init=False, default=False)
    connections: NewConnections = attrs.field(init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)
    _pid: int = attrs.field(init=False, default=0)
    _forgotten: weakref.finalize[..., SessionKeeper] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.foreign = self._session is not None
        self.connections = NewConnections(self.window)
        if self._session is not None:
            checked_instance("session", self._session, aiohttp.ClientSession, "of aiohttp")
        if self.ssl_context is not None:
            checked_instance("ssl_context", self.ssl_context, ssl.SSLContext, "of the module ssl")

    def get_session(self) -> aiohttp.ClientSession:
        """Return the session, if it can be used in this process and on this loop."""
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
        """Close the session if it is this one's to close; it is to be `closed` before.

        After a fork it is left alone: it is the parent's, and so are its connections.
        """
        session = self._session
        if session is not None and not self.foreign and self._pid == os.getpid():
            self._forgotten.detach()
            for sending in self.connections.waiting:
                sending.give_up()
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
            connector=aiohttp.TCPConnector(limit=limit, ssl=tls, socket_factory=_new_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            response_class=Response,
            trust_env=self.trust_env,
        )
        # Sentry and OpenTelemetry add theirs to every session, which would see each URL.
        session.trace_configs.clear()
        # It keeps the session alive: freed before this, as in a cycle, that would warn by itself.
        self._forgotten = weakref.finalize(self, _close_forgotten, session, os.getpid())
        return session


def _close_forgotten(session: aiohttp.ClientSession, pid: int) -> None:
    """Warn of a client that was not closed, and close its connections unless a parent has them."""
    connector = session.connector
    if connector is None or pid != os.getpid():
        return
    warnings.warn(
        "unclosed TcbClient: enter it with `async with`, or await its aclose()",
        ResourceWarning,
        source=session,
        stacklevel=1,
    )
    session.detach()  # or aiohttp would warn too, of a session that its user does not know
    # It closes the connections at its first step; there is no loop to wait for their end.
    next(connector.close().__await__(), None)


_OTHER_LOOP = "belongs to another event loop: make one client per loop (one asyncio.run)"
