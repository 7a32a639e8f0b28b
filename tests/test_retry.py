"""How long a retry waits, and which policies are refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcb_async.exceptions import (
    ConfigurationError,
    RateLimitError,
    SystemBusyError,
)
from tcb_async.retry import RetryPolicy, choose_wait

BUSY = SystemBusyError("busy", errcode=-1)
LIMITED = RateLimitError("slow down", errcode=45011)


async def test_waits_double_with_equal_jitter():
    policy = RetryPolicy()

    waits = [choose_wait(policy, attempt, BUSY, 1.0) for attempt in range(1, 8)]
    assert waits == [1, 2, 4, 8, 16, 32, 60]
    assert choose_wait(policy, 5, BUSY, 0.0) == 8
    assert choose_wait(policy, 10_000, BUSY, 0.0) == 30


@given(asked=st.floats(0, 1e12), draw=st.floats(0, 1))
def test_retry_after_is_honoured_as_a_minimum(asked, draw):
    error = RateLimitError("slow down")
    error.retry_after = asked

    assert choose_wait(RetryPolicy(), 1, error, draw) >= asked


@given(draw=st.floats(0, 1), attempt=st.integers(1, 5))
def test_wait_for_the_minute_quota_is_20_seconds(draw, attempt):
    policy = RetryPolicy()

    assert choose_wait(policy, attempt, LIMITED, draw) == 20
    for error in (RateLimitError("too much", errcode=-501004), RateLimitError("HTTP 429")):
        assert choose_wait(policy, attempt, error, draw) <= 16
    assert choose_wait(RetryPolicy(attempts=8, base=0.0), attempt, LIMITED, draw) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 0),
        ("attempts", 2.5),
        ("attempts", True),
        ("base", -1),
        ("base", math.nan),
        ("base", math.inf),
        ("deadline", 0),
        ("deadline", math.nan),
        ("deadline", None),
        ("base", 0),
    ],
)
def test_invalid_policy_is_refused(field, value):
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**{field: value})

    assert f"{field}={value!r}" in str(caught.value)
