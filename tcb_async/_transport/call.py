"""A call with its retries.

Rule: a call takes a place, fetches its token, makes its attempts, and gives the place back.

- Calls get their places in the order in which they were made. A token request needs no place, and
  neither do the calls that a token callback makes: a call that waits for the token may have the
  last place.
- A request that fails for a transient reason is attempted until the deadline: an attempt that
  fails before it is followed by another, at the latest ``deadline`` seconds after the first. Each
  has ``timeout`` seconds. The error of the last one is raised.
- Closing the client ends its attempts, and its waits for the next ones.
- If the first attempt fails, and the number of rows may be the reason, the later ones request
  fewer: immediately after a definite error, else as a retry.

So an outage that is shorter than the deadline fails no call; if the server hangs, one shorter than
``deadline - timeout``. A request that fails for good takes up to ``deadline + timeout``: calls that
wait for their place wait for it too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Generic, TypeVar

import attrs
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from tcb_async._addresses import check_query
from tcb_async._arguments import check_flag
from tcb_async._codec import decode_reply, encode_body
from tcb_async._redact import Secret, find_secrets
from tcb_async._transport.request import ApiRequest
from tcb_async._transport.transport import Transport
from tcb_async.exceptions import TcbError, name_error
from tcb_async.observer import Attempt, Observer
from tcb_async.retry import (
    choose_wait,
    may_refuse_size,
    proves_not_carried_out,
)

T = TypeVar("T")

_log = logging.getLogger("tcb_async")
_log.addHandler(logging.NullHandler())

_UNOBSERVED = None, nullcontext()
# Whether this code runs within a call that has a place, or fetches a token for which such calls may
# wait. Tasks inherit it, so those that a token callback starts need no place either.
_needs_no_place: ContextVar[bool] = ContextVar("_needs_no_place", default=False)
# A user should learn within seconds why nothing happens; a single failure is no news.
_FIRST_NEWS = 2  # attempts
_LONG_WAIT = 10.0  # seconds


@attrs.define(repr=False)
class Call(Generic[T]):
    """The attempts of one request."""

    transport: Transport
    request: ApiRequest
    decode: Callable[[bytes], T]
    # The request of the later attempts, if the number of rows may be the reason for the error of
    # the first. None if the request stays the same.
    smaller_request: ApiRequest | None = None
    was_refused: bool = False  # whether the number of rows may be refused for good
    attempt: int = 0  # number of attempts begun
    began: float = 0.0  # when the first attempt began, by the transport's clock

    async def run(self) -> T:
        """Return the decoded reply, or raise the error of the last attempt."""
        self.began = self.transport.timing.clock()
        try:
            return await self._attempt_repeatedly()
        except TcbError as error:
            # Add the context in one place, whichever error the call raises.
            error.env = self.request.env
            error.offset = self.request.offset
            error.attempts = self.attempt
            # Without the frames of the attempts, which contain the reply: an error may be kept.
            error.__traceback__ = None
            raise

    async def _attempt_repeatedly(self) -> T:
        # Nearly every call succeeds immediately, so the first attempt is made without tenacity,
        # which takes 0.03 ms: as much as a tenth of a page.
        try:
            return await self._attempt()
        except TcbError as error:
            failures = [error]
        if self.smaller_request is not None and may_refuse_size(failures[0]):
            self.request = self.smaller_request
            if not failures[0].retryable:
                self.was_refused = True
                failures.clear()

        async def attempt() -> T:
            # Tenacity's first attempt is the one that was made above, unless that was refused.
            if failures:
                raise failures.pop()
            return await self._attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_retryable),
            wait=self._choose_wait,
            stop=self._must_stop,
            before_sleep=self._report_wait,
            sleep=self.transport.pause,
            reraise=True,
        )
        # Call it, do not iterate it: iterated, it refers to the last error, and so to the frames of
        # all callers, until the garbage collector runs.
        return await retrying(attempt)

    async def _attempt(self) -> T:
        self.attempt += 1
        transport = self.transport
        request = self.request
        try:
            observer = transport.observer
            observed, observing = _UNOBSERVED if observer is None else self._observe(observer)
            with observing:
                reply = await transport.send(request, observed=observed)
                result = self.decode(reply)
        except TcbError as error:
            _log.debug("%s attempt=%d: %s", request, self.attempt, name_error(error))
            raise
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s attempt=%d: errcode=0", request, self.attempt)
        return result

    def _observe(self, observer: Observer) -> tuple[Attempt, AbstractContextManager[object]]:
        observed = Attempt(
            self.request.method,
            self.transport.base_url,
            self.request.target.path,
            self.attempt,
            self.request.env,
            self.request.offset,
        )
        return observed, observer.observe(observed)

    def _choose_wait(self, state: RetryCallState) -> float:
        chance = self.transport.timing.random()
        wait = choose_wait(self.transport.retry, self.attempt, _get_error(state), chance)
        return min(wait, max(0.0, self._count_seconds_left()))

    def _count_seconds_left(self) -> float:
        return self.began + self.transport.retry.deadline - self.transport.timing.clock()

    def _must_stop(self, state: RetryCallState) -> bool:
        """Whether to raise the error now, with the reason."""
        error = _get_error(state)
        policy = self.transport.retry
        if not self.request.repeatable and not proves_not_carried_out(error):
            reason = "it may have been carried out, so only a repeatable call is sent again"
        elif self.attempt == policy.attempts:
            reason = "the retry policy allows no more" if policy.attempts > 1 else ""
        elif self._count_seconds_left() <= 0.0:
            reason = f"the deadline of {policy.deadline:g} s has passed"
        else:
            return False
        error.stop_reason = reason
        return True

    def _report_wait(self, state: RetryCallState) -> None:
        error = _get_error(state)
        wait = state.upcoming_sleep
        # Not each attempt of a minute: a batch would write hundreds of lines.
        is_news = self.attempt == _FIRST_NEWS or wait >= _LONG_WAIT
        level = logging.WARNING if is_news else logging.INFO
        _log.log(
            level,
            "%s attempt=%d failed (%s), trying again in %.2f s",
            self.request, self.attempt, name_error(error), wait,
        )  # fmt: skip
        if self.request.stats is not None:
            self.request.stats.retries += 1
            self.request.stats.last_error = name_error(error)


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, TcbError) and error.retryable


def _get_error(state: RetryCallState) -> TcbError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TcbError)
    return error


async def call_with_place(transport: Transport, send: Callable[[], Awaitable[T]]) -> T:
    """Wait for a place, send a call, and give the place back.

    ``send`` also fetches the token: one that was fetched before the wait may be refused after it.
    """
    transport.keeper.get_session()  # fail before the wait
    if _needs_no_place.get():
        return await send()
    async with transport.places:
        return await call_without_place(send)


async def call_without_place(send: Callable[[], Awaitable[T]]) -> T:
    """Run code whose calls need no place."""
    outer = _needs_no_place.set(True)
    try:
        return await send()
    finally:
        _needs_no_place.reset(outer)


@attrs.define(eq=False)
class ClientTransport(Transport):
    """The transport of a client: also the `TokenApi` of its token provider."""

    async def call_token_endpoint(
        self,
        path: str,
        *,
        query: Mapping[str, str | Secret] | None = None,
        body: Mapping[str, object] | None = None,
        repeatable: bool = True,
    ) -> Mapping[str, object]:
        check_flag("repeatable", repeatable)
        arguments = check_query(query)
        encoded = None if body is None else encode_body(body)
        target = self.target(path, arguments, find_secrets(body or {}))
        request = ApiRequest(target, encoded, repeatable=repeatable)
        decode = partial(decode_reply, endpoint=path, secrets=target.secrets)
        return await Call(self, request, decode).run()
