"""The connections of a client's own session: which are new, which lie idle, which get no answer.

Rule: no connection lies idle while a new one waits for its first answer in vain.

A proxy that serves only so many connections leaves the others in its queue until one of those is
closed, and a client that keeps its connections alive closes none: they would wait for each other.
So once new connections have waited far longer than others took to be answered, while one of these
lies idle,

- the window shrinks to as many connections as get answers;
- a request that still waits for a connection to be made gives that up, and takes one that is idle,
  or the next that will be;
- where a request was sent already by a new connection, the idle ones are closed, so that the proxy
  takes up the new one. It is not sent again: it may have been read.

----

The session that a client's calls go through.

Rule: made late and bound to one process and one event loop; one that was handed in is used as it
is, and its owner closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import ssl
import warnings
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
import attrs

from tcb_async._arguments import checked_instance
from tcb_async._redact import Hidden
from tcb_async._version import __version__
from tcb_async.exceptions import ClientClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL

    from tcb_async.limits import Window


_TIMES_AS_LONG = 3.0
_AT_LEAST = 0.05
"""Seconds. A new connection waits in vain if it does for so many times the slowest late answer."""
_MOMENT = 0.01
"""Seconds that a loop which is not busy otherwise is late at most."""
_FORGET = 0.98
"""By each answer, the slowest one counts less."""


_DROPS = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)


class NewConnectionDroppedError(aiohttp.ClientConnectionError):
    """A connection was dropped before it gave its first answer."""


@attrs.define(eq=False)
class Use:
    """A request's use of a connection, from when it asks for one.

    Attributes:
        since: When it asked, by the loop's clock.
        task: Whose request it is, while the connection is being made. Not longer: with it, a client
            that nobody closed would be part of a cycle, and could not say so.
        connection: The one that it was given; None while it is being made.
        place: Set when it may ask again, if it gave up making a connection.
    """

    since: float
    task: asyncio.Task[object] | None
    connection: ResponseHandler | None = None
    place: asyncio.Future[None] | None = None
    _cut_off: bool = attrs.field(init=False, default=False)
    _cancelling: int = attrs.field(init=False)
    """How often the task had been cancelled by then."""

    def __attrs_post_init__(self) -> None:
        assert self.task is not None  # noqa: S101 - a coroutine of aiohttp's runs in one
        self._cancelling = self.task.cancelling()

    def give_up(self) -> None:
        """Have it give up making a connection."""
        assert self.task is not None  # noqa: S101 - it is still making one
        if not self._cut_off:
            self._cut_off = True
            self.task.cancel()

    def gave_up(self) -> bool:
        """Whether it was cancelled for that and for nothing else, as `asyncio.timeout` does it."""
        if not self._cut_off:
            return False
        assert self.task is not None  # noqa: S101 - likewise
        self._cut_off = False
        return self.task.uncancel() <= self._cancelling


@attrs.define(eq=False)
class Queue:
    """Knows what each connection is doing, and when new ones wait in vain.

    Args:
        shrink: Told how many connections get answers, when others wait in vain.
    """

    shrink: Callable[[int], None]
    _new: dict[Use, None] = attrs.field(factory=dict[Use, None])
    """Those that wait for a new connection, or for its first answer; the oldest first."""
    _in_use: dict[ResponseHandler, Use] = attrs.field(factory=dict["ResponseHandler", Use])
    _proven: set[ResponseHandler] = attrs.field(factory=set["ResponseHandler"])
    """Connections that gave an answer, and some that were closed since."""
    _slowest: float = 0.0
    """Seconds that first answers took of late, at most, the making of the connection included."""
    _in_vain_until: float = -math.inf
    """When it was last seen that new connections wait in vain."""
    _answering: int = 0
    """How many connections got answers then."""
    _waiting: deque[Use] = attrs.field(factory=deque[Use])
    """Those that gave up making a connection, until there is one for them."""
    _admitted: set[Use] = attrs.field(factory=set[Use])
    """Those that were told that there is one for them."""
    _last_progress: float = -math.inf
    """When a new connection was last answered; or when this program had been busy itself."""
    _timer: asyncio.TimerHandle | None = None
    _closed: bool = False

    async def wait(self, use: Use) -> None:
        """Wait until there is a connection for a request which gave up making one."""
        loop = asyncio.get_running_loop()
        if not self._closed:
            use.place = loop.create_future()
            self._waiting.append(use)
            self._admit()
            await use.place
            use.place = None
        if self._closed:
            raise aiohttp.ClientConnectionError
        use.since = loop.time()
        self._new[use] = self._new.pop(use)

    def asks(self, use: Use) -> None:
        """Take note that a request asks for a connection."""
        self._new[use] = None
        if self._timer is None:
            self._look_later()

    def begins(self, use: Use, connection: ResponseHandler) -> None:
        """Take note of the connection that it was given."""
        use.connection, use.task = connection, None
        self._in_use[connection] = use
        self._admitted.discard(use)
        if connection in self._proven:
            del self._new[use]

    def first_use(self, connection: ResponseHandler) -> Use | None:
        """Return the use of a connection that gave no answer yet."""
        return None if connection in self._proven else self._in_use[connection]

    def answers(self, connection: ResponseHandler, use: Use) -> None:
        """Take note of a connection's first answer; if it was short, the use has ended already."""
        self._last_progress = now = asyncio.get_running_loop().time()
        if use.since > self._in_vain_until:
            self._slowest = max(now - use.since, self._slowest * _FORGET)
        self._proven = {connection for connection in self._proven if connection.is_connected()}
        self._proven.add(connection)
        self._new.pop(use, None)
        if self._new:
            self._look_later()

    def ends(self, use: Use) -> None:
        """Take note that it needs a connection no more."""
        use.task = None
        self._new.pop(use, None)
        self._admitted.discard(use)
        if use.connection is not None:
            self._in_use.pop(use.connection, None)
        if self._new:
            if self._sent_in_vain() and use.connection is not None:
                use.connection.force_close()
            self._admit()
            self._look_later()

    def close(self) -> None:
        """Let none go on making a connection, or waiting for one."""
        self._closed = True
        for use in self._new:
            if use.place is None:
                if use.connection is None:
                    use.give_up()
            elif not use.place.done():
                use.place.set_result(None)

    def _sent_in_vain(self) -> bool:
        """Whether a request that was sent by a new connection waits since it was seen."""
        return any(
            use.connection is not None and use.since <= self._in_vain_until for use in self._new
        )

    def _admit(self) -> None:
        if not self._sent_in_vain():
            while self._waiting and len(self._in_use) + len(self._admitted) < self._answering:
                use = self._waiting.popleft()
                if use.place is not None and not use.place.done():  # it may be cancelled
                    self._admitted.add(use)
                    use.place.set_result(None)

    def _look_later(self) -> None:
        """Look once the oldest has waited too long, unless that is arranged already."""
        since = self._oldest()
        if self._timer is None and since is not None:
            loop = asyncio.get_running_loop()
            start = max(since, self._last_progress)
            due = max(start + self._patience(), loop.time() + _MOMENT)
            self._timer = loop.call_at(due, self._look, due, since)

    def _look(self, due: float, since: float) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        if now > due + _MOMENT:
            self._last_progress = now  # nothing was read for a while, so answers may be there
        elif self._oldest() == since and self._last_progress <= due - self._patience():
            self._end_the_waiting(now)
            return  # if none was idle, it is looked again when one is
        self._look_later()

    def _oldest(self) -> float | None:
        """Since when the oldest waits of whom it is not known that it waits in vain."""
        return next((use.since for use in self._new if use.since > self._in_vain_until), None)

    def _patience(self) -> float:
        return max(_AT_LEAST, _TIMES_AS_LONG * self._slowest)

    def _end_the_waiting(self, now: float) -> None:
        alive = [connection for connection in self._proven if connection.is_connected()]
        idle = [connection for connection in alive if connection not in self._in_use]
        if not idle:
            return  # it is looked at again when one ends
        self._in_vain_until, self._answering = now, len(alive)
        self.shrink(len(alive))
        for use in self._new:
            if use.connection is None and use.place is None:
                use.give_up()
        if self._sent_in_vain():
            for connection in idle:
                connection.close()


class Connector(aiohttp.TCPConnector):
    """A connector that keeps no connection idle while new ones wait in vain."""

    def __init__(self, queue: Queue, *, limit: int, ssl: ssl.SSLContext | bool) -> None:
        super().__init__(limit=limit, ssl=ssl)  # pyright: ignore[reportUnknownMemberType] - aiohttp's
        self.queue = queue

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        """Return a connection from the pool, or a new one."""
        queue = self.queue
        use = Use(asyncio.get_running_loop().time(), asyncio.current_task())
        queue.asks(use)
        try:
            while True:
                try:
                    connection = await super().connect(req, traces, timeout)
                except asyncio.CancelledError:
                    if not use.gave_up():
                        raise
                else:
                    break
                await queue.wait(use)
        except BaseException as error:
            queue.ends(use)
            if isinstance(error, _DROPS) and not isinstance(error, aiohttp.ClientConnectorError):
                raise NewConnectionDroppedError from None  # by a proxy that was asked to CONNECT
            raise
        assert connection.protocol is not None  # noqa: S101 - it has just been made
        queue.begins(use, connection.protocol)
        connection.add_callback(partial(queue.ends, use))
        return connection


class Response(aiohttp.ClientResponse):
    """A response that tells the connector of its connection when it begins."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Wait for the answer to begin."""
        connector = None if self._session is None else self._session.connector
        assert isinstance(connector, Connector)  # noqa: S101 - our own session's
        queue, protocol = connector.queue, connection.protocol
        assert protocol is not None  # noqa: S101 - it is in use
        if protocol.should_close:
            # aiohttp keeps what a server sends unasked by an idle connection, and takes it for the
            # answer to the next request there [aiohttp #13656].
            raise aiohttp.ServerDisconnectedError
        use = queue.first_use(protocol)
        if use is None:
            return await super().start(connection)
        try:
            await super().start(connection)
        except _DROPS:
            raise NewConnectionDroppedError from None
        queue.answers(protocol, use)
        return self


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
