"""Sends a request once, and keeps what all calls of a client share.

Rule: time and size are limited, and redirects are refused. The size of a reply is limited while it
is read. Errors of aiohttp become ours, and are not chained to them: they may contain the URL with
the token.
"""

from __future__ import annotations

import asyncio
import io
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import attrs
from yarl import URL

from tcb_async._defaults import DEFAULT_TIMEOUT
from tcb_async._redact import Secret, find_secrets
from tcb_async._transport.request import ApiRequest, Target
from tcb_async._transport.session import HEADERS, SessionKeeper, add_query
from tcb_async._transport.translation import make_status_error, translate
from tcb_async.exceptions import ClientClosedError, ResponseError, TcbError
from tcb_async.observer import Attempt, Observer
from tcb_async.retry import RetryPolicy

T = TypeVar("T")

MAX_REPLY_BYTES = 8 * 2**20
"""The largest reply that is read, counted after decompression."""

# An attempt has one timer, ours. aiohttp's would be a second one, and rounds a limit above 5 s up
# to a whole second.
_NO_LIMIT = aiohttp.ClientTimeout()
_LARGE = 2**20  # bytes: aiohttp warns about a larger body that it cannot send in parts


@attrs.frozen
class Timing:
    """The clock of a client's calls, their waits and their chance.

    A call uses no other clock, so that a test can move time by hand. Only the time limit of an
    attempt uses the event loop's.
    """

    clock: Callable[[], float] = time.monotonic  # seconds
    sleep: Callable[[float], Coroutine[object, object, None]] = asyncio.sleep
    random: Callable[[], float] = random.random  # from 0 to 1


@attrs.define(eq=False)
class Transport:
    """Session and limits of a client, for all its calls."""

    base_url: str
    concurrency: int  # calls with a place at a time; the others wait, first come, first served
    retry: RetryPolicy
    timeout: float = DEFAULT_TIMEOUT
    observer: Observer | None = None
    timing: Timing = attrs.field(factory=Timing)
    keeper: SessionKeeper = attrs.field(factory=SessionKeeper, repr=False)
    places: asyncio.Semaphore = attrs.field(init=False, repr=False)
    request_count: int = attrs.field(init=False, default=0)  # sent requests, retries included
    # When a retry was last logged as a warning, by the clock.
    warned_at: float = attrs.field(init=False, default=-math.inf)
    # The direct calls, each with a limit that only closing the client moves.
    calls: set[asyncio.Timeout] = attrs.field(init=False, factory=set[asyncio.Timeout], repr=False)
    # In the background, until the client is closed.
    tasks: set[asyncio.Task[object]] = attrs.field(
        init=False, factory=set["asyncio.Task[object]"], repr=False
    )

    def __attrs_post_init__(self) -> None:
        self.places = asyncio.Semaphore(self.concurrency)
        self.timeout = min(self.timeout, self.retry.deadline)

    def make_target(
        self, path: str, query: Mapping[str, str | Secret], secrets: Iterable[Secret] = ()
    ) -> Target:
        """Make the target of a request with these ``secrets`` in its body."""
        bare_url = URL(self.base_url + path)
        url = bare_url.with_query({key: Secret(value).reveal() for key, value in query.items()})
        return Target(path, bare_url, url, (*find_secrets(query), *secrets))

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt; if the client is closed, raise `ClientClosedError`."""
        # The wait is a task, which closing cancels. A merchant's token request is not cancelled, so
        # its waits would go on.
        waiting = self.spawn(self.timing.sleep(seconds))
        try:
            await asyncio.wait((waiting,))
        finally:
            waiting.cancel()
        if waiting.cancelled():
            raise ClientClosedError

    async def until_closed(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await a call in the caller's task; closing the client stops it, wherever it waits.

        Raises:
            ClientClosedError: The client was closed before or during the call.
        """
        if self.keeper.is_closed:
            raise ClientClosedError
        limit = asyncio.timeout(None)
        self.calls.add(limit)
        try:
            async with limit:
                return await call()
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self.calls.discard(limit)
        # After the block: there, its context would be the cancellation, with the call's frames.
        raise ClientClosedError

    def spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Run a coroutine in the background, at most until the client is closed."""
        task = asyncio.create_task(work)
        if self.keeper.is_closed:
            task.cancel()  # which does not warn, unlike a coroutine that is never awaited
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def aclose(self) -> None:
        """Refuse further calls, stop the others and the tasks, and close the session."""
        self.keeper.refuse_calls()  # first, so that no task that is cancelled starts a new call
        for call in self.calls:
            if not call.expired():
                call.reschedule(0.0)
        current = asyncio.current_task()
        try:
            # Repeated, because a cancelled task may have started a new one. The current task is
            # left out: it would wait for itself.
            while running := [it for it in self.tasks if it is not current and not it.done()]:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
        finally:
            await self.keeper.aclose()

    async def send(self, request: ApiRequest, *, observed: Attempt | None = None) -> bytes:
        """Send a request once, and return the body of a reply with HTTP 200.

        ``observed`` gets the status of any reply.

        Raises:
            TcbError: In any other case.
        """
        session = self.keeper.get_session()
        self.request_count += 1
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(self.timeout):
                response = await self._request(session, request)
                if observed is not None:
                    observed.status = response.status
                return await self._read(response, request)
        except TcbError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the edge: any error that a peer causes becomes ours
            if observed is not None and isinstance(error, aiohttp.ClientHttpProxyError):
                observed.status = error.status
            if self.keeper.is_closed:
                failure = ClientClosedError()
            elif session.closed:
                text = "the session of this client was closed: make a new client"
                failure = ClientClosedError(text)
            else:
                may_use_proxy = self.keeper.trust_env or self.keeper.is_callers_session
                failure = translate(error, request, self.timeout, may_use_proxy=may_use_proxy)
        finally:
            if response is not None:
                response.close()  # and its connection, if there is more to read
        # After the block: there, its context would be aiohttp's error.
        try:
            raise failure
        finally:
            del failure  # a cycle with this frame

    def _request(
        self, session: aiohttp.ClientSession, request: ApiRequest
    ) -> Awaitable[aiohttp.ClientResponse]:
        target = request.target
        is_callers_session = self.keeper.is_callers_session
        body = request.body
        return session.request(
            request.method,
            target.url if is_callers_session else target.bare_url,
            # In our session, tools that record requests see no query, and so no token.
            middlewares=None if is_callers_session else (add_query(target.url),),
            data=io.BytesIO(body) if body is not None and len(body) > _LARGE else body,
            # A new object for each request: Elastic's agent writes into it.
            headers=dict(HEADERS) if is_callers_session else None,
            timeout=_NO_LIMIT,
            allow_redirects=False,  # a redirect to a different host would take the secrets along
            raise_for_status=False,
        )

    async def _read(self, response: aiohttp.ClientResponse, request: ApiRequest) -> bytes:
        """Return a body that is not too large; raise the error for a status other than 200."""
        # Read it in chunks: `read` would inflate a whole bomb before its size can be checked.
        content = response.content
        chunks: list[bytes] = []
        bytes_left = MAX_REPLY_BYTES
        while not content.at_eof():
            chunk = await content.readany()
            bytes_left -= len(chunk)
            if bytes_left < 0:
                if response.status != HTTPStatus.OK:
                    break  # the status says more
                path = request.target.path
                raise ResponseError(
                    f"{path} sent more than {MAX_REPLY_BYTES} bytes; request fewer rows",
                    endpoint=path,
                    status=response.status,
                )
            chunks.append(chunk)
        body = b"".join(chunks)
        if response.status != HTTPStatus.OK:
            raise make_status_error(request, response.status, response.headers, body)
        return body
