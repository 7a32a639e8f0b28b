"""The calls of a client: their places, their attempts, and what they share.

Rule: a call keeps its place until it returns or raises.

- Calls get their places in the order in which they were made. A token request needs no place, and
  neither do the calls that a token callback makes: a call that waits for the token may have the
  last place.
- A request that fails for a transient reason is attempted until the deadline: an attempt that
  fails before it is followed by the next, which begins at most ``deadline`` seconds after the
  first. Each has ``timeout`` seconds. The error of the last attempt is raised.
- Closing the client stops its calls, wherever they wait, with `ClientClosedError`: those of walks
  are tasks of the client, and `Transport.until_closed` stops those in the caller's task.
- If the first attempt at more than 20 rows fails, and the number may be the reason, the later ones
  request 20: immediately after a definite error, else as a retry. No refusal is remembered.

So an outage that is shorter than the deadline fails no repeatable call, unless the policy limits
the attempts; if the server hangs, one shorter than ``deadline - timeout``. A request that fails for
good takes up to ``deadline + timeout``: calls that wait for their place wait for it too.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from contextvars import Token as ContextToken
from functools import partial
from operator import attrgetter
from typing import Generic, TypeVar

import attrs
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, retry_if_exception_type

from tcb_async._addresses import check_path, check_query
from tcb_async._arguments import check_flag
from tcb_async._codec import decode_reply, encode_body
from tcb_async._defaults import DEFAULT_TIMEOUT
from tcb_async._redact import Secret, find_secrets
from tcb_async._transport.request import ApiRequest, make_target
from tcb_async._transport.sending import send
from tcb_async._transport.session import SessionKeeper
from tcb_async.exceptions import ClientClosedError, ConfigurationError, TcbError, quote_error
from tcb_async.observer import Attempt, Observer
from tcb_async.retry import RetryPolicy, choose_wait, may_refuse_size, proves_not_carried_out

T = TypeVar("T")

_log = logging.getLogger("tcb_async")
_log.addHandler(logging.NullHandler())

_UNOBSERVED = None, nullcontext()
# Whether this code runs within a call that has a place, or fetches a token for which such calls may
# wait. Tasks inherit it, so those that a token callback starts need no place either.
_needs_no_place: ContextVar[bool] = ContextVar("_needs_no_place", default=False)
_LONG_WAIT = 10.0  # seconds
_SILENCE = 10.0  # seconds between two warnings of a client


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
    """Session, limits and background tasks of a client: also the `TokenApi` of its provider."""

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
                    if not task.cancelling():  # a second one would stop a merchant's rotation
                        task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
        finally:
            await self.keeper.aclose()

    def send(self, request: ApiRequest, observed: Attempt | None) -> Awaitable[bytes]:
        """Send a request once: see `tcb_async._transport.sending`."""
        self.request_count += 1
        return send(self.keeper, request, self.timeout, observed)

    async def call_token_endpoint(
        self,
        path: str,
        *,
        query: Mapping[str, str | Secret] | None = None,
        body: Mapping[str, object] | None = None,
        repeatable: bool = True,
    ) -> Mapping[str, object]:
        check_flag("repeatable", repeatable)
        path = check_path(path)
        arguments = check_query(query)
        # No variable has the encoded body: tools that record the variables of frames would show it.
        request = ApiRequest(
            make_target(self.base_url, path, arguments),
            None if body is None else encode_body(body),
            repeatable=repeatable,
        )
        secrets = find_secrets({"query": arguments, "body": body})
        target = make_target(self.base_url, path, arguments, secrets)
        request = attrs.evolve(request, target=target)
        decode = partial(decode_reply, endpoint=path, secrets=target.secrets)
        return await Attempts(self, request, decode).run()


@attrs.define(repr=False)
class Attempts(Generic[T]):
    """The attempts of one request."""

    transport: Transport
    request: ApiRequest
    decode: Callable[[bytes], T]
    number: int = 0  # of the latest attempt, counted from 1
    began: float = 0.0  # when the first attempt began, by the transport's clock

    async def run(self) -> T:
        """Return the decoded reply, or raise the error of the last attempt."""
        self.began = self.transport.timing.clock()
        try:
            return await self._attempt_repeatedly()
        except TcbError as error:
            # Add the context in one place, whichever error the attempts raise.
            error.env = self.request.env
            error.offset = self.request.offset
            error.attempts = self.number
            error.stop_reason = self._find_stop_reason(error) or ""
            # Drop the frames of the attempts: they contain the reply, and an error may be stored.
            error.__traceback__ = None
            raise

    async def _attempt_repeatedly(self) -> T:
        """Attempt until the policy says stop, with a smaller page if the first was refused."""
        # Nearly every request succeeds immediately, so the first attempt is made without tenacity,
        # which takes 0.03 ms: as much as a tenth of a page.
        try:
            return await self._attempt()
        except TcbError as error:
            # Without its traceback: that refers to this frame, which now refers to the error.
            first_error = error.with_traceback(None)
        smaller_body = self.request.smaller_body
        has_smaller = smaller_body is not None and smaller_body != self.request.body
        if has_smaller and may_refuse_size(first_error):
            self.request = attrs.evolve(self.request, body=smaller_body, smaller_body=None)
            if not first_error.retryable:
                return await self._attempt_repeatedly()

        async def attempt() -> T:
            if retrying.statistics["attempt_number"] == 1:  # it was made above
                raise first_error
            return await self._attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TcbError) & retry_if_exception(attrgetter("retryable")),
            wait=self._choose_wait,
            stop=self._must_stop,
            before_sleep=self._report_wait,
            sleep=self.transport.pause,
            reraise=True,
        )
        # Call it, do not iterate it: iterated, it refers to the last error, and so to the frames of
        # all callers, until the garbage collector runs.
        try:
            return await retrying(attempt)
        finally:
            first_error.__traceback__ = None  # it refers to the frame of `attempt`

    async def _attempt(self) -> T:
        self.number += 1
        transport = self.transport
        request = self.request
        try:
            observer = transport.observer
            observed, observing = _UNOBSERVED if observer is None else self._observe(observer)
            with observing:
                reply = await transport.send(request, observed)
                result = self.decode(reply)
                if _log.isEnabledFor(logging.DEBUG):
                    _log.debug("%s attempt=%d: errcode=0", request, self.number)
                return result
        except TcbError as error:
            _log.debug("%s attempt=%d: %s", request, self.number, quote_error(error))
            raise
        raise ConfigurationError(
            "the observer suppressed the error of an attempt: its context manager must let it pass"
        )

    def _observe(self, observer: Observer) -> tuple[Attempt, AbstractContextManager[object]]:
        observed = Attempt(
            self.request.method,
            self.transport.base_url,
            self.request.target.path,
            self.number,
            self.request.env,
            self.request.offset,
        )
        return observed, observer.observe(observed)

    def _choose_wait(self, state: RetryCallState) -> float:
        chance = self.transport.timing.random()
        wait = choose_wait(self.transport.retry, self.number, _get_error(state), chance)
        return min(wait, max(0.0, self._count_seconds_left()))

    def _count_seconds_left(self) -> float:
        return self.began + self.transport.retry.deadline - self.transport.timing.clock()

    def _must_stop(self, state: RetryCallState) -> bool:
        return self._find_stop_reason(_get_error(state)) is not None

    def _find_stop_reason(self, error: TcbError) -> str | None:
        """Return why a retryable error is raised now; None if the request is attempted again."""
        policy = self.transport.retry
        if not error.retryable:
            return None
        if not self.request.repeatable and not proves_not_carried_out(error):
            return "it may have been carried out, so only a repeatable call is sent again"
        if policy.attempts is not None and self.number >= policy.attempts:
            return "the retry policy allows no more" if self.number > 1 else ""
        if self._count_seconds_left() <= 0.0:
            return f"the deadline of {policy.deadline:g} s has passed"
        return None

    def _report_wait(self, state: RetryCallState) -> None:
        error = _get_error(state)
        wait = state.upcoming_sleep
        # A user learns within seconds why nothing happens, but not of a single failure, nor of each
        # of the hundreds of calls that fail in one outage.
        now = self.transport.timing.clock()
        is_lasting = self.number > 1 or wait >= _LONG_WAIT
        is_news = is_lasting and now >= self.transport.warned_at + _SILENCE
        if is_news:
            self.transport.warned_at = now
        level = logging.WARNING if is_news else logging.INFO
        _log.log(
            level,
            "%s attempt=%d failed (%s), trying again in %.2f s",
            self.request, self.number, quote_error(error), wait,
        )  # fmt: skip
        if self.request.stats is not None:
            self.request.stats.retries += 1
            self.request.stats.last_error = quote_error(error)


def _get_error(state: RetryCallState) -> TcbError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TcbError)
    return error


@attrs.define(eq=False)
class Place:
    """The place of a call: entering the block waits for the place, leaving gives it back.

    The token is fetched in the block: a token from before the wait may be refused after it.
    It is a class, because a generator would make each page a hundredth slower.
    """

    transport: Transport
    # Resets `_needs_no_place`; None if the call needs no place.
    _outer: ContextToken[bool] | None = attrs.field(init=False, default=None)

    async def __aenter__(self) -> None:
        self.transport.keeper.get_session()  # fail before the wait
        if _needs_no_place.get():
            return
        await self.transport.places.acquire()
        self._outer = _needs_no_place.set(True)

    async def __aexit__(self, *_: object) -> None:
        if self._outer is not None:
            _needs_no_place.reset(self._outer)
            self.transport.places.release()


@contextmanager
def allow_without_place() -> Generator[None]:
    """Allow calls without a place in the block, and in the tasks that it starts."""
    outer = _needs_no_place.set(True)
    try:
        yield
    finally:
        _needs_no_place.reset(outer)
