"""Retries: after which wait, until when, and what an error proves.

Rule: a call that fails for a transient reason is attempted until the deadline, or as often as the
policy allows. (A large page that is refused is requested once more, with 20 rows: that is a
different request.)
"""

from __future__ import annotations

import math

import attrs

from tcb_async._arguments import check_count, check_seconds
from tcb_async._defaults import DEFAULT_BACKOFF, DEFAULT_DEADLINE
from tcb_async.errcodes import CLOUD, MINUTE_QUOTA, is_environment_missing
from tcb_async.exceptions import (
    ApiError,
    ConfigurationError,
    ParameterError,
    RateLimitError,
    ResponseError,
    SystemBusyError,
    TcbError,
    TransportError,
)

_MAX_WAIT = 60.0  # seconds
_QUOTA_WAIT = 20.0  # seconds: a third of the minute that the quota is for


def proves_not_carried_out(error: TcbError) -> bool:
    """Whether the error proves that WeChat did not carry out the call."""
    # HTTP 503 proves nothing: a gateway also sends it when its server does not reply.
    # The cloud backend may have begun to carry the call out when it reaches a limit (-501004).
    return not error.sent or (isinstance(error, RateLimitError) and error.errcode not in CLOUD)


def may_refuse_size(error: TcbError) -> bool:
    """Whether the error may be a refusal of the number of rows: a smaller page might succeed."""
    if isinstance(error, ApiError):
        # Any subclass that is not listed says that the reason is the account, or how often it
        # is called.
        is_possible = type(error) in {ApiError, ParameterError, SystemBusyError}
        return is_possible and not is_environment_missing(error)
    return isinstance(error, TransportError | ResponseError) and error.sent


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed attempt is retried, after which wait, and until when.

    The wait after attempt *n* is random, in the upper half of ``base * 2 ** (n - 1)`` seconds or of
    a minute, whichever is less. The server's ``Retry-After`` is a minimum, and so are 20 s after
    45011 (a quota per minute). A wait that would cross the deadline stops there, for a last
    attempt. If the connection of the first attempt is dropped before any reply, the first retry
    follows immediately.

    Attributes:
        attempts: Attempts in all, the first included; 1 for no retries of the same request. None,
            the default, for all that begin before the deadline.
        base: Upper bound of the first wait, in seconds, 1 by default; 0, which needs ``attempts``,
            to wait only for a ``Retry-After``.
        deadline: Seconds from the first attempt of a request in which further attempts may begin,
            60 by default. Each attempt has the client's ``timeout``, or the deadline if that is
            less. So the attempts take ``deadline + timeout`` seconds at most.

    Raises:
        ConfigurationError: A value is out of range.
    """

    attempts: int | None = None
    base: float = DEFAULT_BACKOFF
    deadline: float = DEFAULT_DEADLINE

    def __attrs_post_init__(self) -> None:
        if self.attempts is not None:
            check_count("attempts", self.attempts, minimum=1)
        check_seconds("base", self.base, also=0.0)
        if self.attempts is None and not self.base:
            raise ConfigurationError(
                f"base={self.base!r} needs attempts: without waits, only they limit the requests"
            )
        check_seconds("deadline", self.deadline, also=math.inf)


def choose_wait(policy: RetryPolicy, attempt: int, error: TcbError, chance: float) -> float:
    """Return the seconds to wait after an attempt that failed with this error.

    Args:
        policy: The policy of the client.
        attempt: The number of the attempt, counted from 1.
        error: The error of this attempt.
        chance: A random number from 0 to 1.
    """
    if attempt == 1 and isinstance(error, TransportError) and error.dropped:
        return 0.0
    # The exponent is bounded, because a float overflows at 2 ** 1024.
    maximum = min(policy.base * 2.0 ** min(attempt - 1, 62), _MAX_WAIT)
    minimum: float = getattr(error, "retry_after", None) or 0.0
    if policy.base and getattr(error, "errcode", None) == MINUTE_QUOTA:
        minimum = max(minimum, _QUOTA_WAIT)
    # At least half: short waits would use up the attempts before a short outage is over.
    return max((1.0 + chance) / 2.0 * maximum, minimum)
