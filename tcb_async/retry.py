"""Retries: which errors, after which wait, and until when.

Rule: only transient errors are retried, and never beyond the attempts, the deadline or the quota
that a client's calls share.
"""

from __future__ import annotations

import math
import sys

import attrs

from tcb_async._arguments import is_number, make_validator
from tcb_async._defaults import (
    DEFAULT_ATTEMPTS,
    DEFAULT_BACKOFF,
    DEFAULT_BACKOFF_CAP,
    DEFAULT_DEADLINE,
)
from tcb_async.errcodes import CLOUD, MINUTE_QUOTA
from tcb_async.exceptions import (
    ApiError,
    DriftError,
    QuotaError,
    RateLimitError,
    ResponseError,
    SystemBusyError,
    TcbError,
    TransportError,
)

_DAY_SECONDS = 86_400.0
_COST = 14
_COST_IF_THROTTLED = 5
_THROTTLED = (RateLimitError, SystemBusyError)
_MAX_SECONDS = sys.float_info.max  # a larger int cannot be added to a clock


def is_retryable(error: BaseException) -> bool:
    """Whether a further attempt, or a further walk, may succeed."""
    if isinstance(error, TransportError):
        return error.retryable
    if isinstance(error, ResponseError):
        return error.truncated
    return isinstance(error, (*_THROTTLED, DriftError))


def is_overload(error: BaseException) -> bool:
    """Whether the error is a sign of overload, so that fewer requests should be in flight."""
    if isinstance(error, TransportError):
        return error.overload
    return isinstance(error, _THROTTLED)


def is_dropped(error: BaseException | None) -> bool:
    """Whether the connection of a call's first attempt was dropped before any reply."""
    return isinstance(error, TransportError) and error.dropped


def proves_not_carried_out(error: TcbError) -> bool:
    """Whether the error proves that WeChat did not carry out the call."""
    # HTTP 503 proves nothing: a gateway also sends it when its server does not reply.
    # The cloud backend may have begun to carry the call out when it reaches a limit (-501004).
    return not error.sent or (isinstance(error, RateLimitError) and error.errcode not in CLOUD)


def may_refuse_size(error: BaseException) -> bool:
    """Whether the error may be a refusal of the number of rows: a smaller page might succeed."""
    if is_retryable(error):  # the same request may succeed
        return False
    if isinstance(error, ApiError):
        # The reason is the account, its environment, or how often it is called.
        is_accounts = error.scope in {"merchant", "platform"}
        return not is_accounts and not isinstance(error, QuotaError)
    return isinstance(error, ResponseError | TransportError) and error.sent


@attrs.define
class RetryQuota:
    """A budget for the retries of all calls of a client, so that they never become a storm.

    A retry takes some of it, a retry after throttling less. A successful call returns the cost of
    its retries, or 1 if it needed none. When the budget is used up, failed calls are not retried.
    The numbers are those of botocore's standard mode, for up to 17 requests in flight.
    """

    capacity: int = 500
    available: int = attrs.field(default=attrs.Factory(lambda self: self.capacity, takes_self=True))

    @classmethod
    def for_window(cls, ceiling: int) -> RetryQuota:
        """Make a budget that a first burst does not use up: two retries of a full window."""
        # All requests in flight may fail together, then half of them in the halved window, …
        return cls(max(500, 2 * _COST * ceiling))

    def suffices(self, error: BaseException) -> bool:
        """Whether a retry after this error can be taken out of it."""
        return _find_cost(error) <= self.available

    def take(self, error: BaseException) -> int:
        """Take the cost of a retry after this error, and return it."""
        cost = _find_cost(error)
        self.available -= cost
        return cost

    def put_back(self, amount: int) -> None:
        """Put an amount back, up to the capacity."""
        self.available = min(self.capacity, self.available + amount)


def _find_cost(error: BaseException) -> int:
    if not is_retryable(error):  # a size was refused, which says nothing about the load
        return 0
    # A throttling server will soon accept requests again; a server that is down costs more.
    return _COST_IF_THROTTLED if isinstance(error, _THROTTLED) else _COST


_at_least_one = make_validator(
    lambda value: type(value) is int and value >= 1, "a whole number, 1 or more"
)
_seconds = make_validator(
    lambda value: is_number(value) and 0 <= value <= _MAX_SECONDS, "a number of seconds, 0 or more"
)
_positive_seconds = make_validator(
    lambda value: is_number(value) and (0 < value <= _MAX_SECONDS or value == math.inf),
    "a number of seconds above 0, or math.inf",
)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed attempt is retried, after which wait, and until when.

    In tenacity's terms, the wait is ``wait_random_exponential(multiplier=base, max=cap)`` (full
    jitter: evenly from 0 to ``min(cap, base * 2 ** (n - 1))`` seconds before attempt *n + 1*), and
    the stop is ``stop_after_attempt(attempts) | stop_before_delay(deadline)``. The server's
    ``Retry-After`` is a minimum for a wait, and so are 15 to 20 s, at random, after 45011 (a quota
    per minute); but no wait lasts longer than a day. If the connection of the first attempt is
    dropped before any reply, as kept-alive connections may be at any time, the first retry follows
    immediately, on a new connection.

    Busy errcodes (such as -1), rate limits (45011, HTTP 429), failures of the network, HTTP 408 and
    5xx, and truncated replies are retried; any other error is raised immediately. A stale token
    (40001, 42001) is replaced once. An HTTP status counts whether WeChat sent it or a proxy.

    Attributes:
        attempts: Attempts in all, the first included; 1 for no retries. A page of the default size
            has two at least: see `WalkOptions.page_size`.
        base: Upper bound of the first wait, in seconds; 0 to wait only for a ``Retry-After``.
        cap: Upper bound of every wait, in seconds, except for these two minimums.
        deadline: Seconds for all attempts of a call, counted from the first. No wait begins that
            would cross it, and the timeout of each attempt is cut to the time left. The last error
            before the deadline is raised. A call waits for its turn for as many seconds, or, if
            that is later, until no call of the client has succeeded for ``deadline + timeout``
            seconds. A long queue alone is not an error.

    Raises:
        ConfigurationError: A value is out of range.
    """

    attempts: int = attrs.field(default=DEFAULT_ATTEMPTS, validator=_at_least_one)
    base: float = attrs.field(default=DEFAULT_BACKOFF, validator=_seconds)
    cap: float = attrs.field(default=DEFAULT_BACKOFF_CAP, validator=_seconds)
    deadline: float = attrs.field(default=DEFAULT_DEADLINE, validator=_positive_seconds)


def choose_wait(policy: RetryPolicy, attempt: int, error: TcbError, chance: float) -> float:
    """Return the seconds to wait after an attempt that failed with this error.

    Args:
        policy: The policy of the client.
        attempt: The number of the attempt, counted from 1.
        error: Its error.
        chance: A random number from 0 to 1.
    """
    is_size_refused = not is_retryable(error)
    if is_size_refused or (attempt == 1 and is_dropped(error)):
        return 0.0
    # The exponent is bounded, because a float overflows at 2 ** 1024.
    maximum = min(policy.cap, policy.base * 2.0 ** min(attempt - 1, 62))
    minimum: float = getattr(error, "retry_after", None) or 0.0
    if policy.base and getattr(error, "errcode", None) == MINUTE_QUOTA:
        minimum = max(minimum, 15.0 + 5.0 * chance)
    return max(chance * maximum, minimum)


def find_stop_reason(
    policy: RetryPolicy, attempt: int, wait: float, seconds_left: float
) -> str | None:
    """Return the reason to stop after an attempt and before a wait; None to go on."""
    if attempt >= policy.attempts:
        return "the retry policy allows no more" if policy.attempts > 1 else ""
    if wait >= seconds_left:
        return f"the next wait would cross the deadline of {policy.deadline:g} s"
    # A `Retry-After` of years is a mistake, and a call without a deadline would wait for it.
    if wait > max(_DAY_SECONDS, policy.cap):
        return f"the server requests a wait of {wait:.3g} s"
    return None
