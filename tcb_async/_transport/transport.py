"""One try over the wire, and what all calls of a client share.

Rule: limits on time and size, no redirects, and a fault is raised as ours only after the
``except`` block has ended, so that no URL is left in it.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import attrs
from yarl import URL

from tcb_async._codec import decode_token_reply, encode_object
from tcb_async._redact import Hidden, Secret
from tcb_async._transport.calls import Call
from tcb_async._transport.faults import Reply, read_retry_after, refusal, translate
from tcb_async._transport.requests import ApiRequest, Target
from tcb_async._transport.session import HEADERS, AddQuery, SessionKeeper, cause_of
from tcb_async.exceptions import ClientClosedError, ResponseError, TcbError
from tcb_async.observer import Attempt

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Mapping

    from tcb_async.limits import Window
    from tcb_async.observer import Observer
    from tcb_async.retry import RetryPolicy, RetryQuota

__all__ = ["Transport"]

Result = TypeVar("Result")
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
    timeout: float = 30.0
    max_reply_bytes: int = 8 * 2**20
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
