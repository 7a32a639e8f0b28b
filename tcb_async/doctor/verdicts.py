"""The verdict of a check, and the facts that several checks need.

Rule: an error that a later attempt may not get says nothing about WeChat.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from enum import Enum, auto
from itertools import pairwise

import attrs

from tcb_async.doctor.probes import HUGE, SMALL
from tcb_async.doctor.record import NoRequestsLeftError, Reading, Record
from tcb_async.exceptions import (
    ApiError,
    DailyQuotaError,
    DriftError,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.retry import is_retryable


@attrs.frozen
class Verdict:
    """What a check says.

    Attributes:
        is_right: Whether WeChat behaves as assumed; None if that cannot be known.
        observed: What was observed, or why nothing was.
        advice: What to do; empty if WeChat behaves as assumed.
    """

    is_right: bool | None
    observed: str
    advice: str = ""


def right(observed: str) -> Verdict:
    """WeChat behaves as assumed."""
    return Verdict(is_right=True, observed=observed)


def wrong(observed: str, advice: str) -> Verdict:
    """WeChat differs."""
    return Verdict(is_right=False, observed=observed, advice=advice)


def unclear(observed: str, advice: str) -> Verdict:
    """These replies do not show it."""
    return Verdict(is_right=None, observed=observed, advice=advice)


SEND = "please send this report"
AGAIN = "run `tcb-async doctor` again later"
DEPLOY = "deploy some functions, and run it again"
CHANGED = unclear("the list changed during the check", "run it again while nothing is deployed")
NO_REPLY = unclear("no reply", AGAIN)


def is_transient(error: object) -> bool:
    """Whether it is an error that a later attempt may not get."""
    if isinstance(error, NoRequestsLeftError | TokenError | DailyQuotaError):
        return True
    if not isinstance(error, TcbError) or isinstance(error, DriftError):
        return False
    return is_retryable(error)


def is_final(error: object) -> bool:
    """Whether it is an error that every attempt would get."""
    return isinstance(error, TcbError) and not is_transient(error)


def is_refusal(error: object) -> bool:
    """Whether WeChat did not accept a request, and would not accept it later."""
    return isinstance(error, ApiError | TransportError) and is_final(error)


class Course(Enum):
    """How a value develops from reply to reply."""

    SAME = auto()
    CHANGED = auto()  # and stayed so
    VARIES = auto()


def follow(values: Sequence[Hashable]) -> Course:
    """Tell a change from a value that varies: a change lasts, and is not in every reply."""
    steps = sum(before != after for before, after in pairwise(values))
    if steps == 0:
        return Course.SAME
    returns = steps >= len({*values})
    is_always_new = steps > 1 and steps == len(values) - 1
    return Course.VARIES if returns or is_always_new else Course.CHANGED


def compare_equal_requests(record: Record, value_of: Callable[[Reading], Hashable]) -> set[Course]:
    """Compare the replies to the first request, which is repeated, and to the largest one."""
    first = [it for it in record.readings("first", "again") if it.limit == SMALL]
    largest = [it for it in record.readings("huge", "last") if it.limit == HUGE]
    return {follow([value_of(it) for it in readings]) for readings in (first, largest)}


def has_changed(record: Record) -> bool:
    """Whether equal requests show a change of any kind."""
    return Course.CHANGED in compare_equal_requests(record, lambda it: (it.total, it.rows))


def has_changed_total(record: Record) -> bool:
    """Whether equal requests show that functions were deployed or deleted."""
    return Course.CHANGED in compare_equal_requests(record, lambda it: it.total)


def has_changed_names(record: Record) -> bool:
    """Whether equal requests show that there are other functions, in any order."""
    return Course.CHANGED in compare_equal_requests(
        record, lambda it: (it.total, frozenset(it.names))
    )


def has_changed_order(record: Record) -> bool:
    """Whether equal requests show that functions are at other rows."""
    return Course.CHANGED in compare_equal_requests(record, lambda it: tuple(it.names))
