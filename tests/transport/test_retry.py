"""When to try again, how long to wait, and when to stop, on a clock that the test moves."""

import asyncio
import math
from collections.abc import Awaitable, Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcb_async.exceptions import (
    ConfigurationError,
    DailyQuotaError,
    RateLimitError,
    ResponseError,
    SystemBusyError,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.retry import (
    Deadline,
    OutOfTimeError,
    RetryPolicy,
    RetryQuota,
    is_overload,
    is_retryable,
)

BUSY = SystemBusyError("busy", errcode=-1)
RETRYABLE = [
    BUSY,
    RateLimitError("slow down"),
    TransportError("reset"),
    ResponseError("cut", truncated=True),
]
FINAL = [
    TokenError("no"),
    DailyQuotaError("no"),
    ResponseError("html"),
    TransportError("bad certificate", retryable=False),
    ConfigurationError("no"),
    ValueError("not ours"),
]


@attrs.define
class Story:
    """A call that fails as told, on a clock of its own."""

    errors: list[TcbError]
    now: float = 1000.0
    waits: list[float] = attrs.Factory(list)
    told: list[tuple[int, float]] = attrs.Factory(list)
    tries: list[int] = attrs.Factory(list)
    left: list[float] = attrs.Factory(list)
    seconds_per_try: float = 0.0

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def attempt(self, number: int, deadline: Deadline) -> str:
        self.tries.append(number)
        self.left.append(deadline.left())
        self.now += self.seconds_per_try
        if len(self.tries) <= len(self.errors):
            raise self.errors[len(self.tries) - 1]
        return "answer"

    async def run(self, quota: RetryQuota | None = None, **settings: object) -> str:
        policy = RetryPolicy(
            clock=lambda: self.now,
            sleep=self.sleep,
            random=lambda: 1.0,
            **settings,  # type: ignore[arg-type]
        )
        return await policy.run(
            self.attempt, quota or RetryQuota(), lambda _, n, s: self.told.append((n, s))
        )


@pytest.mark.parametrize("error", RETRYABLE, ids=repr)
async def test_what_another_try_may_cure_is_tried_again(error: TcbError) -> None:
    story = Story([error, error])

    assert await story.run() == "answer"
    assert story.tries == [1, 2, 3]
    assert story.told == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_what_no_try_can_cure_is_final(error: Exception) -> None:
    assert not is_retryable(error)


@pytest.mark.parametrize(
    ("error", "overload"),
    [
        (BUSY, True),
        (RateLimitError("slow down"), True),
        (TransportError("HTTP 503", overload=True), True),
        (TransportError("unknown host"), False),
        (ResponseError("html"), False),
        (DailyQuotaError("no"), False),
    ],
    ids=repr,
)
def test_what_too_many_requests_look_like_is_known(error: TcbError, overload: bool) -> None:
    assert is_overload(error) is overload


async def test_a_final_error_is_raised_at_once_as_itself() -> None:
    error = TokenError("no", errcode=40014)
    story = Story([error])

    with pytest.raises(TokenError) as caught:
        await story.run()

    assert caught.value is error
    assert (error.attempts, error.gave_up, story.waits) == (1, "", [])


async def test_a_final_error_after_a_retry_counts_its_tries_and_did_not_give_up() -> None:
    story = Story([BUSY, TokenError("no")])

    with pytest.raises(TokenError) as caught:
        await story.run()

    assert (caught.value.attempts, caught.value.gave_up) == (2, "")


async def test_it_stops_after_the_attempts_with_the_last_error() -> None:
    errors: list[TcbError] = [SystemBusyError(f"busy {n}", errcode=-1) for n in range(9)]
    story = Story(errors)

    with pytest.raises(SystemBusyError, match="busy 2") as caught:
        await story.run(attempts=3)

    assert caught.value is errors[2]
    assert caught.value.attempts == 3
    assert str(caught.value).endswith("(after 3 attempts, the retry policy allows no more)")


async def test_none_tries_once() -> None:
    async def attempt(_number: int, _deadline: Deadline) -> None:
        raise SystemBusyError("busy")

    with pytest.raises(SystemBusyError) as caught:
        await RetryPolicy.none().run(attempt, RetryQuota(), lambda *_: None)

    assert caught.value.attempts == 1


async def test_no_wait_is_begun_that_would_cross_the_deadline() -> None:
    story = Story([BUSY] * 20, seconds_per_try=1.0)

    with pytest.raises(SystemBusyError, match="deadline of 10 s"):
        await story.run(attempts=20, deadline=10.0)

    assert story.now - 1000.0 <= 10.0
    assert story.waits == [1.0, 2.0]


async def test_each_try_is_told_what_is_left_of_the_deadline() -> None:
    story = Story([BUSY, BUSY], seconds_per_try=5.0)

    await story.run(deadline=60.0)

    assert story.left == [60.0, 54.0, 47.0]


NOTHING_SENT = TransportError("nothing was sent")


def out_of_time_at(number: int, errors: list[TcbError]) -> Callable[..., Awaitable[None]]:
    async def attempt(nth: int, _deadline: Deadline) -> None:
        if nth == number:
            raise OutOfTimeError(NOTHING_SENT)
        raise errors[nth - 1]

    return attempt


async def test_a_deadline_that_passes_before_a_later_try_begins_raises_the_servers_last_error() -> (
    None
):
    errors: list[TcbError] = [SystemBusyError("first"), SystemBusyError("second")]
    policy = RetryPolicy(base=0.0, deadline=1.0)

    with pytest.raises(SystemBusyError, match="second") as caught:
        await policy.run(out_of_time_at(3, errors), RetryQuota(), lambda *_: None)

    assert caught.value.attempts == 2
    assert caught.value.gave_up == "the deadline of 1 s passed"
    assert caught.value.__context__ is None


async def test_a_deadline_that_passes_before_the_first_try_begins_says_that_nothing_was_sent() -> (
    None
):
    with pytest.raises(TransportError) as caught:
        await RetryPolicy().run(out_of_time_at(1, []), RetryQuota(), lambda *_: None)

    assert caught.value is NOTHING_SENT
    assert (caught.value.attempts, caught.value.gave_up) == (0, "the deadline of 60 s passed")
    assert caught.value.__context__ is None


async def test_a_try_that_the_deadline_cut_short_does_not_replace_the_servers_own_error() -> None:
    silence = TransportError("no complete answer in 0.5 s")
    story = Story([SystemBusyError("busy"), silence], seconds_per_try=4.5)

    with pytest.raises(SystemBusyError) as caught:
        await story.run(deadline=10.0)

    assert (caught.value.attempts, caught.value.gave_up) == (2, "the deadline of 10 s passed")


async def test_an_answer_that_came_just_before_the_deadline_is_the_servers_last_error() -> None:
    answer = TransportError("HTTP 503", status=503)
    story = Story([SystemBusyError("busy"), answer], seconds_per_try=4.5)

    with pytest.raises(TransportError) as caught:
        await story.run(deadline=10.0)

    assert caught.value is answer
    assert "another wait would cross the deadline" in caught.value.gave_up


async def test_waits_double_up_to_the_cap_with_full_jitter() -> None:
    high = RetryPolicy(random=lambda: 1.0)
    low = RetryPolicy(random=lambda: 0.0)

    assert [high.wait(n, BUSY) for n in range(1, 8)] == [1, 2, 4, 8, 16, 20, 20]
    assert high.wait(10_000, BUSY) == 20
    assert low.wait(5, BUSY) == 0


async def test_a_dropped_connection_is_tried_again_at_once_the_first_time() -> None:
    dropped = TransportError("dropped", dropped=True)
    story = Story([dropped, dropped])

    await story.run()

    assert story.waits == [0.0, 2.0]


@given(asked=st.floats(0, 1e12), draw=st.floats(0, 1))
def test_retry_after_is_honoured_as_a_minimum(asked: float, draw: float) -> None:
    error = RateLimitError("slow down")
    error.retry_after = asked

    assert RetryPolicy(random=lambda: draw).wait(1, error) >= asked


async def test_a_retry_after_beyond_the_deadline_fails_at_once_instead_of_hanging() -> None:
    error = TransportError("503", retry_after=1e9)
    story = Story([error])

    with pytest.raises(TransportError, match="deadline"):
        await story.run()

    assert story.waits == []


async def test_an_empty_quota_fails_at_once_and_says_why() -> None:
    quota = RetryQuota(capacity=20)
    story = Story([TransportError("reset")] * 9)

    with pytest.raises(TransportError, match="retry quota is used up"):
        await story.run(quota)

    assert story.tries == [1, 2]
    assert quota.available == 6


async def test_success_pays_back_what_its_retries_took() -> None:
    quota = RetryQuota(available=100)

    await Story([TransportError("reset"), BUSY]).run(quota)
    assert quota.available == 100

    await Story([]).run(quota)
    assert quota.available == 101


async def test_the_quota_is_never_more_than_full() -> None:
    quota = RetryQuota()

    await Story([]).run(quota)

    assert quota.available == quota.capacity == 500


async def test_cancellation_is_neither_swallowed_nor_retried() -> None:
    calls = 0
    under_way = asyncio.Event()

    async def attempt(number: int, _deadline: Deadline) -> None:
        nonlocal calls
        calls += 1
        if number == 1:
            raise SystemBusyError("busy")
        under_way.set()
        await asyncio.Event().wait()

    policy = RetryPolicy(base=0.0)
    task = asyncio.create_task(policy.run(attempt, RetryQuota(), lambda *_: None))
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert calls == 2


async def test_concurrent_calls_do_not_share_their_attempts() -> None:
    policy = RetryPolicy(attempts=3, base=0.0)

    def failing_twice() -> Callable[[int, Deadline], Awaitable[int]]:
        async def attempt(number: int, _deadline: Deadline) -> int:
            await asyncio.sleep(0)
            if number < 3:
                raise SystemBusyError("busy")
            return number

        return attempt

    quota = RetryQuota()
    runs = (policy.run(failing_twice(), quota, lambda *_: None) for _ in range(20))

    assert await asyncio.gather(*runs) == [3] * 20


async def test_no_earlier_error_clings_to_the_last_one() -> None:
    story = Story([SystemBusyError("first"), TransportError("second")])

    with pytest.raises(TransportError) as caught:
        await story.run(attempts=2)

    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


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
def test_an_unusable_policy_is_refused_by_name_and_value(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**{field: value})  # type: ignore[arg-type]

    assert f"{field}={value!r}" in str(caught.value)


def test_a_deadline_may_be_infinite() -> None:
    assert RetryPolicy(deadline=math.inf).deadline == math.inf
