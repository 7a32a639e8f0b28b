"""The attempts of a call: their times, number, last error and log records.

The first tests use a real socket; a `Story` is a call on a clock that the test moves.
"""

import asyncio
import gc
import logging
import traceback
import weakref

import attrs
import pytest
from constants import APPSECRET, ENV, PLATFORM
from hand_clock import HandClock
from leaks import eventually, run_strictly
from raw_server import http_reply
from server_faults import FAULTS, once
from virtual_peer import make_peer

from tcb_async._transport import ApiRequest, Attempts, Timing, Transport, make_target
from tcb_async.emulator import Fault
from tcb_async.exceptions import (
    ClientClosedError,
    RateLimitError,
    SystemBusyError,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.pagination.page import WalkStats
from tcb_async.retry import RetryPolicy
from tcb_async.tokens import ComponentToken


async def test_connection_dropped_on_reuse_is_replaced(clock, serve):
    server, client = await serve(FAULTS["dropped_keep_alive"], timing=clock.timing)
    await asyncio.gather(*(client.function_page(ENV) for _ in range(4)))
    assert server.accepted == 4

    assert (await client.function_page(ENV)).total == 1

    assert clock.waits[0] == 0.0
    assert server.accepted == 5


async def test_only_the_first_dropped_connection_is_replaced_immediately(clock, serve):
    _, client = await serve(FAULTS["closed"], retry=RetryPolicy(attempts=4), timing=clock.timing)
    with pytest.raises(TransportError, match="dropped the connection") as caught:
        await client.function_page(ENV)

    assert clock.waits == [0.0, 2.0, 4.0]
    error = caught.value
    assert error.attempts == 4


async def test_broken_reply_is_not_a_dropped_connection(clock, serve):
    _, client = await serve(once(FAULTS["reset_in_body"]), timing=clock.timing)
    await client.function_page(ENV)

    assert clock.waits == [1.0]


@pytest.mark.parametrize("fault", ["status_403", "status_500"])
async def test_error_has_no_frames_of_attempts_and_is_freed(clock, serve, fault):
    _, client = await serve(FAULTS[fault], timing=clock.timing)
    gc.collect()
    gc.disable()  # it would free a cycle
    try:
        await client.function_page(ENV)
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
    await client.function_page(ENV)

    assert clock.waits == [waited]


async def test_levels_of_logged_attempts(emulator, clock, caplog, client_of):
    caplog.set_level(logging.DEBUG, logger="tcb_async")
    emulator.deploy(ENV)
    emulator.script([Fault.errcode(-1), Fault.status(502)])
    client = await client_of(emulator, timing=clock.timing)
    await client.function_page(ENV, offset=40)

    lines = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "tcb_async"
    ]
    assert [level for level, _ in lines] == ["DEBUG", "INFO", "DEBUG", "WARNING", "DEBUG"]
    call = f"POST /tcb/listfunctions env={ENV} offset=40"
    (_, busy), (_, retry), (_, failed), _, (_, success) = lines
    assert busy.startswith(f"{call} attempt=1: SystemBusyError: /tcb/listfunctions returned ")
    assert "rid" in busy
    assert retry.endswith("trying again in 1.00 s")
    assert failed.startswith(
        f"{call} attempt=2: TransportError: /tcb/listfunctions returned HTTP 502"
    )
    assert success == f"{call} attempt=3: errcode=0"


async def test_calls_that_fail_together_warn_once_in_ten_seconds(emulator, caplog, client_of):
    caplog.set_level(logging.WARNING, logger="tcb_async")
    emulator.deploy(ENV)
    now = [0.0]

    async def sleep(_):
        now[0] += 0.1

    client = await client_of(emulator, timing=Timing(clock=lambda: now[0], sleep=sleep))
    for time, warnings in ((0.0, 1), (9.0, 1), (20.0, 2)):
        now[0] = time
        emulator.script([Fault.errcode(-1)] * 16)
        await asyncio.gather(*(client.function_page(ENV) for _ in range(8)))
        assert len(caplog.messages) == warnings


QUIET_PROGRAMS = {
    "client": """
import asyncio, contextlib
from tcb_async import RetryPolicy, TcbClient, TransportError

async def main():
    retry = RetryPolicy(attempts=8, base=0.0)
    async with TcbClient("TOKEN", base_url="http://127.0.0.1:9", retry=retry) as client:
        with contextlib.suppress(TransportError):
            await client.function_page("test-777bb9")

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


@attrs.define(slots=False)
class Story:
    """A call that fails as told, on a clock of its own."""

    errors: list
    clock: HandClock = attrs.Factory(HandClock)
    sent: int = 0
    count: WalkStats = attrs.Factory(WalkStats)
    seconds_per_attempt: float = 0.0

    async def reply(self):
        self.sent += 1
        self.clock.advance(self.seconds_per_attempt)
        if self.sent <= len(self.errors):
            raise self.errors[self.sent - 1]
        return b"reply"

    async def run(self, **settings):
        """Make the call, by a policy of these settings."""
        transport = ScriptedTransport(
            "http://127.0.0.1:9",
            8,
            RetryPolicy(**settings),
            timing=self.clock.timing,
            story=self,
        )
        target = make_target("http://127.0.0.1:9", "/tcb/listfunctions", {})

        request = ApiRequest(target, None, stats=self.count)
        return await Attempts(transport, request, lambda reply: reply).run()


@attrs.define(eq=False)
class ScriptedTransport(Transport):
    """A transport without a network."""

    story: Story = attrs.field(kw_only=True)

    async def send(self, _request, _observed):
        return await self.story.reply()


FIRST, SECOND = SystemBusyError("first", errcode=-1), SystemBusyError("second", errcode=-1)
REFUSED, CUT = (
    TokenError("refused", errcode=40014),
    TransportError("no complete reply"),
)
ANSWERED = TransportError("HTTP 503", status=503)
PASSED = "the deadline of 10 s has passed"
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
            [FIRST, SECOND, FIRST, SECOND], {"seconds_per_attempt": 1.0}, PATIENT,
            (4, PASSED, [1, 2, 4]),
            id="a wait that would cross the deadline stops there",
        ),
        pytest.param(
            [TransportError("503", retry_after=1e9)] * 2, {}, PATIENT, (2, PASSED, [10]),
            id="a retry-after beyond the deadline is cut to it",
        ),
        pytest.param(
            [FIRST, ANSWERED], {"seconds_per_attempt": 4.5}, PATIENT, (2, PASSED, [1]),
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


NOT_SENT = TransportError("connection refused", sent=False)
LIMITED = RateLimitError("slow down", errcode=45011)


async def test_minute_quota_is_tried_until_a_minute_later():
    story = Story([LIMITED] * 9)
    with pytest.raises(RateLimitError, match="the deadline of 60 s has passed"):
        await story.run()

    assert story.clock.waits == [20.0] * 3


async def hang():
    await asyncio.sleep(1e9)


async def call_all(peer, numbers):
    """Make all calls at a time; return their results and errors."""
    calls = [asyncio.ensure_future(peer.call(number)) for number in numbers]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert await peer.count_free_places() == peer.concurrency
    return ended


def now():
    return asyncio.get_running_loop().time()


def refusing(begin, end):
    """Return the reply of a server that refuses connections for some seconds."""

    async def reply(_):
        if begin <= now() < end:
            raise NOT_SENT
        await asyncio.sleep(0.25)

    return reply


def errors_in(ended):
    return [each for each in ended if each != b""]


@pytest.mark.looptime
class TestPlaces:
    """Many calls of one client, at the default settings, in virtual time."""

    async def test_long_wait_for_a_place_is_no_time_out(self):
        async def reply(_):
            await asyncio.sleep(2.0)

        assert await call_all(make_peer(reply), range(400)) == [b""] * 400
        assert now() > 100.0

    @pytest.mark.parametrize(
        ("begin", "end", "settings"),
        [
            (0.0, 3.0, {}),
            (2.0, 12.0, {}),
            (2.0, 61.0, {}),
            (0.0, 59.0, {"base": 0.1}),
            (0.0, 299.0, {"deadline": 300.0}),
        ],
    )
    async def test_outage_within_the_deadline_costs_no_call(self, begin, end, settings):
        peer = make_peer(refusing(begin, end), **settings)
        errors = errors_in(await call_all(peer, range(250)))

        assert errors == []
        assert len(peer.attempts) < 400

    async def test_hangs_for_40_seconds_cost_no_waiting_call(self):
        async def reply(_):
            await asyncio.sleep(0.25)
            if 20.0 <= now() < 60.0:
                await hang()

        errors = errors_in(await call_all(make_peer(reply), range(600)))

        assert len(errors) <= 8

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
        for number in range(500):
            calls.append(asyncio.ensure_future(peer.call(number)))
            await asyncio.sleep(0.1)
        ended = await asyncio.gather(*calls, return_exceptions=True)

        failed = [number for number, each in enumerate(ended) if each != b""]
        assert failed == list(range(50, 500, 100))

    async def test_closed_client_ends_the_waiting_calls(self):
        peer = make_peer(lambda _: hang())
        calls = [asyncio.ensure_future(peer.call()) for _ in range(50)]
        await asyncio.sleep(1.0)
        await peer.aclose()
        await asyncio.wait(calls)

        assert {type(call.exception()) for call in calls} == {ClientClosedError}
        assert asyncio.get_running_loop().time() < 1.1

    async def test_closed_client_ends_the_waits_for_retries(self):
        peer = make_peer(refusing(0.0, 1e9))
        calls = [asyncio.ensure_future(peer.call()) for _ in range(50)]
        await asyncio.sleep(20.0)
        await peer.aclose()
        await asyncio.wait(calls)

        assert {type(call.exception()) for call in calls} == {ClientClosedError}
        assert now() < 20.5


async def test_token_is_fetched_when_the_call_has_its_place(emulator, client_of):
    """So a token that expires meanwhile is refused only for the calls that are being made."""
    emulator.deploy(ENV)
    tokens = [emulator.issue_token()]
    emulator.latency = 0.01

    async def fetch():
        return tokens[-1]

    def expire(_):
        if len(emulator.requests) == 10:
            emulator.expire_tokens()
            tokens.append(emulator.issue_token())

    emulator.on_request(expire)
    client = (await client_of(emulator, concurrency=2)).with_token(fetch)
    await asyncio.gather(*(client.function_page(ENV) for _ in range(50)))

    assert len(emulator.requests) <= 50 + 2


async def test_token_callback_may_call_its_own_client(emulator, client_of):
    """It does not wait for the place of the call that waits for the token."""
    emulator.deploy(ENV)

    async def fetch():
        await client.list_environments()
        return emulator.token

    client = await client_of(emulator, concurrency=1)
    other = client.with_token(fetch)
    async with asyncio.timeout(10):
        await asyncio.gather(*(other.function_page(ENV) for _ in range(3)))

    assert len(emulator.requests) == 6


async def test_token_callback_of_get_token_may_call_its_own_client(emulator, client_of):
    """Although the only place is taken by a call that waits for the same token."""
    emulator.deploy(ENV)
    right = emulator.add_component(PLATFORM, APPSECRET)

    async def fetch_ticket():
        await client.list_environments()
        return right

    client = await client_of(emulator, concurrency=1)
    platform = client.with_token(ComponentToken(PLATFORM, APPSECRET, ticket=fetch_ticket))
    async with asyncio.timeout(10):
        token, _ = await asyncio.gather(platform.get_token(), platform.list_batch_environments())

    assert emulator.requests[-1].token == token


async def test_closed_client_fetches_no_token_for_the_waiting_calls(emulator, client_of):
    fetches = []

    async def fetch():
        fetches.append(None)
        await asyncio.sleep(0.01)
        return emulator.token

    owner = await client_of(emulator, concurrency=2)
    client = owner.with_token(fetch)
    calls = [asyncio.ensure_future(client.function_page(ENV)) for _ in range(20)]
    await eventually(lambda: fetches)
    await owner.aclose()
    errors = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(error) for error in errors} == {ClientClosedError}
    assert len(fetches) == 2
