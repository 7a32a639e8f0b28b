"""When to try again, how long to wait first, and when to stop.

Rule: only what another try may cure is tried again, and never past the attempts, the deadline or
the quota that a client's calls share.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING, TypeVar

import attrs
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from tcb_async.exceptions import (
    ConfigurationError,
    RateLimitError,
    ResponseError,
    SystemBusyError,
    TcbError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Deadline", "RetryPolicy", "RetryQuota", "is_retryable"]

_A_DAY = 86_400.0
Result = TypeVar("Result")


def is_retryable(error: BaseException) -> bool:
    """Whether another try may succeed where this one failed."""
    match error:
        case SystemBusyError() | RateLimitError():
            return True
        case TransportError():
            return error.retryable
        case ResponseError():
            return error.truncated
        case _:
            return False


@attrs.define
class RetryQuota:
    """What all calls of a client may spend on retries, so that they never become a storm.

    A retry takes `cost` out, a throttled one less; a success puts back what its own retries took,
    or 1 if it needed none. Empty, a call fails at once. The numbers are those of botocore's
    standard mode.

    Attributes:
        capacity: What it holds when full.
        available: What it holds now.
    """

    capacity: int = 500
    available: int = attrs.field(default=attrs.Factory(lambda self: self.capacity, takes_self=True))

    def cost(self, error: BaseException) -> int:
        """What a retry after this error takes."""
        return 5 if isinstance(error, (RateLimitError, SystemBusyError)) else 14

    def take(self, cost: int) -> bool:
        """Take so much out; False, and nothing taken, if it is not there."""
        if cost > self.available:
            return False
        self.available -= cost
        return True

    def put_back(self, amount: int) -> None:
        """Put so much back, up to the capacity."""
        self.available = min(self.capacity, self.available + amount)


@attrs.define
class Deadline:
    """Seconds that run from the first time that it is asked what is left of them."""

    seconds: float
    clock: Callable[[], float]
    started: float | None = None

    def left(self) -> float:
        """Seconds that are left; 0 or less when there are none."""
        now = self.clock()
        if self.started is None:
            self.started = now
        return self.started + self.seconds - now


def _seconds(_: RetryPolicy, field: attrs.Attribute[float], value: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ConfigurationError(
            f"RetryPolicy({field.name}={value!r}): must be a number of seconds, 0 or more"
        )


def _some_seconds(_: RetryPolicy, field: attrs.Attribute[float], value: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not value > 0:
        raise ConfigurationError(
            f"RetryPolicy({field.name}={value!r}): must be a number of seconds above 0, or math.inf"
        )


def _at_least_one(_: RetryPolicy, field: attrs.Attribute[int], value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(
            f"RetryPolicy({field.name}={value!r}): must be a whole number, 1 or more"
        )


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and how patiently a request is tried.

    The wait before try *n + 1* is drawn evenly from 0 to ``min(cap, base * 2 ** (n - 1))`` seconds
    (full jitter); a ``Retry-After`` of the server's is waited for at the least, but never beyond
    the deadline, nor longer than a day. A connection that was dropped before any answer came, as
    happens to kept-alive ones, is tried again at once, the first time, on a new connection.

    ==================================================  ==========================================
    what happened                                       what is done
    ==================================================  ==========================================
    -1, -1000, -501001, -501002, -601001, -601003       tried again
    45011, -501004, HTTP 429                            tried again
    no connection, time-out, cut short, HTTP 5xx, 408   tried again
    JSON that ends too early                            tried again
    dropped before an answer                            tried again at once, on a new connection
    40001, 40014, 41001, 42001                          one fresh token, one replay
    any other errcode or HTTP 4xx, a redirect, HTML     raised at once
    ==================================================  ==========================================

    Attributes:
        attempts: Tries in all, the first included; 1 or more.
        base: Seconds; the longest first wait.
        cap: Seconds; the longest wait.
        deadline: Seconds from the first try; no wait is begun that would cross it, and each try's
            own time is cut to what is left.
        clock: Monotonic seconds; for tests.
        sleep: How to wait; for tests.
        random: A number from 0 to 1; for tests.

    Raises:
        ConfigurationError: A value is out of range.
    """

    attempts: int = attrs.field(default=5, validator=_at_least_one)
    base: float = attrs.field(default=1.0, validator=_seconds)
    cap: float = attrs.field(default=20.0, validator=_seconds)
    deadline: float = attrs.field(default=60.0, validator=_some_seconds)
    clock: Callable[[], float] = attrs.field(default=time.monotonic, repr=False)
    sleep: Callable[[float], Awaitable[None]] = attrs.field(default=asyncio.sleep, repr=False)
    random: Callable[[], float] = attrs.field(default=random.random, repr=False)

    @classmethod
    def none(cls) -> RetryPolicy:
        """Build a policy that tries once."""
        return cls(attempts=1)

    def wait(self, number: int, error: BaseException | None) -> float:
        """Seconds to wait after try `number`, counted from 1, ended with this error."""
        if number == 1 and isinstance(error, TransportError) and error.dropped:
            return 0.0
        longest = min(self.cap, self.base * 2.0 ** min(number - 1, 62))
        asked = getattr(error, "retry_after", None) or 0.0
        return max(self.random() * longest, asked)

    async def run(
        self,
        attempt: Callable[[int, Deadline], Awaitable[Result]],
        quota: RetryQuota,
        on_retry: Callable[[TcbError, int, float], None],
    ) -> Result:
        """Call until it succeeds, or until this policy or the quota says stop.

        Args:
            attempt: One try, given its number, counted from 1, and the deadline, which begins to
                run when it is first asked for what is left.
            quota: What the calls of one client share.
            on_retry: Told the error, the number of the try that it ended, and the seconds of
                waiting that follow.

        Returns:
            What the try that succeeded returned.

        Raises:
            TcbError: The last try's own error, with `attempts` and `gave_up` filled in.
        """
        deadline = Deadline(self.deadline, self.clock)
        try:
            result = await attempt(1, deadline)
        except TcbError as error:
            if not is_retryable(error) or self.attempts == 1:
                error.attempts = 1
                raise
            first = error
        else:
            quota.put_back(1)
            return result
        return await _Retries(self, quota, on_retry, deadline, first).run(attempt)


@attrs.define
class _Retries:
    """The tries after the first: tenacity decides, told of a first failure that has happened."""

    policy: RetryPolicy
    quota: RetryQuota
    on_retry: Callable[[TcbError, int, float], None]
    deadline: Deadline
    first: TcbError
    spent: int = 0
    gave_up: str = ""

    async def run(self, attempt: Callable[[int, Deadline], Awaitable[Result]]) -> Result:
        number = 0

        async def replay_then_try() -> Result:
            nonlocal number
            number += 1
            if number == 1:
                raise self.first
            return await attempt(number, self.deadline)

        retrying = AsyncRetrying(
            retry=retry_if_exception(is_retryable),
            wait=self._wait,
            stop=self._stop,
            sleep=self.policy.sleep,
            before_sleep=self._before_sleep,
            reraise=True,
        )
        try:
            result: Result = await retrying(replay_then_try)
        except TcbError as error:
            error.attempts = number
            error.gave_up = self.gave_up if is_retryable(error) else ""
            raise
        self.quota.put_back(self.spent)
        return result

    def _wait(self, state: RetryCallState) -> float:
        return self.policy.wait(state.attempt_number, _error(state))

    def _stop(self, state: RetryCallState) -> bool:
        if state.attempt_number >= self.policy.attempts:
            self.gave_up = f"all {self.policy.attempts} attempts are used up"
        elif state.upcoming_sleep >= self.deadline.left():
            self.gave_up = f"another wait would cross the deadline of {self.policy.deadline:g} s"
        elif state.upcoming_sleep > max(_A_DAY, self.policy.cap):
            self.gave_up = f"the server asks for a wait of {state.upcoming_sleep:.3g} s"
        elif not self.quota.take(cost := self.quota.cost(_error(state))):
            self.gave_up = "the client's retry quota is used up: too many calls fail at once"
        else:
            self.spent += cost
            return False
        return True

    def _before_sleep(self, state: RetryCallState) -> None:
        self.on_retry(_error(state), state.attempt_number, state.upcoming_sleep)


def _error(state: RetryCallState) -> TcbError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TcbError)  # noqa: S101 - the predicate lets nothing else through
    return error
