"""The attempts of a call: their times, number, last error and log records.

The first tests use a real socket; a `Story` is a call on a clock that the test moves.
"""

import asyncio
import gc
import logging
import math
import re
import traceback
import weakref
from contextlib import suppress
from functools import partial

import attrs
import pytest
from constants import ENV
from hand_clock import HandClock
from hypothesis import given
from hypothesis import strategies as st
from leaks import run_strictly
from raw_server import http_reply
from server_faults import FAULTS, OK, once
from transports import transport_of
from virtual_peer import make_peer

from tcb_async._redact import Hidden
from tcb_async._transport import ApiRequest, Call, Transport
from tcb_async.emulator import Fault
from tcb_async.exceptions import (
    ClientClosedError,
    ParameterError,
    RateLimitError,
    SystemBusyError,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.limits import Window
from tcb_async.observer import WalkStats
from tcb_async.retry import RetryPolicy, RetryQuota, is_dropped, is_overload


async def test_connection_dropped_on_reuse_is_replaced(clock, serve):
    server, client = await serve(FAULTS["dropped_keep_alive"], timing=clock.timing)
    await asyncio.gather(*(client.count_functions(ENV) for _ in range(4)))
    assert server.accepted == 4

    assert await client.count_functions(ENV) == 1

    assert clock.waits == [0.0]
    assert server.accepted == 5
    assert len(server.requests) == 6


async def test_replacement_connection_is_not_reused(clock, serve):
    async def drop_on_reuse(exchange):
        if exchange.request.nth == 0:
            await exchange.send(OK)
        if exchange.request.nth > 0 or exchange.request.headers.get("connection") == "close":
            await exchange.close()

    _, client = await serve(drop_on_reuse, timing=clock.timing)
    for _call in range(6):
        assert await client.count_functions(ENV) == 1

    assert clock.waits == [0.0] * 3


async def test_only_the_first_dropped_connection_is_replaced_immediately(clock, serve):
    _, client = await serve(FAULTS["closed"], retry=RetryPolicy(attempts=4), timing=clock.timing)
    with pytest.raises(TransportError, match="dropped the connection") as caught:
        await client.count_functions(ENV)

    assert clock.waits == [0.0, 2.0, 4.0]
    error = caught.value
    assert (error.attempts, is_dropped(error), is_overload(error)) == (4, False, True)
    assert transport_of(client).window.size == 1


async def test_broken_reply_is_not_a_dropped_connection(clock, serve):
    _, client = await serve(once(FAULTS["reset_in_body"]), timing=clock.timing)
    await client.count_functions(ENV)

    assert clock.waits == [1.0]


@pytest.mark.parametrize("fault", ["status_403", "status_500"])
async def test_error_has_no_frames_of_attempts_and_is_freed(clock, serve, fault):
    _, client = await serve(FAULTS[fault], timing=clock.timing)
    gc.collect()
    gc.disable()  # it would free a cycle
    try:
        await client.count_functions(ENV)
    except TcbError as error:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        freed = weakref.ref(error)
    finally:
        gc.enable()

    assert not {"_attempt", "send"}.intersection(frames)
    assert freed() is None


@pytest.mark.parametrize(("value", "waited"), [("7", 7), ("0.5", 1), ("nan", 1)])
async def test_sensible_retry_after_is_a_minimum(clock, value, waited, serve):
    later = http_reply(b"", 503, {"Retry-After": value})
    _, client = await serve(once(later), timing=clock.timing)
    await client.count_functions(ENV)

    assert clock.waits == [waited]


async def test_retry_after_is_limited_to_a_day(clock, serve):
    later = http_reply(b"", 503, {"Retry-After": "1e9"})
    _, client = await serve(later, retry=RetryPolicy(deadline=float("inf")), timing=clock.timing)
    with pytest.raises(TransportError, match=r"the server requests a wait of 1e\+09 s"):
        await client.count_functions(ENV)

    assert clock.waits == []


@pytest.mark.parametrize(("concurrency", "retries"), [(8, 500 // 14), (40, 2 * 40)])
async def test_copies_of_a_client_share_a_retry_quota(serve, concurrency, retries):
    retry = RetryPolicy(attempts=1000, base=0.0, deadline=float("inf"))
    server, client = await serve(FAULTS["status_500"], retry=retry, concurrency=concurrency)
    copies = [client.with_token(f"T{number}") for number in range(10)]
    results = await asyncio.gather(
        *(copy.count_functions(ENV) for copy in copies), return_exceptions=True
    )

    assert len(server.requests) == 10 + retries
    assert all("retry quota" in error.stop_reason for error in results)  # type: ignore[union-attr]


async def test_levels_of_logged_attempts(emulator, clock, caplog, client_of):
    caplog.set_level(logging.DEBUG, logger="tcb_async")
    emulator.deploy(ENV)
    emulator.script([Fault.errcode(-1), Fault.status(502)])
    client = await client_of(emulator, timing=clock.timing)
    await client.function_page(ENV, offset=40)

    lines = [
        (record.levelname, re.sub(r"rid=[0-9a-f-]{26}", "rid=RID", record.getMessage()))
        for record in caplog.records
        if record.name == "tcb_async"
    ]
    call = f"POST /tcb/listfunctions env={ENV} offset=40"
    assert lines == [
        ("DEBUG", f"{call} attempt=1: errcode=-1 rid=RID"),
        ("INFO", f"{call} attempt=1 failed (errcode=-1 rid=RID), trying again in 1.00 s"),
        ("DEBUG", f"{call} attempt=2: TransportError"),
        ("WARNING", f"{call} attempt=2 failed (TransportError), trying again in 2.00 s"),
        ("DEBUG", f"{call} attempt=3: errcode=0"),
    ]


QUIET_PROGRAMS = {
    "client": """
import asyncio, contextlib
from tcb_async import RetryPolicy, TcbClient, TransportError

async def main():
    retry = RetryPolicy(base=0.0)
    async with TcbClient("TOKEN", base_url="http://127.0.0.1:9", retry=retry) as client:
        with contextlib.suppress(TransportError):
            await client.count_functions("test-777bb9")

asyncio.run(main())
""",
    "emulator": """
from urllib.request import urlopen
from tcb_async.emulator import Emulator

with Emulator() as emulator:
    urlopen(emulator.url + "/cgi-bin/token", b"{}").close()
""",
}
WRITE_UNHANDLED_RECORDS = """
import logging
logging.lastResort = logging.StreamHandler()
logging.getLogger("tcb_async").setLevel(logging.DEBUG)
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", QUIET_PROGRAMS)
def test_nothing_is_logged_without_a_handler(program):
    done = run_strictly(WRITE_UNHANDLED_RECORDS + QUIET_PROGRAMS[program])

    assert (done.returncode, done.stderr) == (0, "")


BUSY = SystemBusyError("busy", errcode=-1)


@attrs.define(slots=False)
class Story:
    """A call that fails as told, on a clock of its own."""

    errors: list
    clock: HandClock = attrs.Factory(HandClock)
    left: list = attrs.Factory(list)
    """Seconds left for each attempt."""
    bodies: list = attrs.Factory(list)
    fallback: bytes | None = None
    """The body of the smaller request."""
    count: WalkStats = attrs.Factory(WalkStats)
    quota: RetryQuota = attrs.Factory(RetryQuota)
    seconds_per_attempt: float = 0.0
    seconds_before_an_attempt: float = 0.0

    async def reply(self, left):
        self.left.append(left)
        self.clock.advance(self.seconds_per_attempt)
        if len(self.left) <= len(self.errors):
            raise self.errors[len(self.left) - 1]
        return b"reply"

    async def run(self, **settings):
        """Make the call, by a policy of these settings."""
        transport = ScriptedTransport(
            "http://127.0.0.1:9",
            Window(8),
            RetryPolicy(**settings),
            self.quota,
            timing=self.clock.timing,
            story=self,
        )
        target = transport.target("/tcb/listfunctions", {})

        def prepare(body):
            return ApiRequest(target, Hidden(body), stats=self.count), lambda reply: reply

        fallback = None if self.fallback is None else partial(prepare, self.fallback)
        return await Call(transport, *prepare(b"100"), fallback).run()


@attrs.define(eq=False)
class ScriptedTransport(Transport):
    """A transport without a network."""

    story: Story = attrs.field(kw_only=True)

    def get_session(self):
        self.story.clock.advance(self.story.seconds_before_an_attempt)

    async def send(self, _session, request, seconds, **_facts):
        self.story.bodies.append(request.body.reveal())
        return await self.story.reply(seconds)


FIRST, SECOND = SystemBusyError("first", errcode=-1), SystemBusyError("second", errcode=-1)
REFUSED, CUT = (
    TokenError("refused", errcode=40014, scope="merchant"),
    TransportError("no complete reply"),
)
ANSWERED = TransportError("HTTP 503", status=503)
TOO_LATE = "the deadline of 10 s passed"
CROSSES = "the next wait would cross the deadline of 10 s"
PATIENT = {"attempts": 20, "deadline": 10.0}


@pytest.mark.parametrize(
    ("errors", "times", "settings", "ending"),
    [
        pytest.param([REFUSED], {}, {}, (1, "", []), id="a final error is raised immediately"),
        pytest.param([FIRST, REFUSED], {}, {}, (2, "", [1]), id="a final error after a retry"),
        pytest.param([FIRST], {}, {"attempts": 1}, (1, "", []), id="one attempt gives nothing up"),
        pytest.param(
            [CUT, SECOND], {}, {"attempts": 2},
            (2, "the retry policy allows no more", [1]), id="the last error of all attempts",
        ),
        pytest.param(
            [FIRST, SECOND, FIRST], {"seconds_per_attempt": 1.0}, PATIENT, (3, CROSSES, [1, 2]),
            id="no wait is begun that would cross the deadline",
        ),
        pytest.param(
            [TransportError("503", retry_after=1e9)], {}, PATIENT, (1, CROSSES, []),
            id="a retry-after beyond the deadline does not hang",
        ),
        pytest.param(
            [FIRST, SECOND], {"seconds_before_an_attempt": 4.0}, {**PATIENT, "base": 0.0},
            (2, TOO_LATE, [0, 0]), id="the deadline passes before a later attempt begins",
        ),
        pytest.param(
            [CUT], {"seconds_per_attempt": 10.0}, PATIENT, (1, TOO_LATE, []),
            id="a first attempt that the deadline cut short",
        ),
        pytest.param(
            [FIRST, ANSWERED], {"seconds_per_attempt": 4.5}, PATIENT, (2, CROSSES, [1]),
            id="a reply just before the deadline is the server's last error",
        ),
    ],
)  # fmt: skip
async def test_last_error_has_attempts_and_the_stop_reason(errors, times, settings, ending):
    story, (tries, stop_reason, waits) = Story(errors, **times), ending

    with pytest.raises(type(errors[tries - 1])) as caught:
        await story.run(**settings)

    assert caught.value is errors[tries - 1]
    assert (caught.value.attempts, caught.value.stop_reason) == (tries, stop_reason)
    assert str(caught.value).endswith(f"{stop_reason})") or not stop_reason
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    assert story.clock.waits == waits


async def test_servers_error_survives_an_attempt_cut_short():
    with pytest.raises(SystemBusyError) as caught:
        await Story([FIRST, CUT], seconds_per_attempt=4.5).run(deadline=10.0)

    assert (caught.value.attempts, caught.value.stop_reason) == (2, TOO_LATE)


async def test_error_from_before_the_deadline_is_freed():
    story = Story(
        [SystemBusyError("busy", errcode=-1) for _ in range(2)], seconds_before_an_attempt=4.0
    )
    gc.disable()  # it would free a cycle
    try:
        await story.run(deadline=10.0, base=0.0)
    except SystemBusyError as error:
        assert error.stop_reason == TOO_LATE  # noqa: PT017 - an earlier error was raised
        freed = weakref.ref(error)
    finally:
        gc.enable()
    story.errors.clear()

    assert freed() is None


async def test_attempts_are_cut_to_the_deadline():
    story = Story([BUSY, BUSY], seconds_per_attempt=5.0)

    await story.run(deadline=60.0)

    assert story.left == [60.0, 54.0, 47.0]


NOT_SENT = TransportError("connection refused", sent=False)
REFUSED_SIZE = ParameterError("too many", errcode=40097)
NO_ENV = ParameterError("no env", errcode=-501000, scope="merchant")
LIMITED = RateLimitError("slow down", errcode=45011)
LATER = TransportError("HTTP 503", status=503, retry_after=20.0)
LARGE, SMALL = b"100", b"20"


class TestFallback:
    """After an error that may refuse the number of rows, fewer are requested."""

    @pytest.mark.parametrize(
        ("errors", "bodies"),
        [
            pytest.param([BUSY] * 9, [LARGE, LARGE, SMALL], id="busy"),
            pytest.param([BUSY, *[REFUSED_SIZE] * 9], [LARGE, LARGE, SMALL], id="refused"),
            pytest.param([REFUSED_SIZE, *[BUSY] * 9], [LARGE, SMALL, SMALL], id="then busy"),
            pytest.param([REFUSED_SIZE] * 9, [LARGE, SMALL], id="refused twice"),
            pytest.param([BUSY, BUSY, *[NOT_SENT] * 9], [LARGE, LARGE, SMALL], id="not sent last"),
            pytest.param([NOT_SENT] * 9, [LARGE] * 3, id="not sent"),
            pytest.param([LIMITED] * 9, [LARGE] * 3, id="rate limit"),
            pytest.param([BUSY, *[LIMITED] * 9], [LARGE] * 3, id="then a rate limit"),
            pytest.param([RateLimitError("HTTP 429")] * 9, [LARGE] * 3, id="HTTP 429"),
            pytest.param([REFUSED] * 9, [LARGE], id="credentials"),
            pytest.param([NO_ENV] * 9, [LARGE], id="no such environment"),
        ],
    )
    async def test_is_one_of_the_attempts(self, errors, bodies):
        story = Story(errors, fallback=SMALL)
        with pytest.raises(type(errors[len(bodies) - 1])) as caught:
            await story.run(attempts=3)

        assert story.bodies == bodies
        assert caught.value is errors[len(bodies) - 1]
        assert caught.value.attempts == len(bodies) == 1 + story.count.retries

    @given(
        errors=st.lists(
            st.sampled_from([BUSY, CUT, REFUSED_SIZE, NO_ENV, LIMITED, LATER, NOT_SENT]),
            min_size=9,
            max_size=9,
        ),
        attempts=st.integers(1, 6),
        seconds=st.sampled_from([0.0, 1.0, 4.0, 30.0]),
        deadline=st.sampled_from([5.0, 60.0, math.inf]),
        quota=st.integers(0, 100),
    )
    def test_has_the_bounds_of_the_policy(self, errors, attempts, seconds, deadline, quota):
        """At most two attempts or those of the policy, in the same time, from the same quota."""
        story = Story(errors, fallback=SMALL, seconds_per_attempt=seconds)
        story.quota = RetryQuota(available=quota)
        with pytest.raises(TcbError):
            asyncio.run(story.run(attempts=attempts, deadline=deadline))

        retried = errors[: len(story.bodies) - 1]
        assert len(retried) < max(2, attempts)
        assert min(story.left) > 0
        for error, wait in zip(retried, story.clock.waits, strict=True):
            assert wait >= (getattr(error, "retry_after", None) or 0.0)
        costs = {LIMITED: 5, BUSY: 5, REFUSED_SIZE: 0}
        assert quota - story.quota.available == sum(costs.get(error, 14) for error in retried)

    async def test_transient_errors_are_paid_from_the_quota(self):
        for capacity, bodies in ((9, [LARGE, LARGE]), (10, [LARGE, LARGE, SMALL])):
            story = Story([BUSY] * 9, fallback=SMALL, quota=RetryQuota(capacity=capacity))
            with pytest.raises(SystemBusyError):
                await story.run()
            assert story.bodies == bodies

        story = Story([REFUSED_SIZE], fallback=SMALL, quota=RetryQuota(capacity=0))
        assert await story.run() == b"reply"
        assert story.clock.waits == [0.0]

    @pytest.mark.parametrize("attempts", [1, 2])
    async def test_has_time_left_if_the_server_does_not_reply(self, attempts):
        story = Story([CUT], fallback=SMALL, seconds_per_attempt=30.0)

        assert await story.run(attempts=attempts, deadline=60.0) == b"reply"
        assert story.bodies == [LARGE, SMALL]
        assert story.left == [30.0, 29.0]

    @pytest.mark.parametrize(
        ("seconds", "bodies"),
        [(25.0, [LARGE, LARGE, SMALL]), (40.0, [LARGE, SMALL]), (60.0, [LARGE])],
    )
    async def test_waits_as_long_as_the_server_asks(self, seconds, bodies):
        later = TransportError("HTTP 503", status=503, retry_after=seconds)
        story = Story([later] * 9, fallback=SMALL)
        with pytest.raises(TransportError):
            await story.run(deadline=60.0)

        assert story.bodies == bodies
        assert story.clock.waits == [seconds] * (len(bodies) - 1)

    async def test_does_not_wait_for_more_than_half_of_the_time_left(self):
        story = Story([BUSY], fallback=SMALL, seconds_per_attempt=30.0)

        assert await story.run(deadline=60.0, base=40.0, cap=40.0) == b"reply"
        assert story.clock.waits == [15.0]

    @pytest.mark.parametrize(
        ("seconds", "larges"), [(4.0, 2), (29.0, 2), (30.0, 1)], ids=["early", "half", "late"]
    )
    async def test_waits_for_a_second_error_or_half_of_the_time(self, seconds, larges):
        story = Story([BUSY] * larges, fallback=SMALL, seconds_per_attempt=seconds)

        await story.run(deadline=60.0, base=0.0)
        assert story.bodies == [LARGE] * larges + [SMALL]

    async def test_needs_no_deadline(self):
        story = Story([BUSY] * 2, fallback=SMALL, seconds_per_attempt=1e9)

        assert await story.run(deadline=math.inf) == b"reply"
        assert story.bodies == [LARGE, LARGE, SMALL]
        assert story.left == [math.inf] * 3

    async def test_does_not_pass_the_deadline(self):
        story = Story([BUSY, BUSY], fallback=SMALL, seconds_per_attempt=5.0)
        with pytest.raises(SystemBusyError) as caught:
            await story.run(attempts=1, deadline=5.0)

        assert story.bodies == [LARGE]
        error = caught.value
        expected = (1, "the next wait would cross the deadline of 5 s")
        assert (error.attempts, error.stop_reason) == expected


async def test_wait_for_the_minute_quota_does_not_pass_the_deadline():
    story = Story([LIMITED] * 9)
    with pytest.raises(RateLimitError, match="the next wait would cross the deadline of 60 s"):
        await story.run()

    assert story.clock.waits == [20.0, 20.0]


async def test_success_pays_its_retries_back():
    full, quota = RetryQuota(), RetryQuota(available=100)

    await Story([], quota=full).run()
    assert full.available == full.capacity == 500

    await Story([TransportError("reset"), BUSY], quota=quota).run()
    assert quota.available == 100

    await Story([], quota=quota).run()
    assert quota.available == 101


async def hang():
    await asyncio.sleep(1e9)


async def call_all(peer, numbers):
    """Make all calls at a time; return their results and errors."""
    calls = [asyncio.ensure_future(peer.call(number)) for number in numbers]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert peer.window.in_flight == peer.window.waiting == 0
    return ended


def now():
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
class TestQueue:
    """The wait for the first permit, at the default settings, in virtual time."""

    async def test_long_queue_is_no_time_out(self):
        async def reply(_):
            await asyncio.sleep(2.0)

        assert await call_all(make_peer(reply), range(400)) == [b""] * 400
        assert now() > 100.0

    async def test_hung_server_ends_all_calls_at_one_deadline(self):
        peer = make_peer(lambda _: hang())
        errors = await call_all(peer, range(100))

        assert now() == pytest.approx(60.0)
        unsent = [error for error in errors if not error.sent]
        assert len(unsent) >= 80
        assert "no call of this client has succeeded for 60 s; see the errors" in str(unsent[0])
        assert {(each.attempts, each.stop_reason) for each in unsent} == {
            (0, "the deadline of 60 s passed")
        }

    async def test_busy_server_ends_all_calls_at_one_deadline(self):
        async def reply(_):
            await asyncio.sleep(0.25)
            raise SystemBusyError("busy", errcode=-1)

        errors = await call_all(make_peer(reply), range(500))

        assert now() < 60.0 + 1.0
        assert {type(error) for error in errors} == {SystemBusyError, TransportError}

    async def test_outage_of_40_seconds_ends_no_queued_call(self):
        async def reply(_):
            await asyncio.sleep(0.25)
            if 20.0 <= now() < 60.0:
                await hang()

        ended = await call_all(make_peer(reply), range(1000))

        errors = [each for each in ended if each != b""]
        assert len(errors) <= 8
        assert all(error.sent for error in errors)  # they were in flight

    async def test_queue_ends_a_timeout_after_the_deadline(self):
        async def reply(number):
            if number > 100:
                await hang()
            await asyncio.sleep(1.0)

        errors = (await call_all(make_peer(reply), range(200)))[101:]

        # The last success was after 13 s; the server may have become hung just after it.
        assert now() == pytest.approx(13.0 + 60.0 + 30.0, abs=1.0)
        assert "has succeeded for 90 s" in str(errors[-1])

    async def test_queue_ends_though_no_attempt_does(self):
        """A session of the caller's may swallow the cancellation of an attempt."""
        ends = asyncio.Event()

        async def reply(_):
            while not ends.is_set():
                with suppress(asyncio.CancelledError):
                    await ends.wait()

        peer = make_peer(reply)
        calls = [asyncio.ensure_future(peer.call(number)) for number in range(50)]
        done, pending = await asyncio.wait(calls, timeout=61.0)

        assert (len(done), len(pending)) == (42, 8)
        assert all(not call.exception().sent for call in done)
        ends.set()
        await asyncio.wait(calls)

    async def test_deadline_covers_a_retrys_wait_for_a_permit(self):
        async def reply(_):
            raise BUSY

        peer = make_peer(reply, concurrency=2, deadline=10.0)
        peer.window.take()  # as a walk beside does; -1 halves the window
        with pytest.raises(SystemBusyError, match=TOO_LATE):
            await peer.call()

        assert now() == pytest.approx(10.0)
        assert len(peer.attempts) == 1

    async def test_deadline_counts_from_the_first_attempt(self):
        async def reply(number):
            if number == 100:
                await hang()
            await asyncio.sleep(10.0)

        peer = make_peer(reply)
        *_, error = await call_all(peer, range(101))

        assert error.attempts > 1
        assert peer.attempts[100] == pytest.approx(120.0, abs=1.0)
        assert now() == pytest.approx(120.0 + 60.0, abs=1.0)

    async def test_one_percent_of_hangs_fails_no_other_call(self):
        """A service that makes ten calls a second."""

        async def reply(number):
            if number % 100 == 50:
                await hang()
            await asyncio.sleep(0.1)

        peer, calls = make_peer(reply), []
        for number in range(2000):
            calls.append(asyncio.ensure_future(peer.call(number)))
            await asyncio.sleep(0.1)
        ended = await asyncio.gather(*calls, return_exceptions=True)

        failed = [number for number, each in enumerate(ended) if each != b""]
        assert failed == list(range(50, 2000, 100))

    async def test_closed_client_ends_its_queue(self):
        peer = make_peer(lambda _: hang())
        calls = [asyncio.ensure_future(peer.call()) for _ in range(50)]
        await asyncio.sleep(1.0)
        peer.keeper.close()
        calls[0].cancel()
        await asyncio.wait(calls)

        kinds = {type(call.exception()) for call in calls[8:]}
        assert kinds == {ClientClosedError}
