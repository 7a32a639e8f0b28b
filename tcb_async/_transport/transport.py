"""What is sent: a target that keeps its URL to itself, and a request to it.

Rule: whatever holds a secret is `Hidden`, so that nothing here shows one, however it is printed.

----

The tries that make up a call: each with a permit of the window, watched and logged.

Rule: a successful first try makes nothing that it does not need.

----

One try over the wire, and what all calls of a client share.

Rule: limits on time and size, no redirects, and a fault is raised as ours only after the
``except`` block has ended, so that no URL is left in it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import aiohttp
import attrs
from yarl import URL

from tcb_async._arguments import DEFAULT_MAX_REPLY_BYTES, DEFAULT_TIMEOUT
from tcb_async._codec import decode_token_reply, encode_object
from tcb_async._redact import Hidden, Secret, forgetting_frames
from tcb_async._transport.faults import Reply, read_retry_after, refusal, translate
from tcb_async._transport.session import HEADERS, AddQuery, SessionKeeper, cause_of
from tcb_async.exceptions import (
    ApiError,
    ClientClosedError,
    ResponseError,
    TcbError,
    TransportError,
)
from tcb_async.observer import Attempt
from tcb_async.retry import OutOfTimeError, is_overload

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Literal

    from aiohttp import ClientMiddlewareType

    from tcb_async.limits import Window
    from tcb_async.observer import Observer
    from tcb_async.retry import Deadline, RetryPolicy, RetryQuota


class RetryCount(Protocol):
    """Where the tries beyond the first are counted, as they happen."""

    retries: int


@attrs.frozen
class Target:
    """Where a request goes.

    Attributes:
        path: What is shown of it.
        bare_url: The URL without its query.
        url: The URL with its query, which may hold a secret.
        secrets: What is secret in the request, to be hidden in whatever is said about it.
        middlewares: What adds the query to a request of a session that we made.
    """

    path: str
    bare_url: URL
    url: Hidden[URL]
    secrets: tuple[Secret, ...]
    middlewares: tuple[ClientMiddlewareType, ...]


@attrs.frozen
class ApiRequest:
    """One request, as often as it may be tried."""

    target: Target
    body: Hidden[bytes] | None
    env: str | None = None
    offset: int | None = None
    count: RetryCount | None = None

    @property
    def method(self) -> Literal["GET", "POST"]:
        """GET without a body, POST with one."""
        return "GET" if self.body is None else "POST"

    def __str__(self) -> str:
        return f"{self.method} {self.target.path} env={self.env} offset={self.offset}"


Result = TypeVar("Result")

_log = logging.getLogger("tcb_async")
_log.addHandler(logging.NullHandler())


@attrs.define
class Call(Generic[Result]):
    """The tries of one call.

    Attributes:
        alone: Whether the next try is to have a new connection, for the last was dropped.
    """

    transport: Transport
    request: ApiRequest
    decode: Callable[[bytes], Result]
    alone: bool = False

    async def attempt(self, number: int, deadline: Deadline) -> Result:
        """Make one try, with a permit of the window.

        Raises:
            OutOfTimeError: There was no permit before the deadline.
            TcbError: The try failed.
        """
        transport, request, window = self.transport, self.request, self.transport.window
        epoch = window.take()
        if epoch is None:
            transport.session()  # fail before waiting for a permit
            epoch = await window.wait(deadline.left())
        if epoch is None:
            raise OutOfTimeError(self._nothing_was_sent())
        clean = overload = False
        try:
            session = transport.session()
            left = deadline.left()
            if left <= 0:
                raise OutOfTimeError(self._nothing_was_sent())
            transport.sent += 1
            transport.retried += number > 1
            # The frames below hold the URL, the body that is sent, and the reply.
            if transport.observer is None:
                with forgetting_frames():
                    result = self.decode(await transport.send(session, request, left, self.alone))
            else:
                seen = transport.as_seen(request, number)
                with transport.observer.attempting(seen), forgetting_frames():
                    result = self.decode(
                        await transport.send(session, request, left, self.alone, seen)
                    )
            clean = True
        except TcbError as error:
            overload = is_overload(error)
            self.alone = number == 1 and isinstance(error, TransportError) and error.dropped
            error.env, error.offset = request.env, request.offset
            _log.debug("%s try=%d: %s", request, number, _outcome(error))
            raise
        finally:
            window.release(epoch, clean=clean, overloaded=overload)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s try=%d: errcode=0", request, number)
        return result

    def note_retry(self, error: TcbError, number: int, seconds: float) -> None:
        """Count a retry, and log it."""
        level = logging.INFO if number == 1 else logging.WARNING
        text = "%s try=%d failed (%s), trying again in %.2f s"
        _log.log(level, text, self.request, number, _outcome(error), seconds)
        if self.request.count is not None:
            self.request.count.retries += 1

    def _nothing_was_sent(self) -> TransportError:
        path, window = self.request.target.path, self.transport.window
        return TransportError(
            f"{path}: nothing was sent, because {window.in_flight} other requests of this client "
            "were in flight until the deadline; make fewer calls at once, or allow more time",
            endpoint=path,
            env=self.request.env,
            offset=self.request.offset,
        )


def _outcome(error: TcbError) -> str:
    if isinstance(error, ApiError):
        return f"errcode={error.errcode} rid={error.rid}"
    return type(error).__name__


Value = TypeVar("Value")

_ALONE = HEADERS | {"Connection": "close"}
_SECRET_KEYS = ("secret", "token", "ticket")


@attrs.define(eq=False)
class Transport:
    """What all calls of a client share: session, window, retry quota and limits."""

    base_url: str
    window: Window
    retry: RetryPolicy
    quota: RetryQuota
    timeout: float = DEFAULT_TIMEOUT
    max_reply_bytes: int = DEFAULT_MAX_REPLY_BYTES
    trust_env: bool = False
    ssl_context: ssl.SSLContext | None = None
    observer: Observer | None = None
    _session: aiohttp.ClientSession | None = attrs.field(default=None, repr=False, alias="session")
    sent: int = attrs.field(init=False, default=0)
    """How many requests were sent, retries included."""
    retried: int = attrs.field(init=False, default=0)
    """How many of them were retries."""
    live: set[asyncio.Task[object]] = attrs.field(
        init=False, factory=set["asyncio.Task[object]"], repr=False
    )
    session: Callable[[], aiohttp.ClientSession] = attrs.field(init=False, repr=False)
    """Returns the session; see `SessionKeeper.session`."""
    _keeper: SessionKeeper = attrs.field(init=False, repr=False)
    _whole: aiohttp.ClientTimeout = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._keeper = SessionKeeper(self.window, self.trust_env, self.ssl_context, self._session)
        self.session = self._keeper.session
        self._whole = _within(self.timeout)

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._keeper.closed

    def target(self, path: str, query: Mapping[str, str | Secret]) -> Target:
        """Build the URL of an endpoint once, for as many requests as the query stays the same."""
        url = URL(self.base_url + path)
        secrets = tuple(value for value in query.values() if isinstance(value, Secret))
        full = Hidden(url.with_query({key: _revealed(value) for key, value in query.items()}))
        return Target(path, url, full, secrets, (AddQuery(full),))

    def call(
        self, request: ApiRequest, decode: Callable[[bytes], Result]
    ) -> Coroutine[object, object, Result]:
        """Send a request, again where that may help, and decode the reply.

        Args:
            request: What to send.
            decode: Bytes to result; raises a `TcbError`.

        Raises:
            TcbError: The last try's error, with the request's facts on it.
        """
        call = Call(self, request, decode)
        return self.retry.run(call.attempt, self.quota, call.note_retry)

    async def call_token_endpoint(
        self,
        path: str,
        *,
        query: Mapping[str, str | Secret] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Mapping[str, object]:
        """Call an endpoint that issues tokens: POST with a body, GET without one.

        Raises:
            TcbError: The endpoint refused, or gave no usable answer.
        """
        query, body = _wrapped(query or {}), body and _wrapped(body)
        target = self.target(path, query)
        sent = (value for value in (body or {}).values() if isinstance(value, Secret))
        target = attrs.evolve(target, secrets=(*target.secrets, *sent))
        request = ApiRequest(target, None if body is None else Hidden(encode_object(body)))

        def decode(reply: bytes) -> Hidden[Mapping[str, object]]:
            return Hidden(decode_token_reply(reply, path, secrets=target.secrets))

        return (await self.call(request, decode)).reveal()

    def spawn(self, work: Coroutine[object, object, Result]) -> asyncio.Task[Result]:
        """Run something in the background that ends, at the latest, when the client is closed."""
        task = asyncio.ensure_future(work)
        if self.closed:
            task.cancel()
        self.live.add(task)
        task.add_done_callback(self.live.discard)
        return task

    async def aclose(self) -> None:
        """Close the session, unless it was handed in. Closing twice does nothing."""
        self._keeper.closed = True
        try:
            await self._end_live_tasks()
        finally:
            await self._keeper.aclose()

    async def _end_live_tasks(self) -> None:
        """Until there is none: one that ends may have begun another."""
        current = asyncio.current_task()
        while tasks := [task for task in self.live if task is not current and not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def as_seen(self, request: ApiRequest, number: int) -> Attempt:
        return Attempt(
            request.method,
            self.base_url,
            request.target.path,
            number,
            self.window.size,
            request.env,
            request.offset,
        )

    async def send(
        self,
        session: aiohttp.ClientSession,
        request: ApiRequest,
        left: float,
        alone: bool,
        seen: Attempt | None = None,
    ) -> bytes:
        """Make one try; returns the body of a reply that is HTTP 200.

        Asked to go `alone`, a request has a new connection, which the server is asked to close
        after it: a pool knows its connections by `server_hostname` too.

        Raises:
            TcbError: Anything else came, or nothing.
        """
        seconds = min(self.timeout, left)
        target, foreign = request.target, self._keeper.foreign
        response: aiohttp.ClientResponse | None = None
        failure: TcbError | None = None
        body = b""
        try:
            response = await session.request(
                request.method,
                target.url.reveal() if foreign else target.bare_url,
                middlewares=None if foreign else target.middlewares,
                data=None if request.body is None else request.body.reveal(),
                headers=dict(_ALONE if alone else HEADERS) if alone or foreign else None,
                timeout=self._whole if left >= self.timeout else _within(seconds),
                allow_redirects=False,
                raise_for_status=False,
                server_hostname=target.bare_url.raw_host if alone else None,
            )
            body = await self._read(response, request)
        except TcbError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the edge: whatever a peer provokes becomes ours
            if session.closed:
                failure = _closed()
            else:
                error, answered = cause_of(error), response is not None
                failure = translate(error, request, seconds, answered=answered, alone=alone)
        else:
            if response.status != 200:  # noqa: PLR2004 - HTTP's own word for OK
                failure = _refused(response, body, request)
        finally:
            if response is not None:
                response.close()
        if seen is not None:
            # That of a proxy's answer to CONNECT is on the failure alone.
            seen.status = getattr(response or failure, "status", None)
        if failure is not None:
            raise failure
        return body

    async def _read(self, response: aiohttp.ClientResponse, request: ApiRequest) -> bytes:
        """Read a body that, counted after decompression, is not larger than allowed."""
        content = response.content
        chunks: list[bytes] = []
        left = self.max_reply_bytes
        while not content.at_eof():
            chunk = await content.readany()
            left -= len(chunk)
            if left < 0:
                path = request.target.path
                raise ResponseError(
                    f"{path} sent more than max_reply_bytes ({self.max_reply_bytes})",
                    endpoint=path,
                    status=response.status,
                )
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _closed() -> ClientClosedError:
    return ClientClosedError("the session of this client was closed: make a new client")


def _refused(response: aiohttp.ClientResponse, body: bytes, request: ApiRequest) -> TcbError:
    later = read_retry_after(response.headers.get("Retry-After"))
    return refusal(Reply(response.status, later, body), request)


def _within(seconds: float) -> aiohttp.ClientTimeout:
    """Exactly: aiohttp rounds what is over 5 s up to a whole second, which may cross a deadline."""
    return aiohttp.ClientTimeout(seconds, ceil_threshold=math.inf)


def _is_secret(key: str) -> bool:
    return any(word in key for word in _SECRET_KEYS)


def _revealed(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _wrapped(fields: Mapping[str, Value]) -> dict[str, Value | Secret]:
    """Wrap what is secret, so that no frame shows it."""
    return {
        key: Secret(value) if isinstance(value, str) and _is_secret(key) else value
        for key, value in fields.items()
    }
