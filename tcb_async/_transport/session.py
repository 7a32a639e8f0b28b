"""A client's session and the connections that it opens.

Rule: the first call makes the session, which belongs to one process and one event loop. The
caller's own session is used as it is, and never closed.

A proxy that serves only a few connections queues further ones until one is closed. A client that
keeps its connections alive closes none, so both would wait for ever. Therefore a list call whose
new connection stays silent for long is given up, and sent again on the connection of the next
request that ends: see `FirstAnswers`. A token call is not sent again, for it might be answered
twice: idle connections are closed instead, so that the proxy serves the next one in its queue.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import warnings
import weakref
from contextvars import ContextVar

import aiohttp
import attrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from tcb_async import __version__
from tcb_async._arguments import check_instance
from tcb_async._redact import Hidden
from tcb_async.exceptions import ClientClosedError
from tcb_async.limits import Window

# How many times as long as usual a new connection may stay silent. With less, a server that is slow
# now and then gets requests twice; with more, each surplus connection to a proxy costs more time.
_TIMES_AS_LONG = 3.0
# Seconds. If answers usually take a few milliseconds, any hiccup would seem long.
_AT_LEAST = 0.3
# Each first answer reduces the weight of the slowest one, to half after 34 answers: one slow start
# must not make the client patient for ever.
_FORGET = 0.98
# Seconds between two looks at a silent connection.
_LOOK = 0.05


@attrs.define(eq=False)
class FirstAnswers:
    """Gives up a request on a new connection that stays silent while others get answers.

    It waits three times as long as the slowest recent first answer took (the opening of its
    connection included), or as an answer to another request took meanwhile; at least 0.3 s, and
    twice as long each time that the request was given up. Then the window shrinks to the number of
    connections that get answers. A request that must not be sent twice shrinks the window too, and
    closes idle connections until it gets its answer.
    """

    window: Window
    # Requests that wait for a new connection, or for its first answer.
    waiting: set[InFlight] = attrs.field(init=False, factory=set["InFlight"])
    # Seconds of the slowest recent first answer.
    slowest: float = attrs.field(init=False, default=0.0)
    # The last request on each connection.
    users: weakref.WeakKeyDictionary[ResponseHandler, InFlight] = attrs.field(
        init=False, factory=weakref.WeakKeyDictionary["ResponseHandler", "InFlight"]
    )

    def close_idle_connections(self) -> None:
        for connection, user in tuple(self.users.items()):
            if user.has_ended:
                connection.close()


@attrs.define(eq=False)
class InFlight:
    """One try of a request, from the moment when it asks for a connection.

    Attributes:
        patience: How many times as long as usual it may wait.
        may_repeat: Whether it may be given up, and sent again.
        is_queued: Whether it waited too long, but must not be given up.
        has_ended: Whether it is over.
        since: Loop time at which its connection was started.
        waited: Seconds since then, in steps of `_LOOK`. Time in which the loop was busy does not
            count, because the answer may have arrived unread.
        answering: Number of connections that get answers: those in use at `since`, and newer ones.
        other_took: Seconds from `since` to the first answer to another request; None before it.
    """

    first_answers: FirstAnswers
    patience: float
    may_repeat: bool = True
    # The time limit; giving up brings it forward. Timers and connections keep the context in which
    # they were made, and with it this object, long after the request. So `end` drops the limit, or
    # its task, with a page as its result, would stay in memory.
    _limit: asyncio.Timeout | None = attrs.field(init=False, default=None)
    gave_up: bool = attrs.field(init=False, default=False)
    since: float = attrs.field(init=False, default=0.0)
    waited: float = attrs.field(init=False, default=0.0)
    answering: int = attrs.field(init=False, default=0)
    other_took: float | None = attrs.field(init=False, default=None)
    is_new: bool = attrs.field(init=False, default=False)
    is_queued: bool = attrs.field(init=False, default=False)
    has_ended: bool = attrs.field(init=False, default=False)
    _timer: asyncio.TimerHandle | None = attrs.field(init=False, default=None)

    def limit_time(self, seconds: float) -> asyncio.Timeout:
        """Open a block that raises `TimeoutError` after these seconds, or on `give_up`."""
        self._limit = asyncio.timeout(seconds)
        return self._limit

    def start_connection(self) -> None:
        self.is_new = True
        self.since = asyncio.get_running_loop().time()
        waiting = self.first_answers.waiting
        waiting.add(self)
        # An idle connection would have been used: so all others that get answers are in use.
        self.answering = self.first_answers.window.in_flight - len(waiting)
        self._look_later()

    def note_answer(self) -> None:
        first_answers, now = self.first_answers, asyncio.get_running_loop().time()
        is_first = self in first_answers.waiting
        if is_first:
            took = 0.0 if self.is_queued else now - self.since  # time in a queue is not usual
            first_answers.slowest = max(took, first_answers.slowest * _FORGET)
            self.stop_looking()
        for other in first_answers.waiting:
            other.answering += is_first
            other.other_took = other.other_took or now - other.since

    def give_up(self) -> None:
        """End the block, unless its limit has just passed, so that it ends anyway."""
        if self._limit is not None and not self._limit.expired():
            self.gave_up = True
            self._limit.reschedule(asyncio.get_running_loop().time())

    def stop_looking(self) -> None:
        self.first_answers.waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        self.stop_looking()
        self._limit = None
        self.has_ended = True

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def _look(self) -> None:
        # Looks are counted, and no clock is read: a loop that was blocked for a second looks once.
        self.waited += _LOOK
        if not self.may_repeat:
            self._make_room()
            self._look_later()
            return
        slowest = max(self.first_answers.slowest, self.other_took or 0.0)
        too_long = self.patience * max(_AT_LEAST, _TIMES_AS_LONG * slowest)
        # While no other request gets an answer either, the server is slow: no queue is the reason.
        if self.other_took is None or self.waited < too_long:
            self._look_later()
        else:
            self.first_answers.window.shrink_to(self.answering)
            self.give_up()

    def _make_room(self) -> None:
        """Close idle connections after a while, and shrink the window if others get answers."""
        first_answers, window = self.first_answers, self.first_answers.window
        if self.waited < _AT_LEAST:
            return
        first_answers.close_idle_connections()
        if self.other_took is not None and not self.is_queued:
            self.is_queued = True
            window.shrink_to(max(1, window.in_flight - len(first_answers.waiting)))


# The request for which a connection would be opened: aiohttp does not tell the socket factory.
IN_FLIGHT: ContextVar[InFlight] = ContextVar("tcb_async_in_flight")


def _open_socket(address: tuple[int, int, int, str, object]) -> socket.socket:
    """Open a socket, and tell its request. A request that reuses a connection needs no socket."""
    family, kind, protocol = address[:3]
    in_flight = IN_FLIGHT.get()
    if not in_flight.is_new:  # a host may have several addresses, each of which is tried
        in_flight.start_connection()
    return socket.socket(family, kind, protocol)


class Response(aiohttp.ClientResponse):
    """A response that cannot be the answer to an earlier request."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Wait for the answer to begin."""
        if connection.protocol is None or connection.protocol.should_close:
            # aiohttp keeps data that a server sends over an idle connection, and takes it for the
            # answer to the next request there [aiohttp #13656].
            raise aiohttp.ServerDisconnectedError
        in_flight = IN_FLIGHT.get()
        in_flight.first_answers.users[connection.protocol] = in_flight
        return await super().start(connection)


HEADERS = {
    # Uncompressed: aiohttp inflates a whole chunk before its size can be checked.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"tcb-async/{__version__}",
}


class QueryError(Exception):
    """Hides an error of aiohttp: its text may hold the URL, and tools log the texts of errors."""

    def __init__(self, error: Hidden[Exception]) -> None:
        super().__init__("the request failed")
        self.error = error


def add_query(url: Hidden[URL]) -> aiohttp.ClientMiddlewareType:
    """Return an aiohttp middleware that adds the query, below all hooks into the session.

    The session itself gets only the bare URL, because the agents of Elastic, Datadog and New Relic
    wrap its ``_request`` and record the arguments.
    """

    async def add(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.url = url.reveal()
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - any error of aiohttp's
            hidden = Hidden(error)
        raise QueryError(hidden)  # after the block: see `tcb_async._redact`

    return add


@attrs.define(eq=False)
class SessionKeeper:
    """Holds the caller's own session, or makes one at the first call."""

    window: Window
    trust_env: bool
    ssl_context: ssl.SSLContext | None
    _session: aiohttp.ClientSession | None = attrs.field(repr=False)
    foreign: bool = attrs.field(init=False)
    is_closed: bool = attrs.field(init=False, default=False)
    first_answers: FirstAnswers = attrs.field(init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)
    _pid: int = attrs.field(init=False, default=0)
    _forgotten: weakref.finalize[..., SessionKeeper] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.foreign = self._session is not None
        self.first_answers = FirstAnswers(self.window)
        if self._session is not None:
            check_instance("session", self._session, aiohttp.ClientSession, "of aiohttp")
        if self.ssl_context is not None:
            check_instance("ssl_context", self.ssl_context, ssl.SSLContext, "of the module ssl")

    def get_session(self) -> aiohttp.ClientSession:
        """Return the session, if it can be used in this process and on this loop."""
        if self.is_closed:
            raise ClientClosedError
        # Checked at each call: aiohttp's error on another loop names neither cause nor cure, and
        # after a fork two processes would read each other's answers from one connection.
        if self._pid != os.getpid():
            self._bind()
        elif self._loop is not asyncio.get_running_loop():
            raise ClientClosedError(f"this client {_OTHER_LOOP}")
        if self._session is None:
            self._session = self._make_session()
        return self._session

    async def aclose(self) -> None:
        """Close the session if it was made here; set `is_closed` first.

        After a fork it is left alone: it and its connections belong to the parent.
        """
        session = self._session
        if session is not None and not self.foreign and self._pid == os.getpid():
            self._forgotten.detach()
            # Closing a session does not end the opening of a connection: its request would wait on.
            for in_flight in self.first_answers.waiting:
                in_flight.give_up()
            await session.close()

    def _bind(self) -> None:
        if self._loop is not None:
            raise ClientClosedError(
                "this client was used before a fork: make one client per process, after the fork"
            )
        loop = asyncio.get_running_loop()
        if getattr(self._session, "_loop", loop) is not loop:
            raise ClientClosedError(f"the session that was passed in {_OTHER_LOOP}")
        self._loop, self._pid = loop, os.getpid()

    def _make_session(self) -> aiohttp.ClientSession:
        tls = True if self.ssl_context is None else self.ssl_context
        # The window limits requests. With a smaller limit, they would wait inside aiohttp, where
        # their time is already running.
        limit = max(100, self.window.ceiling)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, ssl=tls, socket_factory=_open_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            response_class=Response,
            trust_env=self.trust_env,
        )
        # Sentry and OpenTelemetry add their trace configs to every session, and would see each URL.
        session.trace_configs.clear()
        # The finalizer keeps the session alive. A session that is freed before this object, as in a
        # cycle, would warn by itself.
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
    session.detach()  # or aiohttp would warn too, for a session that the user never created
    # The first step closes the connections; no loop is left on which to wait for their end.
    next(connector.close().__await__(), None)


_OTHER_LOOP = "belongs to another event loop: make one client per loop (one asyncio.run)"
