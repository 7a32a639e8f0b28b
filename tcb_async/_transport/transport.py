"""A call with its retries, and the state that all calls of a client share.

Rule: time and size are limited, and redirects are refused. Errors of aiohttp become ours, and are
raised only after the ``except`` block: see `tcb_async._redact`.

**The order of the limits.** A call first waits for a permit of the window, then makes its attempt.
The deadline, set when the call begins, limits both; an attempt has ``timeout`` seconds, or the rest
of the deadline if that is less. The size of a reply is limited while it is read.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import aiohttp
import attrs
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from yarl import URL

from tcb_async._arguments import DEFAULT_MAX_REPLY_BYTES, DEFAULT_TIMEOUT
from tcb_async._codec import decode_reply, encode_object
from tcb_async._redact import Hidden, Secret, find_secrets, forget_frames, wrap_secrets
from tcb_async._transport.request import ApiRequest, Target
from tcb_async._transport.session import HEADERS, SessionKeeper, add_query
from tcb_async._transport.translation import make_status_error, translate
from tcb_async.exceptions import (
    ApiError,
    ClientClosedError,
    ResponseError,
    TcbError,
    TransportError,
)
from tcb_async.limits import Window
from tcb_async.observer import Attempt, Observer
from tcb_async.retry import (
    RetryPolicy,
    RetryQuota,
    is_overload,
    is_refusal,
    is_retryable,
    may_refuse_size,
)

Result = TypeVar("Result")

_log = logging.getLogger("tcb_async")
_log.addHandler(logging.NullHandler())


_UNOBSERVED = None, nullcontext()
_MAX_LARGE = 2  # attempts before a transient error may mean that the server refuses the size


class _OutOfTimeError(Exception):
    """The deadline passed before an attempt was begun."""


Decode = Callable[[bytes], Result]
Fallback = Callable[[], tuple[ApiRequest, Decode[Result]]]


@attrs.define(repr=False)  # a tool may show this when some of it has been deleted
class Call(Generic[Result]):
    """The attempts of one call; after each, policy and quota decide whether to go on.

    Attributes:
        fallback: Makes a request for fewer rows, for the attempts after an error that may refuse
            the number of rows; None without one, or when it has been made.
        reduces: Whether the next attempt is the first of these.
        attempt: Number of attempts begun.
        spent: Cost of its retries, taken from the quota.
        last: The last error that says something about the server. An attempt that the deadline cut
            short, or prevented, says nothing.
        stop_reason: The reason why no further attempt is made.
        needs_new_connection: Whether the last attempt's connection was dropped.
    """

    transport: Transport
    request: ApiRequest
    decode: Decode[Result]
    deadline: float
    fallback: Fallback[Result] | None = None
    attempt: int = 0
    spent: int = 0
    last: TcbError | None = None
    stop_reason: str = ""
    needs_new_connection: bool = False
    reduces: bool = False

    async def run(self) -> Result:
        try:
            result = await self._attempt_repeatedly()
        except _OutOfTimeError:
            failure = self._make_deadline_error()
        except TcbError as error:
            failure = self._choose_error(error)
        else:
            self.transport.quota.put_back(self.spent or 1)
            return result
        # Add the context in one place, whichever error the call raises.
        failure.env, failure.offset = self.request.env, self.request.offset
        failure.attempts = self.attempt
        failure.stop_reason = self.stop_reason if is_retryable(failure) else ""
        try:
            # Without the frames of the attempts: aiohttp's contain the URL.
            raise failure.with_traceback(None)
        finally:
            del failure, self.last  # or each is a cycle with this frame: see `tcb_async._redact`

    async def _attempt_repeatedly(self) -> Result:
        # The first attempt is made without tenacity, which would add a tenth to the cost of a page:
        # nearly every call succeeds immediately. A failure is replayed for tenacity.
        try:
            return await self._attempt()
        except TcbError as error:
            to_replay = [error]

        async def replay_or_attempt() -> Result:
            if to_replay:
                raise to_replay.pop()
            return await self._attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception(self._may_help),
            wait=self._wait,
            stop=self._should_stop,
            before_sleep=self._note_retry,
            sleep=self.transport.retry.sleep,
            reraise=True,
        )
        # Call it, do not iterate it: iterated, it refers to the last error, and so to the frames of
        # all callers, until the garbage collector runs.
        return await retrying(replay_or_attempt)

    async def _attempt(self) -> Result:
        self.attempt += 1
        transport, request, window = self.transport, self.request, self.transport.window
        epoch = window.take()  # nearly always succeeds, without the cost of a timer and a future
        if epoch is None:
            epoch = await self._wait_for_permit()
        clean = overload = False
        try:
            session = transport.get_session()
            seconds_left = self._limit_attempt()
            if seconds_left <= 0:
                raise _OutOfTimeError
            transport.sent += 1
            transport.retried += self.attempt > 1
            observer = transport.observer
            observed, observing = _UNOBSERVED if observer is None else self._observe(observer)
            # The frames below contain the URL, the body that is sent, and the reply. The caller's
            # own cancellation or time-out passes them too.
            with observing, forget_frames():
                result = self.decode(await transport.send(session, self, seconds_left, observed))
            clean = True
        except TcbError as error:
            overload = is_overload(error)
            self.needs_new_connection = isinstance(error, TransportError) and error.dropped
            _log.debug("%s attempt=%d: %s", request, self.attempt, _describe_outcome(error))
            raise
        finally:
            window.release(epoch, clean=clean, overloaded=overload)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s attempt=%d: errcode=0", request, self.attempt)
        return result

    def _observe(self, observer: Observer) -> tuple[Attempt, AbstractContextManager[object]]:
        transport, request, path = self.transport, self.request, self.request.target.path
        facts = path, self.attempt, transport.window.size, request.env, request.offset
        observed = Attempt(request.method, transport.base_url, *facts)
        return observed, observer.attempting(observed)

    async def _wait_for_permit(self) -> int:
        self.transport.get_session()  # fail before waiting for a permit
        seconds_left = self._get_time_left()
        priority = self.attempt > 1
        try:
            async with asyncio.timeout(seconds_left if seconds_left < math.inf else None):
                return await self.transport.window.acquire(priority=priority)
        except TimeoutError:
            raise _OutOfTimeError from None

    def _limit_attempt(self) -> float:
        """Return the seconds for this attempt, after the wait for a permit.

        A server may refuse a size by not replying: the request for fewer rows needs time, too.
        """
        seconds_left = self._get_time_left()
        return seconds_left if self.fallback is None else seconds_left / 2

    def _get_time_left(self) -> float:
        return self.deadline - self.transport.retry.clock()

    def _make_deadline_error(self) -> TcbError:
        self.stop_reason = self.transport.retry.deadline_passed_message
        self.attempt -= 1  # it was about to begin, and was never sent
        if self.last is not None:
            return self.last
        path, window = self.request.target.path, self.transport.window
        return TransportError(
            f"{path}: nothing was sent, because {window.in_flight} other requests of this client "
            "were in flight until the deadline; make fewer concurrent calls, or allow more time",
            endpoint=path,
            sent=False,
        )

    def _choose_error(self, error: TcbError) -> TcbError:
        """Return the error to raise: the server's, if the deadline cut the last attempt short."""
        is_silent = isinstance(error, TransportError) and error.status is None
        if not (is_silent and self._get_time_left() < _TICK):
            return error
        self.stop_reason = self.transport.retry.deadline_passed_message
        return self.last or error

    # tenacity calls these four after a failure, in this order.

    def _may_help(self, error: BaseException) -> bool:
        """Whether a further attempt may help, with as many rows or with fewer."""
        self.reduces = (
            self.fallback is not None
            and may_refuse_size(error)
            and (
                not is_retryable(error)
                or self.attempt >= min(_MAX_LARGE, self.transport.retry.attempts - 1)
                or 2 * self._get_time_left() <= self.transport.retry.deadline < math.inf
            )
        )
        return self.reduces or is_retryable(error)

    def _wait(self, state: RetryCallState) -> float:
        error = _get_error(state)
        if not is_retryable(error):
            return 0.0
        wait = self.transport.retry.wait(self.attempt, error)
        return min(wait, self._get_time_left() / 2) if self.reduces else wait

    def _should_stop(self, state: RetryCallState) -> bool:
        # The policy first: a retry that it forbids must not take anything out of the quota.
        policy, error = self.transport.retry, _get_error(state)
        # A request for fewer rows is allowed even if the policy allows a single attempt.
        attempt = self.attempt - (self.reduces and policy.attempts == 1)
        reason = policy.stop_reason(attempt, state.upcoming_sleep, self._get_time_left())
        if not (self.request.repeatable or is_refusal(error)):
            reason = "it may have been carried out, so only a repeatable call is sent again"
        if reason is None:
            # An error that is not retried does not mean that the server has too much to do.
            if not is_retryable(error) or self._pay(error):
                return False
            reason = "the client's retry quota is used up: too many calls fail"
        self.stop_reason = reason
        return True

    def _note_retry(self, state: RetryCallState) -> None:
        error, size = _get_error(state), ""
        if self.reduces and self.fallback is not None:
            (self.request, self.decode), self.fallback = self.fallback(), None
            size = " with fewer rows"
        # Stored without its frames, which would stay in memory during the wait.
        self.last = error.with_traceback(None)
        level = logging.INFO if self.attempt == 1 else logging.WARNING
        _log.log(
            level,
            "%s attempt=%d failed (%s), trying again%s in %.2f s",
            self.request, self.attempt, _describe_outcome(error), size, state.upcoming_sleep,
        )  # fmt: skip
        if self.request.count is not None:
            self.request.count.retries += 1

    def _pay(self, error: TcbError) -> bool:
        """Take the cost of a retry after this error out of the quota, if it is enough."""
        cost = self.transport.quota.take(error)
        self.spent += cost
        return cost > 0


def _get_error(state: RetryCallState) -> TcbError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TcbError)  # noqa: S101 - the predicate accepts nothing else
    return error


def _describe_outcome(error: TcbError) -> str:
    if isinstance(error, ApiError):
        return f"errcode={error.errcode} rid={error.rid}"
    return type(error).__name__


_TICK = 0.001  # seconds by which an event loop's timer may be early
_CLOSING = HEADERS | {"Connection": "close"}
# An attempt has one timer, ours, which closing the client can bring forward. aiohttp's would be a
# second timer, and rounds a limit above 5 s up to a whole second, which may cross the deadline.
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
    base_url_setting: str = "the base URL"
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
        # The window limits requests. With fewer connections, they would wait inside aiohttp, where
        # their time is already running.
        connections = max(100, self.window.ceiling)
        self._keeper = SessionKeeper(connections, self.trust_env, self.ssl_context, self._session)

    def get_session(self) -> aiohttp.ClientSession:
        return self._keeper.get_session()

    @property
    def is_closed(self) -> bool:
        return self._keeper.is_closed

    def target(
        self, path: str, query: Mapping[str, str | Secret], more_secrets: Iterable[Secret] = ()
    ) -> Target:
        """Build the target of requests; it can be used again while the query stays the same."""
        url, secrets = URL(self.base_url + path), (*find_secrets(query), *more_secrets)
        full = Hidden(url.with_query({key: Secret(value).reveal() for key, value in query.items()}))
        return Target(path, url, full, secrets)

    def call(
        self,
        request: ApiRequest,
        decode: Decode[Result],
        fallback: Fallback[Result] | None = None,
    ) -> Coroutine[object, object, Result]:
        """Send a request, retry it where that may help, and decode the reply.

        If it fails in a way that may refuse the number of rows, `fallback` makes the request of the
        following attempts, at least one. Raises the last error that says something about the
        server.
        """
        deadline = self.retry.clock() + self.retry.deadline
        return Call(self, request, decode, deadline, fallback).run()

    def call_endpoint(
        self, request: ApiRequest
    ) -> Coroutine[object, object, Hidden[dict[str, Any]]]:
        """Send a request that is not a listing; return the JSON object of the reply."""
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
        """Call an endpoint that returns tokens: see `TokenApi`."""
        query, body = wrap_secrets(query or {}), body and wrap_secrets(body)
        sent_body = None if body is None else Hidden(encode_object(body))
        target = self.target(path, query, find_secrets(body))
        request = ApiRequest(target, sent_body, repeatable=repeatable)
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
        self._keeper.is_closed = True  # first, so that no task that is cancelled starts a new call
        try:
            await self._cancel_live_tasks()
        finally:
            await self._keeper.aclose()

    async def _cancel_live_tasks(self) -> None:
        # Repeated, because a cancelled task may have started a new one. The current task is left
        # out: it would wait for itself.
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
        observed: Attempt | None = None,
    ) -> bytes:
        """Send a call's request once, and return the body of the reply, if that is HTTP 200."""
        request, seconds = call.request, min(self.timeout, seconds_left)
        response: aiohttp.ClientResponse | None = None
        limit = asyncio.timeout(seconds)
        self._keeper.time_limits.add(limit)
        try:
            async with limit:
                response = await self._request(session, call)
                if observed is not None:
                    observed.status = response.status
                return await self._read(response, request)
        except TcbError as error:
            failure = error  # raised after the block: see `tcb_async._redact`
        except Exception as error:  # noqa: BLE001 - the edge: any error that a peer causes becomes ours
            if self.is_closed:
                failure = ClientClosedError()
            elif session.closed:
                text = "the session of this client was closed: make a new client"
                failure = ClientClosedError(text)
            else:
                is_first, has_reply = call.attempt == 1, response is not None
                failure = translate(
                    error,
                    request,
                    seconds,
                    setting=self.base_url_setting,
                    is_first=is_first,
                    has_reply=has_reply,
                )
        finally:
            self._keeper.time_limits.discard(limit)
            if response is not None:
                response.close()  # and its connection, if there is more to read
        if observed is not None and response is None:
            observed.status = getattr(failure, "status", None)  # of a proxy's reply to CONNECT
        raise failure

    def _request(
        self, session: aiohttp.ClientSession, call: Call[Any]
    ) -> Awaitable[aiohttp.ClientResponse]:
        """Start a request, on a new connection if the last connection was dropped."""
        # The pool's key includes `server_hostname`: with it, no pooled connection is found, and a
        # new one is opened. No later request would find this one, so the server must close it.
        request, is_new = call.request, call.needs_new_connection
        target, is_callers = request.target, self._keeper.is_callers_session
        return session.request(
            request.method,
            target.url.reveal() if is_callers else target.bare_url,
            middlewares=None if is_callers else (add_query(target.url),),
            data=None if request.body is None else request.body.reveal(),
            headers=dict(_CLOSING if is_new else HEADERS) if is_new or is_callers else None,
            timeout=_NO_LIMIT,
            allow_redirects=False,  # a redirect to a different host would take the secrets along
            raise_for_status=False,
            server_hostname=target.bare_url.raw_host if is_new else None,
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
