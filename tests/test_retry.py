"""How long a retry waits, and which policies are refused."""

import math
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_exponential, wait_random_exponential

from tcb_async.exceptions import (
    ConfigurationError,
    RateLimitError,
    SystemBusyError,
)
from tcb_async.retry import RetryPolicy, choose_wait

BUSY = SystemBusyError("busy", errcode=-1)
LIMITED = RateLimitError("slow down", errcode=45011)


async def test_waits_double_up_to_the_cap_with_full_jitter():
    policy = RetryPolicy()

    waits = [choose_wait(policy, attempt, BUSY, 1.0) for attempt in range(1, 8)]
    assert waits == [1, 2, 4, 8, 16, 20, 20]
    assert choose_wait(policy, 10_000, BUSY, 1.0) == 20
    assert choose_wait(policy, 5, BUSY, 0.0) == 0


@pytest.mark.parametrize(("base", "cap"), [(1.0, 20.0), (0.3, 5.0), (0.0, 20.0), (2.0, 0.0)])
def test_waits_are_those_of_tenacity(base, cap):
    longest = wait_random_exponential(multiplier=base, max=cap)
    for attempt in range(1, 9):
        state = Mock(attempt_number=attempt)
        wait = choose_wait(RetryPolicy(base=base, cap=cap), attempt, BUSY, 1.0)
        assert wait == wait_exponential.__call__(longest, state)


@given(asked=st.floats(0, 1e12), draw=st.floats(0, 1))
def test_retry_after_is_honoured_as_a_minimum(asked, draw):
    error = RateLimitError("slow down")
    error.retry_after = asked

    assert choose_wait(RetryPolicy(), 1, error, draw) >= asked


@given(draw=st.floats(0, 1), attempt=st.integers(1, 9), cap=st.floats(0, 10))
def test_wait_for_the_minute_quota_is_15_to_20_seconds(draw, attempt, cap):
    policy = RetryPolicy(cap=cap)

    assert choose_wait(policy, attempt, LIMITED, draw) == 15 + 5 * draw
    for error in (RateLimitError("too much", errcode=-501004), RateLimitError("HTTP 429")):
        assert choose_wait(policy, attempt, error, draw) <= cap
    assert choose_wait(RetryPolicy(base=0.0), attempt, LIMITED, draw) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 0),
        ("attempts", 2.5),
        ("attempts", True),
        ("base", -1),
        ("base", math.nan),
        ("base", math.inf),
        ("cap", "20"),
        ("deadline", 0),
        ("deadline", math.nan),
        ("deadline", None),
    ],
)
def test_invalid_policy_is_refused(field, value):
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**{field: value})

    assert f"{field}={value!r}" in str(caught.value)
