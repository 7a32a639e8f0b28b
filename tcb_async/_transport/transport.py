"""A call with its retries, and the state that all calls of a client share.

Rule: time and size are limited, and redirects are refused. Errors of aiohttp become ours, and are
raised only after the ``except`` block has ended: see `tcb_async._redact`.

**The order of the limits.** A call first waits for a permit of the window, then makes its try. The
deadline, set when the call begins, limits both; a try has ``timeout`` seconds, or the rest of
the deadline if that is less. The size of a reply is limited while it is read.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import aiohttp
import attrs
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from yarl import URL

from tcb_async._arguments import DEFAULT_MAX_REPLY_BYTES, DEFAULT_TIMEOUT
from tcb_async._codec import decode_reply, encode_object
from tcb_async._redact import Hidden, Secret, forget_frames, wrap_secrets
from tcb_async._transport.faults import make_status_error, translate
from tcb_async._transport.request import ApiRequest, Target
from tcb_async._transport.session import HEADERS, IN_FLIGHT, InFlight, SessionKeeper, add_query
from tcb_async.errcodes import is_refusal
from tcb_async.exceptions import (
    ApiError,
    ClientClosedError,
    ResponseError,
    TcbError,
    TransportError,
)
from tcb_async.limits import Window
from tcb_async.observer import Attempt, Observer
from tcb_async.retry import RetryPolicy, RetryQuota, is_overload, is_retryable

Result = TypeVar("Result")

_log = logging.getLogger("tcb_async")
_log.addHandler(logging.NullHandler())


_UNOBSERVED = None, nullcontext()


class _OutOfTimeError(Exception):
    """The deadline passed before a try was begun."""


class _UnansweredError(TransportError):
    """A new connection gave no answer in time, while others were answered."""


@attrs.define(repr=False)  # a tool may show this when some of it has been deleted
class Call(Generic[Result]):
    """The tries of one call; after each, tenacity asks policy and quota whether to go on.

    Attributes:
        number: Number of tries begun.
        spent: Cost of its retries, taken from the quota.
        last: The last error that says something about the server. A try that the deadline cut
            short, or prevented, says nothing.
        gave_up: The reason why no other try is made.
        fresh_connection: Whether the next try needs a new connection, as the last was dropped.
        patience: How many times as long as usual a new connection may stay silent.
    """

    transport: Transport
    request: ApiRequest
    decode: Callable[[bytes], Result]
    deadline: float
    number: int = 0
    spent: int = 0
    last: TcbError | None = None
    gave_up: str = ""
    fresh_connection: bool = False
    patience: float = 1.0

    async def run(self) -> Result:
        try:
            result = await self._try_repeatedly()
        except _OutOfTimeError:
            failure = self._make_deadline_error()
        except TcbError as error:
            failure = self._choose_error(error)
        else:
            self.transport.quota.put_back(self.spent or 1)
            return result
        # Only here, whichever error the call ends with.
        failure.env, failure.offset = self.request.env, self.request.offset
        failure.attempts = self.number
        failure.gave_up = self.gave_up if is_retryable(failure) else ""
        try:
            # Without the frames of the tries: aiohttp's hold the URL.
            raise failure.with_traceback(None)
        finally:
            del failure, self.last  # or each is a cycle with this frame: see `tcb_async._redact`

    async def _try_repeatedly(self) -> Result:
        # The first try is made without tenacity, which would add a tenth to the cost of a page:
        # nearly every call succeeds at once. Tenacity is then told of the failure by replaying it.
        try:
            return await self._try()
        except TcbError as error:
            to_replay = [error]

        async def replay_or_try() -> Result:
            if to_replay:
                raise to_replay.pop()
            return await self._try()

        retrying = AsyncRetrying(
            retry=retry_if_exception(is_retryable),
            wait=lambda state: self.transport.retry.wait(self.number, _get_error(state)),
            stop=self._should_stop,
            before_sleep=self._note_retry,
            sleep=self.transport.retry.sleep,
            reraise=True,
        )
        # Called, not iterated: iterated, it keeps the last error, and so the frames of all callers,
        # until the garbage collector runs.
        return await retrying(replay_or_try)

    async def _try(self) -> Result:
        self.number += 1
        while True:
            try:
                return await self._send()
            except _UnansweredError:
                # Not a failed try: its connection was only waiting in the queue of a proxy.
                self.patience *= 2

    async def _send(self) -> Result:
        transport, request, window = self.transport, self.request, self.transport.window
        epoch = window.take()  # nearly always succeeds, without the cost of a timer and a future
        if epoch is None:
            epoch = await self._wait_for_permit()
        clean = overload = False
        try:
            session = transport.get_session()
            # After the wait for a permit, which is part of the deadline.
            seconds_left = self._get_time_left()
            if seconds_left <= 0:
                raise _OutOfTimeError
            transport.sent += 1
            transport.retried += self.number > 1
            observer = transport.observer
            attempt, observing = _UNOBSERVED if observer is None else self._start_attempt(observer)
            # The frames below hold the URL, the body that is sent, and the reply. The caller's own
            # cancellation or time-out comes through them too.
            with observing, forget_frames():
                result = self.decode(await transport.send(session, self, seconds_left, attempt))
            clean = True
        except TcbError as error:
            overload = is_overload(error)
            dropped = isinstance(error, TransportError) and error.dropped
            # After the first try only: a connection of the pool may have died while idle, which
            # says nothing about the server. A new connection that is dropped does.
            self.fresh_connection = self.number == 1 and dropped
            _log.debug("%s try=%d: %s", request, self.number, _describe_outcome(error))
            raise
        finally:
            window.release(epoch, clean=clean, overloaded=overload)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s try=%d: errcode=0", request, self.number)
        return result

    def _start_attempt(self, observer: Observer) -> tuple[Attempt, AbstractContextManager[object]]:
        transport, request = self.transport, self.request
        facts = request.target.path, self.number, transport.window.size, request.env, request.offset
        attempt = Attempt(request.method, transport.base_url, *facts)
        return attempt, observer.attempting(attempt)

    async def _wait_for_permit(self) -> int:
        self.transport.get_session()  # fail before waiting for a permit
        seconds_left = self._get_time_left()
        # A retry goes first: the time that its tries have used would be lost with it.
        ahead = self.number > 1 or self.patience > 1
        try:
            async with asyncio.timeout(seconds_left if seconds_left < math.inf else None):
                return await self.transport.window.acquire(ahead=ahead)
        except TimeoutError:
            raise _OutOfTimeError from None

    def _get_time_left(self) -> float:
        return self.deadline - self.transport.retry.clock()

    def _make_deadline_error(self) -> TcbError:
        self.gave_up = self.transport.retry.too_late
        self.number -= 1  # the try that was about to begin was never sent
        if self.last is not None:
            return self.last
        path, window = self.request.target.path, self.transport.window
        return TransportError(
            f"{path}: nothing was sent, because {window.in_flight} other requests of this client "
            "were in flight until the deadline; make fewer calls at once, or allow more time",
            endpoint=path,
            sent=False,
        )

    def _choose_error(self, error: TcbError) -> TcbError:
        """Choose the error to raise: the server's own, if the deadline cut the last try short."""
        is_silent = isinstance(error, TransportError) and error.status is None
        if not (is_silent and self._get_time_left() < _TICK):
            return error
        self.gave_up = self.transport.retry.too_late
        return self.last or error

    def _should_stop(self, state: RetryCallState) -> bool:
        # The policy first: a retry that it forbids must not take anything out of the quota.
        policy, quota, error = self.transport.retry, self.transport.quota, _get_error(state)
        reason = policy.why_stop(self.number, state.upcoming_sleep, self._get_time_left())
        if not (self.request.repeatable or is_refusal(error)):
            reason = "it may have been carried out: only repeatable=True sends it again"
        if reason is None:
            cost = quota.take(error)
            if cost:
                self.spent += cost
                return False
            reason = "the client's retry quota is used up: too many calls fail at once"
        self.gave_up = reason
        return True

    def _note_retry(self, state: RetryCallState) -> None:
        # The error is kept for long, and its frames would be kept with it.
        self.last = error = _get_error(state).with_traceback(None)
        level = logging.INFO if self.number == 1 else logging.WARNING
        text = "%s try=%d failed (%s), trying again in %.2f s"
        seconds = state.upcoming_sleep
        _log.log(level, text, self.request, self.number, _describe_outcome(error), seconds)
        if self.request.count is not None:
            self.request.count.retries += 1


def _get_error(state: RetryCallState) -> TcbError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TcbError)  # noqa: S101 - the predicate lets nothing else through
    return error


def _describe_outcome(error: TcbError) -> str:
    if isinstance(error, ApiError):
        return f"errcode={error.errcode} rid={error.rid}"
    return type(error).__name__


_TICK = 0.001  # seconds by which an event loop's timer may be early
_CLOSING = HEADERS | {"Connection": "close"}
# A try has one timer, ours, which can also be brought forward. aiohttp's would be a second one,
# and it rounds a limit above 5 s up to a whole second, which may cross the deadline.
_NO_LIMIT = aiohttp.ClientTimeout()


@attrs.define(eq=False)
class Transport:
    """Session, window, retry quota and limits of a client, for all its calls."""

    base_url: str
    window: Window
    retry: RetryPolicy
    quota: RetryQuota
    timeout: float = DEFAULT_TIMEOUT
    max_reply_bytes: int = DEFAULT_MAX_REPLY_BYTES
    trust_env: bool = False
    ssl_context: ssl.SSLContext | None = None
    observer: Observer | None = None
    base_url_setting: str = "base_url"
    """The name of the setting that `base_url` came from, for errors."""
    _session: aiohttp.ClientSession | None = attrs.field(default=None, repr=False, alias="session")
    sent: int = attrs.field(init=False, default=0)
    """How many requests were sent, retries included."""
    retried: int = attrs.field(init=False, default=0)
    """How many of them were retries."""
    live: set[asyncio.Task[object]] = attrs.field(
        init=False, factory=set["asyncio.Task[object]"], repr=False
    )
    _keeper: SessionKeeper = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._keeper = SessionKeeper(self.window, self.trust_env, self.ssl_context, self._session)

    def get_session(self) -> aiohttp.ClientSession:
        return self._keeper.get_session()

    @property
    def is_closed(self) -> bool:
        return self._keeper.is_closed

    def target(
        self, path: str, query: Mapping[str, str | Secret], body: Mapping[str, object] | None = None
    ) -> Target:
        """Build the target of requests; it can be used again while the query stays the same."""
        url, sent = URL(self.base_url + path), (*query.values(), *(body or {}).values())
        secrets = tuple(value for value in sent if isinstance(value, Secret))
        full = Hidden(url.with_query({key: Secret(value).reveal() for key, value in query.items()}))
        return Target(path, url, full, secrets)

    def call(
        self, request: ApiRequest, decode: Callable[[bytes], Result]
    ) -> Coroutine[object, object, Result]:
        """Send a request, retry it where that may help, and decode the reply.

        Raises the last error that says something about the server.
        """
        return Call(self, request, decode, self.retry.clock() + self.retry.deadline).run()

    def call_endpoint(
        self, request: ApiRequest
    ) -> Coroutine[object, object, Hidden[dict[str, Any]]]:
        """Send a request to any endpoint; return the JSON object of the reply."""
        path, secrets = request.target.path, request.target.secrets
        return self.call(request, lambda reply: Hidden(decode_reply(reply, path, secrets=secrets)))

    async def call_token_endpoint(
        self,
        path: str,
        *,
        query: Mapping[str, str | Secret] | None = None,
        body: Mapping[str, object] | None = None,
        repeatable: bool = True,
    ) -> Mapping[str, object]:
        """Call an endpoint that issues tokens: see `TokenApi`."""
        query, body = wrap_secrets(query or {}), body and wrap_secrets(body)
        sent_body = None if body is None else Hidden(encode_object(body))
        request = ApiRequest(self.target(path, query, body), sent_body, repeatable=repeatable)
        return (await self.call_endpoint(request)).reveal()

    def spawn(self, work: Coroutine[object, object, Result]) -> asyncio.Task[Result]:
        """Run a coroutine in the background, at most until the client is closed."""
        task = asyncio.ensure_future(work)
        if self.is_closed:
            task.cancel()  # which does not warn, unlike a coroutine that is never awaited
        self.live.add(task)
        task.add_done_callback(self.live.discard)
        return task

    async def aclose(self) -> None:
        self._keeper.is_closed = True  # first, so that a task that ends here cannot start another
        try:
            await self._end_live_tasks()
        finally:
            await self._keeper.aclose()

    async def _end_live_tasks(self) -> None:
        # Repeated, because a task that ends may have started another. The current task is left out:
        # it would wait for itself.
        current = asyncio.current_task()
        while tasks := [task for task in self.live if task is not current and not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send(
        self,
        session: aiohttp.ClientSession,
        call: Call[Any],
        seconds_left: float,
        attempt: Attempt | None = None,
    ) -> bytes:
        """Send a call's request once, and return the body of the reply, if that is HTTP 200."""
        request, seconds = call.request, min(self.timeout, seconds_left)
        first_answers = self._keeper.first_answers
        in_flight = InFlight(first_answers, call.patience, may_repeat=request.repeatable)
        response: aiohttp.ClientResponse | None = None
        reset_token = IN_FLIGHT.set(in_flight)
        try:
            async with in_flight.limit_time(seconds):
                response = await self._request(session, call)
                in_flight.note_answer()
                if attempt is not None:
                    attempt.status = response.status
                return await self._read(response, request)
        except TcbError as error:
            failure = error  # raised after the block: see `tcb_async._redact`
        except Exception as error:  # noqa: BLE001 - the edge: any error that a peer causes becomes ours
            # The order matters: closing ends requests by giving them up, and a request that was
            # given up looks like a time-out.
            if self.is_closed:
                failure = ClientClosedError()
            elif session.closed:
                text = "the session of this client was closed: make a new client"
                failure = ClientClosedError(text)
            elif in_flight.gave_up:
                failure = _UnansweredError(f"{request}: a new connection was not answered")
            else:
                is_answered, is_new = (
                    response is not None,
                    call.fresh_connection or in_flight.is_new,
                )
                failure = translate(
                    error,
                    request,
                    seconds,
                    setting=self.base_url_setting,
                    is_answered=is_answered,
                    is_new=is_new,
                )
        finally:
            IN_FLIGHT.reset(reset_token)
            in_flight.end()
            if response is not None:
                response.close()  # and its connection, if there is more to read
        if attempt is not None and response is None:
            attempt.status = getattr(failure, "status", None)  # of a proxy's answer to CONNECT
        raise failure

    def _request(
        self, session: aiohttp.ClientSession, call: Call[Any]
    ) -> Awaitable[aiohttp.ClientResponse]:
        """Start a request, on a fresh connection if the last one was dropped."""
        # The pool's key includes `server_hostname`: with it, no pooled connection is found, and a
        # new one is opened. No later request would find this one, so the server shall close it.
        request, fresh, foreign = call.request, call.fresh_connection, self._keeper.foreign
        target = request.target
        return session.request(
            request.method,
            target.url.reveal() if foreign else target.bare_url,
            middlewares=None if foreign else (add_query(target.url),),
            data=None if request.body is None else request.body.reveal(),
            headers=dict(_CLOSING if fresh else HEADERS) if fresh or foreign else None,
            timeout=_NO_LIMIT,
            allow_redirects=False,  # a redirect to another host would take the secrets along
            raise_for_status=False,
            server_hostname=target.bare_url.raw_host if fresh else None,
        )

    async def _read(self, response: aiohttp.ClientResponse, request: ApiRequest) -> bytes:
        """Read a body; its size is limited after decompression."""
        # In chunks: `read` would inflate a whole bomb before its size can be checked.
        content = response.content
        chunks: list[bytes] = []
        bytes_left = self.max_reply_bytes
        while not content.at_eof():
            chunk = await content.readany()
            bytes_left -= len(chunk)
            if bytes_left < 0:
                path = request.target.path
                raise ResponseError(
                    f"{path} sent more than max_reply_bytes ({self.max_reply_bytes}); raise it, or "
                    "request fewer rows",
                    endpoint=path,
                    status=response.status,
                )
            chunks.append(chunk)
        body = b"".join(chunks)
        if response.status != HTTPStatus.OK:
            raise make_status_error(request, response.status, response.headers, body)
        return body
