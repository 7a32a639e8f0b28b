"""A call with its retries, within the policy and the quota that all calls of a client share.

Rule: after each attempt, policy and quota decide whether to go on.

**The order of the limits.** A call first waits for a permit of the window, then makes its attempt.
The deadline, set when the call begins, limits both; an attempt has ``timeout`` seconds, or the rest
of the deadline if that is less.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

import attrs
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from tcb_async._codec import decode_reply, encode_object
from tcb_async._redact import Hidden, Secret, find_secrets, forget_frames, wrap_secrets
from tcb_async._transport.request import ApiRequest
from tcb_async._transport.transport import Transport
from tcb_async.exceptions import ApiError, TcbError, TransportError, name_error
from tcb_async.observer import Attempt, Observer
from tcb_async.retry import is_dropped, is_overload, is_refusal, is_retryable, may_refuse_size

Result = TypeVar("Result")

_log = logging.getLogger("tcb_async")
_log.addHandler(logging.NullHandler())

_UNOBSERVED = None, nullcontext()
_TICK = 0.001  # seconds by which an event loop's timer may be early
_LONG_WAIT = 10.0  # seconds: a user should learn why nothing happens
_MAX_LARGE = 2  # attempts before a transient error may mean that the server refuses the size


class _OutOfTimeError(Exception):
    """The deadline passed before an attempt was begun."""


Decode = Callable[[bytes], Result]
Fallback = Callable[[], tuple[ApiRequest, Decode[Result]]]


@attrs.define(repr=False)  # a tool may show this when some of it has been deleted
class Call(Generic[Result]):
    """The attempts of one request."""

    transport: Transport
    request: ApiRequest
    decode: Decode[Result]
    # Makes a request for fewer rows, for the attempts after an error that may refuse the number of
    # rows, at least one; None without one, or when it has been made.
    fallback: Fallback[Result] | None = None
    deadline: float = attrs.field(init=False)  # by the policy's clock
    attempt: int = 0  # number of attempts begun
    spent: int = 0  # cost of its retries, taken from the quota
    # The last error that says something about the server. An attempt that the deadline cut short,
    # or prevented, says nothing.
    last: TcbError | None = None
    stop_reason: str = ""  # why no further attempt is made
    needs_new_connection: bool = False  # the last attempt's connection was dropped
    reduces: bool = False  # the next attempt is the first with fewer rows

    def __attrs_post_init__(self) -> None:
        retry = self.transport.retry
        self.deadline = retry.clock() + retry.deadline

    async def run(self) -> Result:
        """Return the decoded reply, or raise the last error that tells about the server."""
        try:
            result = await self._attempt_repeatedly()
        except _OutOfTimeError:
            failure = self._choose_error(None)
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
        # Nearly every call succeeds immediately, so the first attempt is made without tenacity.
        # With it, a page costs 1.89 × raw dicts in place of 1.40 at 20 rows,
        # 1.81 in place of 1.47 at 100.
        try:
            return await self._attempt()
        except TcbError as error:
            first_error = error

        async def attempt_again() -> Result:
            if self.last is None:  # tenacity has not seen the first error: `_note_retry` sets it
                raise first_error
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
        return await retrying(attempt_again)

    async def _attempt(self) -> Result:
        self.attempt += 1
        transport, request, window = self.transport, self.request, self.transport.window
        epoch = window.take()  # nearly always succeeds, without the cost of a timer and a future
        if epoch is None:
            epoch = await self._wait_for_permit()
        clean = overload = False
        try:
            session = transport.get_session()
            seconds_left = self._get_time_left()
            if self.fallback is not None:
                # A server may refuse a size by not replying: fewer rows need time, too.
                seconds_left /= 2
            if seconds_left <= 0:
                raise _OutOfTimeError
            observer = transport.observer
            observed, observing = _UNOBSERVED if observer is None else self._observe(observer)
            # The frames below contain the URL, the body that is sent, and the reply. The caller's
            # own cancellation or time-out passes them too.
            with observing, forget_frames():
                reply = await transport.send(
                    session,
                    request,
                    seconds_left,
                    is_first=self.attempt == 1,
                    on_new_connection=self.needs_new_connection,
                    observed=observed,
                )
                result = self.decode(reply)
            clean = True
        except TcbError as error:
            overload = is_overload(error)
            self.needs_new_connection = is_dropped(error)
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

    def _get_time_left(self) -> float:
        return self.deadline - self.transport.retry.clock()

    def _choose_error(self, error: TcbError | None) -> TcbError:
        """Return the error to raise: the server's, if the deadline cut the last attempt short."""
        if error is None:
            self.attempt -= 1  # it was about to begin, and was never sent
        else:
            is_silent = isinstance(error, TransportError) and error.status is None
            if not (is_silent and self._get_time_left() < _TICK):
                return error
        self.stop_reason = f"the deadline of {self.transport.retry.deadline:g} s passed"
        return self.last or error or self._make_unsent_error()

    def _make_unsent_error(self) -> TransportError:
        path, window = self.request.target.path, self.transport.window
        return TransportError(
            f"{path}: nothing was sent, because {window.in_flight} other requests of this client "
            "were in flight until the deadline; make fewer concurrent calls, or allow more time",
            endpoint=path,
            sent=False,
        )

    # tenacity calls these four after a failure, in this order.

    def _may_help(self, error: BaseException) -> bool:
        """Whether a further attempt may help, with as many rows or with fewer."""
        seconds_left = self._get_time_left() - _get_retry_after(error)  # at the next attempt
        self.reduces = (
            self.fallback is not None
            and may_refuse_size(error)
            and (
                not is_retryable(error)
                or self.attempt >= min(_MAX_LARGE, self.transport.retry.attempts - 1)
                or 2 * seconds_left <= self.transport.retry.deadline < math.inf
            )
        )
        return self.reduces or is_retryable(error)

    def _wait(self, state: RetryCallState) -> float:
        error = _get_error(state)
        if not is_retryable(error):
            return 0.0
        wait = self.transport.retry.wait(self.attempt, error)
        if self.reduces:  # the smaller request needs time, too; the server's minimum is kept
            wait = max(_get_retry_after(error), min(wait, self._get_time_left() / 2))
        return wait

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
        is_long = state.upcoming_sleep >= _LONG_WAIT
        level = logging.WARNING if self.attempt > 1 or is_long else logging.INFO
        _log.log(
            level,
            "%s attempt=%d failed (%s), trying again%s in %.2f s",
            self.request, self.attempt, _describe_outcome(error), size, state.upcoming_sleep,
        )  # fmt: skip
        if self.request.count is not None:
            self.request.count.retries += 1
            self.request.count.last_error = name_error(error)

    def _pay(self, error: TcbError) -> bool:
        """Take the cost of a retry after this error out of the quota, if it is enough."""
        cost = self.transport.quota.take(error)
        self.spent += cost
        return cost > 0


def _get_error(state: RetryCallState) -> TcbError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TcbError)  # noqa: S101 - the predicate accepts nothing else
    return error


def _get_retry_after(error: BaseException) -> float:
    return getattr(error, "retry_after", None) or 0.0


def _describe_outcome(error: TcbError) -> str:
    if isinstance(error, ApiError) and error.errcode is not None:
        return f"errcode={error.errcode} rid={error.rid}"
    return type(error).__name__


def call_endpoint(
    transport: Transport, request: ApiRequest
) -> Coroutine[object, object, Hidden[dict[str, Any]]]:
    """Send a request to any endpoint; return the JSON object of the reply."""
    path, secrets = request.target.path, request.target.secrets
    return Call(
        transport, request, lambda reply: Hidden(decode_reply(reply, path, secrets=secrets))
    ).run()


@attrs.frozen
class TransportApi:
    """The `TokenApi` of a client: what a token provider may do with its transport."""

    transport: Transport

    @property
    def base_url(self) -> str:
        return self.transport.base_url

    async def call_token_endpoint(
        self,
        path: str,
        *,
        query: Mapping[str, str | Secret] | None = None,
        body: Mapping[str, object] | None = None,
        repeatable: bool = True,
    ) -> Mapping[str, object]:
        query, body = wrap_secrets(query or {}), body and wrap_secrets(body)
        sent_body = None if body is None else Hidden(encode_object(body))
        target = self.transport.target(path, query, find_secrets([query, body]))
        request = ApiRequest(target, sent_body, repeatable=repeatable)
        return (await call_endpoint(self.transport, request)).reveal()

    def spawn(self, work: Coroutine[object, object, Result]) -> asyncio.Task[Result]:
        return self.transport.spawn(work)
